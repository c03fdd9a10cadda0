"""The routes of the TTPROF tab, called as TensorBoard calls them, and the files of the front end."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points

import pytest
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client
from werkzeug.wrappers import Response

from ttprof.dashboard import front
from ttprof.dashboard.plugin import Plugin


@pytest.fixture
def request_route(tmp_path):
    """Sends a request to a plugin over an empty folder: (route, query) -> response."""
    apps = Plugin(TBContext(logdir=str(tmp_path))).get_plugin_apps()
    return lambda route, **query: Client(apps[route], Response).get(route, query_string=query)


def test_tensorboard_finds_the_plugin():
    (entry_point,) = [point for point in entry_points(group="tensorboard_plugins") if point.name == "ttprof"]
    assert entry_point.load() is Plugin
    plugin = Plugin(TBContext(logdir=""))
    assert not plugin.is_active() and plugin.frontend_metadata().tab_name == "TTPROF"


def test_documents_are_json_without_content_sniffing(request_route):
    answer = request_route("/document", key="runs")
    assert answer.status_code == 200 and answer.content_type == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json["runs"] == []


@pytest.mark.parametrize("key", ["", "run/../..", "nothing", "run/0123456789abcdef"])
def test_a_missing_document_is_an_error_with_a_message(request_route, key):
    answer = request_route("/document", key=key)
    assert answer.status_code == 404 and answer.json["error"]


def test_every_file_of_the_front_end_has_its_type(request_route):
    for name in front.names():
        answer = request_route(f"/{name}")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.content_type.startswith("text/css" if name.endswith(".css") else "text/javascript")
    plotly = request_route("/plotly.min.js")
    assert plotly.content_type.startswith("text/javascript") and len(plotly.data) > 1_000_000


def test_no_route_takes_a_path():
    routes = set(Plugin(TBContext(logdir="x")).get_plugin_apps())
    assert routes == {"/document", "/plotly.min.js", *(f"/{name}" for name in front.names())}
    assert not any("*" in route or ".." in route for route in routes)


def test_every_import_exists():
    for name in front.names():
        if name.endswith(".js"):
            for imported in re.findall(r'from "([^"]+)"', front.bare(name)):
                assert imported.removeprefix(front.PREFIX) in front.names(), (name, imported)


def test_no_module_sets_html_or_names_a_host():
    for name in front.names():
        source = front.text(name).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|https?://", source), name


def test_the_timeline_has_a_colour_for_every_kind_of_event():
    from ttprof.trace.analyses.timeline import KINDS

    listed = re.search(r"KIND_COLOURS = \{(.*?)\};", front.text("canvas.js"), re.DOTALL)[1]
    keys = set(re.findall(r'"([^"]+)":|\b(\w+):', listed))
    assert {a or b for a, b in keys} == set(KINDS)
    assert json.dumps(KINDS)
