"""A page of a headless browser that shows the dashboard: the tab of a TensorBoard, or an HTML report."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit


class Tab:
    """A page that shows the dashboard, with its requests and its errors."""

    def __init__(self, browser, allowed) -> None:
        self._context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.strayed: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self._record_error(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self._context.route("**/*", lambda route: self._route(route, allowed))
        self.frame = self.page.main_frame

    def _record_error(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)

    def _route(self, route, allowed) -> None:
        url = route.request.url
        self.requests.append(url)
        if allowed(urlsplit(url)):
            route.continue_()
        else:
            self.strayed.append(url)
            route.abort()

    def open(self, pane: str, **state):
        """Go to a pane; returns its root once it is drawn."""
        hash_ = "#" + urlencode({"pane": pane, **state})
        self.frame.evaluate(
            "hash => { delete document.querySelector('main').dataset.ready; location.hash = hash; }", hash_
        )
        if self.frame.evaluate("location.hash") == hash_:
            self.frame.evaluate("dispatchEvent(new HashChangeEvent('hashchange'))")
        self.frame.wait_for_selector(f"main[data-ready='{pane}']")
        return self.frame.locator("main")

    def rows(self, table: str):
        """The rows of a table by its name."""
        return self.frame.locator(f"table[aria-label='{table}'] tbody tr")

    def quiet(self) -> None:
        """Assert that there were no errors and no forbidden requests, and that no name was executed."""
        assert self.complaints == []
        assert self.strayed == []
        assert self.frame.evaluate("window.hacked") is None

    def close(self) -> None:
        self._context.close()
