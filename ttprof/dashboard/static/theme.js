// Light or dark: the system's choice until the switch is used.

const NAMES = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" };

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "dark" || chosen === "light") return chosen === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function themeSwitch(changed) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  const show = () => (button.textContent = NAMES[document.documentElement.dataset.theme || "auto"]);
  button.addEventListener("click", () => {
    const order = ["auto", "light", "dark"];
    const at = order.indexOf(document.documentElement.dataset.theme || "auto");
    document.documentElement.dataset.theme = order[(at + 1) % order.length];
    show();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
  return button;
}
