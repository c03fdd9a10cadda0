"""Every code block of the README, the documentation and the docstrings is run, compiled or parsed."""

from __future__ import annotations

import ast
import configparser
import doctest
import functools
import importlib
import inspect
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
import torch
import yaml
from code_blocks import PAGES, ROOT, Block, blocks_of, commands, docstrings, pages, spans
from stand_ins import Attention, Model, language_model
from torch import nn

import ttprof
from ttprof.cli.main import cli
from ttprof.pytest_plugin.settings import SETTINGS
from ttprof.verdict import Status

LANGUAGES = {"python", "sh", "yaml", "toml", "ini", "json", "groovy", "text"}
PROGRAMS = {"ncu", "nsys", "git", "ln", "docker", "update-initramfs", "dracut"}
"""Other programs that a page may call; their options are not checked."""

BLOCKS = pages()
ALL = [block for blocks in BLOCKS.values() for block in blocks]
DOCSTRINGS = list(docstrings(ROOT / "ttprof"))
WITH_METHODS = {"TestSuite", "CaseBuilder", "GroupBuilder", "SuiteResult"}
"""The classes on the API page whose methods need examples too."""

HIDDEN = set(re.search(r"\^\(([\w|]+)\)\$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))[1].split("|"))
"""Public methods that the API page leaves out."""

TESTS = re.compile(r"^def test_\w+\(", re.MULTILINE)


@pytest.fixture
def suites_are_short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Suites print nothing, use one thread, and spend little time on open verdicts, unless a block overrides it."""
    original = ttprof.TestSuite.__init__

    @functools.wraps(original)
    def short(self: ttprof.TestSuite, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{"quiet": True, "seconds_per_case": 0.05} | kwargs)

    monkeypatch.setattr(ttprof.TestSuite, "__init__", short)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> ttprof.SuiteResult:
    """A result of the stand-in model: a case with one trial and a case with a sweep."""
    folder = tmp_path_factory.mktemp("traces")
    suite = ttprof.TestSuite(Model(), seq_len=16, quiet=True, seconds_per_case=0.05, trace_dir=folder)
    suite.test("attention").expect(latency_ms=1000)
    suite.test("ffn").with_seq_lengths([16, 32, 64]).expect_scaling("linear")
    return suite.run()


@pytest.fixture
def names(result: ttprof.SuiteResult) -> dict[str, Any]:
    """The names that a block may use without defining them."""
    torch.manual_seed(0)
    model = Model()
    return {
        "__name__": "documentation",
        "result": result,
        "torch": torch,
        "nn": nn,
        "model": model,
        "attention": model.attention,
        "llm": language_model(),
        "reference_attention": Attention(),
        "suite": ttprof.TestSuite(model, batch_size=2, seq_len=16),
        **{name: getattr(ttprof, name) for name in ttprof.__all__},
    }


def execute(block: Block, names: dict[str, Any]) -> None:
    """Run a block. Cases may miss their limits on this machine, but all must be judged."""
    code = compile("\n" * block.line + block.text, block.path, "exec")
    if block.reason is not None:
        return
    try:
        exec(code, names)
    except ttprof.SuiteFailed as failed:
        errors = [f"{case.module_name}: {case.errors}" for case in failed.failures if case.status is Status.ERROR]
        assert not errors, f"{block}: {errors}"


@pytest.mark.parametrize(
    "page", [page for page, blocks in BLOCKS.items() if any(b.language == "python" for b in blocks)]
)
@pytest.mark.usefixtures("suites_are_short")
def test_python_runs(page, names):
    for block in BLOCKS[page]:
        if block.language == "python" and not TESTS.search(block.text):
            execute(block, names)


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "python" and TESTS.search(b.text)], ids=str)
def test_tests_run_under_pytest(block, pytester, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makeconftest(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import pytest
        from stand_ins import Model

        @pytest.fixture
        def model():
            return Model()
        """
    )
    pytester.makepyfile(test_gate=block.text)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    counts = result.parseoutcomes()
    assert counts.get("passed", 0) + counts.get("failed", 0) >= len(TESTS.findall(block.text)), result.stdout.str()
    assert "errors" not in counts and "ERROR" not in result.stdout.str()


def toml(text: str) -> dict[str, Any]:
    """Parse TOML; skip the test on Python 3.10, which has no TOML parser."""
    return pytest.importorskip("tomllib").loads(text)


def check(command: str) -> None:
    """Raise if a command or one of its options does not exist."""
    program, *arguments = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    if program == "ttprof":
        name, *rest = arguments
        for argument in (word for word in rest if not word.startswith("-") and word != "|"):
            path = Path(argument)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
        parse(cli, name, rest)
    elif program == "pytest":
        options = {row.option for row in SETTINGS} | {f"--no-{row.option[2:]}" for row in SETTINGS}
        assert {word for word in arguments if "ttprof-" in word} <= options
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program in ("pip", "python"):
        project = toml((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = set(re.findall(r"\[(\w+)\]", " ".join(arguments)))
        assert extras <= project["optional-dependencies"].keys()
        assert all((ROOT / word).exists() for word in arguments if re.match(r"(examples|benchmarks)/", word))
    else:
        assert program.removeprefix(".venv/bin/") in PROGRAMS | {"ruff"}, f"{program} is not a known program"


def parse(group: click.Group, name: str, arguments: list[str]) -> click.Context:
    """Parse a command with click; raises UsageError for unknown options."""
    command = group.get_command(click.Context(group), name)
    assert command is not None, f"there is no command {name}"
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        return parse(command, arguments[0], arguments[1:])
    of_a_group = isinstance(command, click.Group) and not arguments  # running text may mention it alone
    return command.make_context(name, list(arguments), resilient_parsing=of_a_group)


@pytest.mark.parametrize("page", BLOCKS)
def test_every_command_exists(page):
    for block in BLOCKS[page]:
        for command in commands(block):
            check(command)
    for command in spans((ROOT / page).read_text(encoding="utf-8")):
        with suppress(click.MissingParameter):  # running text may mention a command without its arguments
            check(command)


def test_the_check_rejects_wrong_commands():
    (block,) = blocks_of("```sh\nttprof run a.py  # why\nmake docs\n```\n", "page.md")
    assert commands(block) == ["ttprof run a.py", "make docs"]
    steps = "- run: ttprof run a.py\n- run: >\n    ttprof run\n    ${{ c }}.py\n- run: |\n    cd d\n    ttprof view\n"
    listed = commands(Block("page.md", 1, "yaml", steps))
    assert listed == ["ttprof run a.py", "ttprof run 1.py", "ttprof view"]
    assert commands(Block("page.md", 1, "groovy", "steps { sh 'ttprof run a.py' }")) == ["ttprof run a.py"]
    with pytest.raises(click.NoSuchOption):
        check("ttprof run --jnuit x gate.py")
    for wrong in ("ttprof rnu gate.py", "make tset", "pytest --ttprof-jsno x", 'pip install "ttprof[nsy]"', "rm -rf /"):
        with pytest.raises(AssertionError):
            check(wrong)


@pytest.mark.parametrize("block", [b for b in ALL if b.language not in ("python", "sh", "text")], ids=str)
def test_data_parses(block):
    if block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif block.language == "toml":
        assert toml(block.text)
    elif block.language == "json":
        assert json.loads(block.text)
    elif block.language == "ini":
        parser = configparser.ConfigParser()
        parser.read_string(block.text)
        assert parser.sections()
    else:
        assert commands(block), f"{block}: contains no command to check"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_fenced_and_has_a_language_that_is_checked(path):
    text = path.read_text(encoding="utf-8")
    assert {block.language for block in BLOCKS[path.relative_to(ROOT).as_posix()]} <= LANGUAGES
    outside = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "```" not in outside
    assert not re.search(r"^\n    (?![ -]|:)", outside, re.MULTILINE), "an indented code block: fence it"


def run_examples(path: str, line: int, text: str, names: dict[str, Any]) -> None:
    """Run the fenced blocks and the ``>>>`` examples of a docstring."""
    for block in blocks_of(text, path, line):
        assert block.language == "python", f"{block}: the fence needs a language"
        execute(block, names)
    example = doctest.DocTestParser().get_doctest(text, names, path, path, line)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(example, out=report.append).failed == 0, "".join(report)


@pytest.mark.usefixtures("suites_are_short")
@pytest.mark.parametrize("path", sorted({path for path, _, text in DOCSTRINGS if ">>>" in text or "```" in text}))
def test_docstring_examples_run(path, names):
    for line, text in [(line, text) for row, line, text in DOCSTRINGS if row == path]:
        run_examples(path, line, text, dict(names))


def public_objects() -> dict[str, Any]:
    """The objects on the API page, with the public methods of the classes; of the errors, only SuiteFailed."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("\n## Errors")[0]
    dotted = [*re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE), "ttprof.SuiteFailed"]
    objects = {
        name: getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in dotted
    }
    methods = {
        f"{name}.{member}": function
        for name, value in objects.items()
        if isinstance(value, type) and value.__name__ in WITH_METHODS
        for member, function in inspect.getmembers(value, inspect.isfunction)
        if not member.startswith("_") and member not in HIDDEN
    }
    return {**objects, **methods}


@pytest.mark.parametrize("name", public_objects())
def test_every_public_docstring_has_an_example_that_runs(name):
    value = public_objects()[name]
    text = inspect.getdoc(value) or ""
    assert "```python\n" in text or ">>> " in text, f"{name} has no example"
    assert text in {docstring for _, _, docstring in DOCSTRINGS}, (
        f"test_docstring_examples_run does not run the example of {name}"
    )


@pytest.mark.parametrize("name", ["Measurement", "TrialResult", "CaseResult", "SuiteResult", "Verdict", "ScalingFit"])
def test_every_public_field_is_documented(name):
    (path,) = [
        path for path in (ROOT / "ttprof").glob("*.py") if f"\nclass {name}(" in path.read_text(encoding="utf-8")
    ]
    body = next(
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if getattr(node, "name", "") == name
    ).body
    for field, following in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and not field.target.id.startswith("_"):
            assert isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant), field.target.id


@pytest.mark.usefixtures("suites_are_short")
def test_wrong_examples_fail(names):
    run_examples("good.py", 1, ">>> 1 + 1\n2\n\n```python\nassert suite.test(model.norm)\n```", dict(names))
    for text in (">>> 1 + 1\n3", "```python\nsuite.tset(model.norm)\n```", "```\nplain\n```"):
        with pytest.raises((AssertionError, AttributeError)):
            run_examples("bad.py", 1, text, dict(names))
    slow = "with suite:\n    suite.test(model.norm).expect(latency_ms=0)"
    execute(Block("page.md", 1, "python", slow), dict(names))
    unmeasured = "with TestSuite(model, seq_len=4) as gate:\n    gate.test(model.norm).expect(kernel_count=1)"
    with pytest.raises(AssertionError, match="kernel"):
        execute(Block("page.md", 1, "python", unmeasured), dict(names))
