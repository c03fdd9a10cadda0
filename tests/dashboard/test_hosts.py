"""The names under which the dashboard is served: those of this machine, and no name of the web that points to it."""

from __future__ import annotations

import http.client
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from recorded_runs import recorded_run
from tensorboard.plugins.base_plugin import TBContext
from tensorboard_server import Server
from werkzeug.test import Client
from werkzeug.wrappers import Response

from ttprof.dashboard.hosts import Hosts
from ttprof.dashboard.plugin import Plugin

ONLY_LOCAL = Hosts.of(SimpleNamespace(host="127.0.0.1", bind_all=False), {})


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:6006",
        "LOCALHOST.",
        "ttprof.localhost:1",
        "127.0.0.1:6006",
        "[::1]:6006",
        "[::1]",
        "",
        "10.0.0.7:80",
    ],
)
def test_names_of_this_machine_are_served(header):
    assert ONLY_LOCAL.allow(header)


@pytest.mark.parametrize(
    "header",
    [
        *(
            "evil.example",
            "evil.example:6006",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
        ),
        *(
            "evil.example#localhost",
            "notlocalhost",
            "[::1].evil.example",
            "[evil]",
            "localhost:x",
            "a b",
            "0x7f000001",
            "::1",
        ),
    ],
)
def test_other_names_are_refused(header):
    assert not ONLY_LOCAL.allow(header)


@pytest.mark.parametrize(
    ("flags", "environ", "served", "refused"),
    [
        ({"host": "Box.Example.com"}, {}, "box.example.com:6006", "example.com"),
        ({}, {"TTPROF_ALLOWED_HOSTS": "a.example, b.example:80"}, "b.example", "c.example"),
        ({}, {"TTPROF_ALLOWED_HOSTS": ".github.dev"}, "x-6006.app.github.dev", "evilgithub.dev"),
        ({}, {"TTPROF_ALLOWED_HOSTS": "*.github.dev"}, "x.github.dev", "github.dev.evil.example"),
        ({}, {"TTPROF_ALLOWED_HOSTS": "*"}, "any.example", "a b"),
        ({}, {"TENSORBOARD_PROXY_URL": "https://hub.example.com/user/proxy/6006"}, "hub.example.com", "example.com"),
    ],
)
def test_names_that_the_user_chose_are_served(flags, environ, served, refused):
    hosts = Hosts.of(SimpleNamespace(**{"host": None, "bind_all": False, **flags}), environ)
    assert hosts.allow(served) and not hosts.allow(refused)


def test_on_all_interfaces_the_name_of_the_machine_is_served(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    monkeypatch.setattr("socket.getfqdn", lambda: "box.example.com")
    hosts = Hosts.of(SimpleNamespace(host=None, bind_all=True), {})
    assert hosts.allow("box:6006") and hosts.allow("box.example.com") and not hosts.allow("evil.example")


def test_the_refusal_says_how_to_allow_the_name_and_shows_no_control_characters():
    assert "TTPROF_ALLOWED_HOSTS=evil.example" in ONLY_LOCAL.refusal("evil.example:80")
    text = ONLY_LOCAL.refusal("\x1b[31m" + "x" * 500)
    assert "TTPROF_ALLOWED_HOSTS=NAME" in text and text.isprintable() and len(text) < 400


def test_the_plugin_refuses_documents_under_other_names(tmp_path):
    client = Client(Plugin(TBContext(logdir=str(tmp_path))).get_plugin_apps()["/document"], Response)
    assert client.get("/document?key=runs", headers={"Host": "localhost:6006"}).status_code == 200
    refused = client.get("/document?key=runs", headers={"Host": "evil.example:6006"})
    assert refused.status_code == 403 and "TTPROF_ALLOWED_HOSTS=evil.example" in refused.json["error"]


def answer(server: Server, path: str, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_ttprof_view_serves_no_page_of_tensorboard_under_another_name(tmp_path):
    recorded_run(tmp_path, "empty", {})
    server = Server(tmp_path)
    try:
        for path in ("/", "/data/plugins_listing", "/data/plugin/ttprof/document?key=runs"):
            status, body = answer(server, path, "evil.example")
            assert status == 403 and b"TTPROF_ALLOWED_HOSTS=evil.example" in body, path
            assert answer(server, path, "localhost")[0] == 200, path
    finally:
        server.stop()
