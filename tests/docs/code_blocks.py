"""Collects the fenced code blocks of Markdown files and docstrings for the tests that run them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "traces" / "README.md"])

FENCE = re.compile(
    r"^(?:<!-- compile only: (?P<reason>[^\n]+) -->\n)?"
    r"(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
SNIPPET = re.compile(r'^--8<-- "(?P<path>[^"]+)"$', re.MULTILINE)
SPAN = re.compile(r"(?<!`)`(ttprof [^`]+)`(?!`)")
STEP = re.compile(r"sh '(ttprof [^'\n]*)'")
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")


@dataclass(frozen=True)
class Block:
    """A code block with its location, its language, and the reason if it can only be compiled."""

    path: str
    line: int
    language: str
    text: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def blocks_of(text: str, path: str, first_line: int = 1) -> list[Block]:
    """The blocks of *text*, which starts at *first_line* of the file at *path*, with snippets expanded."""
    return [
        Block(
            path,
            first_line + text.count("\n", 0, match.start("indent")),
            match["language"].strip(),
            SNIPPET.sub(lambda m: (ROOT / m["path"]).read_text(encoding="utf-8"), _dedented(match)),
            match["reason"],
        )
        for match in FENCE.finditer(text)
    ]


def _dedented(match: re.Match[str]) -> str:
    return re.sub(f"^{match['indent']}", "", match["body"], flags=re.MULTILINE)


def pages() -> dict[str, list[Block]]:
    """The blocks of every page, by its path."""
    return {
        path.relative_to(ROOT).as_posix(): blocks_of(
            path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        )
        for path in PAGES
    }


def commands(block: Block) -> list[str]:
    """The commands of a block without comments: every line of a shell script, ``ttprof`` lines of a CI pipeline."""
    if block.language == "sh":
        lines = block.text.replace("\\\n", " ").splitlines()
        return [stripped for line in lines if (stripped := re.sub(r"(^|\s)#.*", "", line).strip())]
    if block.language == "yaml":
        return list(pipeline_commands(yaml.safe_load(block.text)))
    return STEP.findall(block.text) if block.language == "groovy" else []


def pipeline_commands(node: Any) -> Iterator[str]:
    """The ``ttprof`` commands of a pipeline for GitHub or GitLab, with 1 for each expression."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else ()):
        if key in ("run", "script"):
            lines = value if isinstance(value, list) else value.splitlines()
            yield from (EXPRESSION.sub("1", line.strip()) for line in lines if line.strip().startswith("ttprof "))
        else:
            yield from pipeline_commands(value)


def spans(text: str) -> list[str]:
    """The ``ttprof`` commands in running text."""
    return SPAN.findall(FENCE.sub("", text))


def docstrings(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Each docstring below *folder*: the path of its file, its line and its text."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node)
                if text is not None:
                    yield path.relative_to(folder.parent).as_posix(), getattr(node, "lineno", 1), text
