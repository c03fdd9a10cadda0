"""An mkdocs hook: fails the build if a built page would send a request to another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

FETCHING = {"src", "srcset", "href", "xlink:href", "poster", "data", "action", "manifest", "background"}
"""The attributes that make a browser fetch something, on any element except ``<a>``, which waits for a click."""

REMOTE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?!127\.0\.0\.1|localhost)", re.IGNORECASE)
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", re.IGNORECASE)


def on_post_build(config: Any, **_: Any) -> None:
    """Check the built site."""
    from mkdocs.exceptions import PluginError

    if requests := remote_requests(Path(config["site_dir"])):
        raise PluginError("the site would send requests to other hosts:\n  " + "\n  ".join(requests))


def remote_requests(site: Path) -> list[str]:
    """Each request to another host that opening a page would send, as ``FILE: URL``."""
    urls = {".html": in_html, ".svg": in_html, ".css": in_css}
    return [
        f"{path.relative_to(site)}: {url}"
        for path in sorted(site.rglob("*"))
        if path.suffix in urls
        for url in urls[path.suffix](path.read_text(encoding="utf-8"))
    ]


def in_css(text: str) -> list[str]:
    """The URLs of other hosts that a style sheet loads."""
    return [url for match in CSS_URL.findall(text) for url in match if REMOTE.match(url.strip())]


def in_html(text: str) -> list[str]:
    """The URLs of other hosts that a page loads, by its elements, style attributes and style sheets."""
    page = _Page()
    page.feed(text)
    page.close()
    return page.urls


class _Page(HTMLParser):
    """Collects the URLs of other hosts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at the attributes of an element."""
        self._in_style = tag == "style"
        values = {name: value or "" for name, value in attrs}
        self.urls += in_css(values.get("style", ""))
        if tag in ("a", "area") or values.get("rel") == "canonical":
            return
        for name in FETCHING & values.keys():
            candidates = values[name].split(",") if name == "srcset" else [values[name]]
            self.urls += [url.strip() for url in candidates if REMOTE.match(url.strip())]

    def handle_data(self, data: str) -> None:
        """Look at the text of a ``<style>``."""
        if self._in_style:
            self.urls += in_css(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave a ``<style>``."""
        self._in_style = False
