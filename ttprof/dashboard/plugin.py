"""The TensorBoard plugin behind the TTPROF tab: serves the JSON documents and the files of the front end.

It serves nothing else, reads nothing outside the log directory, answers to names of this machine only, and does not
import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from ttprof.dashboard import front
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.hosts import Hosts
from ttprof.dashboard.runs import LogDirectory
from ttprof.errors import ResultFileError, TraceError, TtprofError

SECURITY_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-cache, must-revalidate"))

App = Callable[[wrappers.Request], wrappers.Response]


class Plugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard has no type annotations
    """The plugin that TensorBoard loads through the ``tensorboard_plugins`` entry point."""

    plugin_name = "ttprof"

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._archive = Archive(LogDirectory(context.logdir), str(context.logdir)) if context.logdir else None
        self._hosts = Hosts.of(context.flags)

    def get_plugin_apps(self) -> Mapping[str, Any]:
        """Map routes to apps: one route for all documents, and one per file."""
        files: dict[str, Any] = {f"/{name}": wrappers.Request.application(_file(name)) for name in front.names()}
        return {
            **files,
            f"/{front.PLOTLY}": wrappers.Request.application(_plotly),
            "/document": wrappers.Request.application(self._document),
        }

    def is_active(self) -> bool:
        """Whether there is a log directory; without runs in it, the tab says so."""
        return self._archive is not None

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Name the tab and the module that TensorBoard loads for it."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="TTPROF", disable_reload=True)

    def _document(self, request: wrappers.Request) -> wrappers.Response:
        host = request.environ.get("HTTP_HOST", "")
        if not self._hosts.allow(host):
            return _response(msgspec.json.encode({"error": self._hosts.refusal(host)}), "application/json", 403)
        try:
            if self._archive is None:
                raise ResultFileError("TensorBoard has no log directory: start it with --logdir, or run ttprof view")
            return _response(self._archive.answer(request.args.get("key", "")), "application/json")
        except TraceError as error:  # a missing trace is a valid answer, not a bad request
            return _response(msgspec.json.encode({"error": str(error)}), "application/json")
        except TtprofError as error:
            return _response(msgspec.json.encode({"error": str(error)}), "application/json", 404)


def _file(name: str) -> App:
    content_type = front.TYPES[name[name.rindex(".") :]]

    def serve(request: wrappers.Request) -> wrappers.Response:
        return _response(front.text(name).encode(), f"{content_type}; charset=utf-8")

    return serve


def _plotly(request: wrappers.Request) -> wrappers.Response:
    return _response(front.plotly(), "text/javascript; charset=utf-8")


def _response(content: bytes, content_type: str, status: int = 200) -> wrappers.Response:
    return wrappers.Response(content, status=status, headers=list(SECURITY_HEADERS), content_type=content_type)
