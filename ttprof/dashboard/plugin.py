"""The TTPROF tab: TensorBoard asks for documents and for the files of the front end, and gets JSON, JavaScript and CSS.

Nothing else is served, and nothing is ever read outside the log directory. No torch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from ttprof.dashboard import front
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.runs import LogDirectory
from ttprof.errors import ResultFileError, TraceError, TtprofError

SAFE = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-cache, must-revalidate"))

App = Callable[[wrappers.Request], wrappers.Response]


class Plugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard states no types
    """What TensorBoard loads by the entry point ``tensorboard_plugins``."""

    plugin_name = "ttprof"

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._archive = Archive(LogDirectory(context.logdir), str(context.logdir)) if context.logdir else None

    def get_plugin_apps(self) -> Mapping[str, Any]:
        """The routes: one for all documents, and one for each file."""
        files: dict[str, Any] = {f"/{name}": wrappers.Request.application(_file(name)) for name in front.names()}
        return {
            **files,
            f"/{front.PLOTLY}": wrappers.Request.application(_plotly),
            "/document": wrappers.Request.application(self._document),
        }

    def is_active(self) -> bool:
        """The tab is there wherever there is a log directory; it says itself when it holds no run."""
        return self._archive is not None

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Where the front end begins."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="TTPROF", disable_reload=True)

    def _document(self, request: wrappers.Request) -> wrappers.Response:
        try:
            if self._archive is None:
                raise ResultFileError("TensorBoard has no log directory; start it with --logdir, or ttprof view")
            return _response(self._archive.answer(request.args.get("key", "")), "application/json")
        except TraceError as error:  # that there is no trace is an answer, and no mistake of who asks
            return _response(msgspec.json.encode({"error": str(error)}), "application/json")
        except TtprofError as error:
            return _response(msgspec.json.encode({"error": str(error)}), "application/json", 404)


def _file(name: str) -> App:
    kind = front.TYPES[name[name.rindex(".") :]]

    def serve(request: wrappers.Request) -> wrappers.Response:
        return _response(front.text(name).encode(), f"{kind}; charset=utf-8")

    return serve


def _plotly(request: wrappers.Request) -> wrappers.Response:
    return _response(front.plotly(), "text/javascript; charset=utf-8")


def _response(content: bytes, kind: str, status: int = 200) -> wrappers.Response:
    return wrappers.Response(content, status=status, headers=list(SAFE), content_type=kind)
