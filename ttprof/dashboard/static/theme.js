// Light or dark theme: follows the system until the switch is used. The style sheet reads data-theme.

const NAMES = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function themeSwitch(onChange) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const { dataset } = document.documentElement;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  let chosen = "auto";
  const show = () => {
    dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    button.textContent = NAMES[chosen];
  };
  button.addEventListener("click", () => {
    const order = Object.keys(NAMES);
    chosen = order[(order.indexOf(chosen) + 1) % order.length];
    show();
    onChange();
  });
  system.addEventListener("change", () => {
    show();
    onChange();
  });
  show();
  return button;
}
