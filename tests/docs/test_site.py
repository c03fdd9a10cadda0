"""The API page lists all public names, CONTRIBUTING.md shows the real tree, and the site makes no remote requests."""

from __future__ import annotations

import enum
import importlib.util
import re
import sys
from types import ModuleType

import pytest
import yaml
from code_blocks import ROOT, blocks_of

import ttprof
from ttprof import codes, errors
from ttprof.metrics import REGISTRY

PACKAGE = ROOT / "ttprof"
DOCS = ROOT / "docs"
ALIASES = {"TestResult": "CaseResult"}
"""Public aliases of names on the API page."""


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_hook_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def documented(page: str) -> set[str]:
    return set(re.findall(r"^::: ([\w.]+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_public_name_is_in_the_reference():
    names = documented("api.md")
    assert {name for name in names if name.count(".") == 1} == {
        f"ttprof.{name}" for name in ttprof.__all__ if name not in ALIASES
    }
    for alias, name in ALIASES.items():
        assert getattr(ttprof, alias) is getattr(ttprof, name)
        assert f"`ttprof.{alias}`" in (DOCS / "api.md").read_text(encoding="utf-8")


def test_every_name_in_the_reference_exists():
    for dotted in documented("api.md") | documented("codes.md"):
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name), dotted


def test_every_error_is_in_the_reference():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert {name.rpartition(".")[2] for name in documented("api.md")} >= classes


def test_every_enumeration_of_codes_is_in_the_reference():
    enums = {name for name, value in vars(codes).items() if isinstance(value, enum.EnumMeta) and list(value)}
    assert {name.rpartition(".")[2] for name in documented("codes.md")} == enums


def test_the_table_of_metrics_has_a_row_for_each_with_its_help():
    page = hook("metrics_table").on_page_markdown((DOCS / "metrics.md").read_text(encoding="utf-8"))
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}
    assert list(rows) == list(REGISTRY)
    for name, metric in REGISTRY.items():
        assert metric.help.replace("|", "&#124;") in rows[name] and metric.needs in rows[name]
        assert all(f"(`{alias}`)" in rows[name] for alias in metric.aliases)
        assert rows[name].count("|") == 7


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(re.findall(r"[\w-]+\.md", str(nav))) == sorted(path.name for path in DOCS.glob("*.md"))


REMOTE = {
    '<script src="https://cdn.example/x.js"></script>': "https://cdn.example/x.js",
    '<link rel="stylesheet" href="//fonts.example/css">': "//fonts.example/css",
    '<img srcset="a.png 1x, https://a.example/b.png 2x">': "https://a.example/b.png 2x",
    '<div style="background: url(https://a.example/b.png)"></div>': "https://a.example/b.png",
    "<style>@import 'https://a.example/c.css';</style>": "https://a.example/c.css",
    '<iframe src="HTTPS://a.example/"></iframe>': "HTTPS://a.example/",
    '<form action="https://a.example/"></form>': "https://a.example/",
}


@pytest.mark.parametrize("page", REMOTE)
def test_remote_requests_are_detected(page, tmp_path):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert hook("offline_check").remote_requests(tmp_path) == [f"page.html: {REMOTE[page]}"]


def test_links_and_local_files_are_not_remote_requests(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://a.example/">x</a><img src="b.png"><script src="../c.js"></script>'
        '<link rel="canonical" href="https://a.example/"><img src="data:image/png;base64,//8A">',
        encoding="utf-8",
    )
    (tmp_path / "style.css").write_text("a { background: url(data:image/svg+xml;x) } /* https://a.example */", "utf-8")
    assert hook("offline_check").remote_requests(tmp_path) == []
    (tmp_path / "style.css").write_text("@font-face { src: url('https://a.example/f.woff') }", "utf-8")
    assert hook("offline_check").remote_requests(tmp_path) == ["style.css: https://a.example/f.woff"]


def tree() -> list[str]:
    """The paths in the tree of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (diagram,) = [block.text for block in blocks_of(text, "") if block.text.startswith("ttprof/")]
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in diagram.splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        folders = [row for row in folders if row[0] < depth]
        paths.append("".join(folder for _, folder in folders) + name)
        if name.endswith("/"):
            folders.append((depth, name))
    return paths


def test_the_tree_in_contributing_is_the_tree_on_disk():
    files = {path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")}
    folders = {path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"}
    on_disk = {path.relative_to(ROOT).as_posix() for path in files}
    on_disk |= {f"{path.relative_to(ROOT).as_posix()}/" for path in folders} | {"ttprof/"}
    paths = tree()
    assert len(paths) == len(set(paths))
    assert {path for path in paths if path.startswith("ttprof/")} == on_disk
    assert all((ROOT / path).exists() for path in paths)


def test_the_order_of_imports_in_contributing_is_the_import_rule():
    from test_import_rule import RANKS

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = {
        name: int(rank)
        for rank, names in re.findall(r"^ ?(\d+)  ([a-z_/ ]+)$", text, re.MULTILINE)
        for name in names.split()
    }
    assert shown == {name: rank for name, rank in RANKS.items() if not name.startswith("__")}
