"""The names under which a server answers: it refuses any other ``Host`` header.

A page of the web can make its own name point to 127.0.0.1 (DNS rebinding) and read whatever a local server answers to
that name. It cannot choose the name that the browser sends, so only names of this machine are served.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ttprof.system.escape import visible

VARIABLE = "TTPROF_ALLOWED_HOSTS"
"""The variable of the environment with more names, separated by commas: ``box.example.com,.internal``; ``*`` is any."""

PROXY = "TENSORBOARD_PROXY_URL"
"""TensorBoard's own variable for the address of the proxy through which notebooks show it."""

WsgiApp = Callable[[Mapping[str, Any], Any], Iterable[bytes]]

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.%]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?")


@dataclass(frozen=True)
class Hosts:
    """The names that are served besides ``localhost`` and addresses; one that starts with a dot stands for a domain.

    Any IP address is served: a browser sends one only to a page that this server itself sent.
    """

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, flags: Any, environ: Mapping[str, str] = os.environ) -> Hosts:
        """The names for TensorBoard's *flags* (None without any): where it listens, and those of the environment."""
        names = {re.sub(r":\d+$", "", name.strip().lower()) for name in environ.get(VARIABLE, "").split(",")}
        names |= {(urlsplit(environ.get(PROXY, "")).hostname or "").lower()}
        names |= {(getattr(flags, "host", None) or "").lower()}
        if getattr(flags, "bind_all", False):  # the name that TensorBoard prints then
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(frozenset(name.removeprefix("*") or "*" for name in names if name))

    def allow(self, header: str) -> bool:
        """Whether a request with this ``Host`` header is served; one without a header is: browsers always send it."""
        if not header:
            return True
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = match["name"].lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or _is_address(name.strip("[]")):
            return True
        domains = (f".{name}"[i:] for i, character in enumerate(f".{name}") if character == ".")
        return bool(self.names & {"*", name}) or not self.names.isdisjoint(domains)

    def refusal(self, header: str) -> str:
        """Why a request is refused, and how to allow it."""
        name = visible(header)[:80]
        return (
            f"refused: this server does not answer to the name {name!r}. If it is yours (a proxy, a forwarded port), "
            f"start TensorBoard with {VARIABLE}={_suggestion(header)}"
        )

    def guard(self, app: WsgiApp) -> WsgiApp:
        """The WSGI *app* behind this check: other requests get status 403 and the sentence."""

        def guarded(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
            header = environ.get("HTTP_HOST", "")
            if self.allow(header):
                return app(environ, start_response)
            body = f"{self.refusal(header)}\n".encode()
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
            start_response("403 Forbidden", [*headers, ("Content-Length", str(len(body)))])
            return [body]

        return guarded


def _suggestion(header: str) -> str:
    """The name in a header, if it is one."""
    name = header.rpartition(":")[0] or header
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,80}", name) else "NAME"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
