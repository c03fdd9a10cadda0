"""Writes the HTML report: one file with the front end of the TTPROF tab, plotly.js and every document of some results.

The file opens without a server and loads nothing. If it would exceed ``BUDGET``, parts are left out, starting with the
shortest events of the timelines; the footer of the page lists them.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from pathlib import Path

import jinja2
from markupsafe import Markup

from ttprof.dashboard import front
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.runs import Run
from ttprof.errors import TtprofError
from ttprof.report import outputs
from ttprof.result import CaseResult, SuiteResult
from ttprof.system.instants import instant

BUDGET = 5_900_000
"""The largest file, in bytes."""

BYTES_PER_EVENT = 40
"""An upper bound for one event of a timeline, without its name."""

MIN_EVENTS = 200
MAX_EVENTS = 20_000
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class _Results:
    """Provides the runs of the report (a ``RunSource``); the traces of a run are read from its folder only."""

    def __init__(self, results: list[SuiteResult]) -> None:
        names = [Path(result.run_dir).name or result.name for result in results]
        unique = [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
        self._runs = [Run.of(result, name) for result, name in zip(results, unique, strict=True)]

    def runs(self) -> list[Run]:
        """The runs, newest first."""
        return sorted(self._runs, key=lambda run: instant(run.read.started), reverse=True)


class _Contents:
    """Collects the documents of a page, as JSON by key, up to a number of bytes; records which are missing and why."""

    def __init__(self, budget: int) -> None:
        self.bytes_left = budget
        self.left_out = 0
        self.documents: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []
        self._key_by_text: dict[str, str] = {}

    def add(self, key: str, document: bytes) -> bool:
        """Add a document if it fits, and return whether it did; a duplicate only becomes an alias."""
        text = escape_json(document.decode())
        if text in self._key_by_text:
            self.aliases[key] = self._key_by_text[text]
            return True
        if len(text.encode()) > self.bytes_left:
            self.missing[key] = f"left out to keep this file below {BUDGET / 1e6:.1f} MB; ttprof view shows it"
            self.left_out += 1
            return False
        self.bytes_left -= len(text.encode()) + len(key) + 4
        self.documents[key] = text
        self._key_by_text[text] = key
        return True

    @property
    def json(self) -> str:
        """Everything as one JSON object."""
        documents = ",".join(f"{json.dumps(key)}:{text}" for key, text in self.documents.items())
        rest = escape_json(json.dumps({"aliases": self.aliases, "missing": self.missing, "notes": self.notes})[1:])
        return f'{{"documents":{{{documents}}},{rest}'


def write(results: list[SuiteResult], path: str | Path) -> Path:
    """Write the report of *results* to *path*, creating its folder, and return the path.

    Raises ResultFileError if the file can't be written.
    """
    source = _Results(results)
    archive = Archive(source, "this report")
    empty_page = _render(results, "")
    contents = _Contents(BUDGET - len(empty_page.encode()))
    _add_all(contents, archive, source.runs())
    outputs.write_text(Path(path), _render(results, contents.json))
    return Path(path)


def escape_json(text: str) -> str:
    """Escape JSON for a ``<script>`` element, so that HTML interprets none of its characters."""
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _render(results: list[SuiteResult], documents: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        title="ttprof: " + ", ".join(dict.fromkeys(result.name for result in results)),
        style=Markup(front.text("style.css")),
        plotly=Markup(base64.b64encode(gzip.compress(front.plotly(), mtime=0)).decode()),
        modules=Markup(json.dumps({"imports": dict(_import_map())})),
        documents=Markup(documents),
    )


def _import_map() -> Iterator[tuple[str, str]]:
    """Map the modules of the front end to data: URLs, because a page opened from a file cannot import other files."""
    for name in front.names():
        if name.endswith(".js") and name != "index.js":
            source = base64.b64encode(front.bare(name).encode()).decode()
            yield front.PREFIX + name, f"data:text/javascript;base64,{source}"


def _add_all(contents: _Contents, archive: Archive, runs: list[Run]) -> None:
    """Add documents in order of importance: results, then traces (failed cases first), then timelines."""
    contents.add("runs", archive.answer("runs"))
    for run in runs:
        _add(contents, archive, [f"run/{run.id}"])
    for new, base in pairwise(runs):
        _add(contents, archive, [f"compare/{base.id}/{new.id}"])
    cases = [(run, i, case) for run in runs for i, case in enumerate(run.read)]
    for run, i, case in cases:
        scaling = [f"scaling/{run.id}/{i}"] if case.scaling else []
        _add(contents, archive, [f"case/{run.id}/{i}", *scaling, f"history/{run.id}/{i}"])
    cases.sort(key=lambda row: row[2].status in row[0].read.failing, reverse=True)
    traced = _traced_trials(cases)
    added = [(run, i, trial) for run, i, trial in traced if _add(contents, archive, [f"trace/{run.id}/{i}/{trial}"])]
    for new, base in pairwise(runs):
        _add(contents, archive, [f"diff/{base.id}/{new.id}/{i}/{trial}" for run, i, trial in traced if run is new])
    _add_timelines(contents, archive, added)
    if contents.left_out:
        contents.notes.append(f"{_plural(contents.left_out, 'document')}: the panes say which; ttprof view shows them")


def _traced_trials(cases: list[tuple[Run, int, CaseResult]]) -> list[tuple[Run, int, int]]:
    """List the trials with a trace: first the largest size of every case, then the second largest, and so on."""
    by_case = [
        [(run, i, trial) for trial in reversed(range(len(case.trials))) if case.trials[trial].trace_path is not None]
        for run, i, case in cases
    ]
    return [trial for rank in zip_longest(*by_case) for trial in rank if trial is not None]


def _add(contents: _Contents, archive: Archive, keys: list[str]) -> bool:
    """Add documents, and return whether all of them exist and fit."""
    complete = True
    for key in keys:
        try:
            complete &= contents.add(key, archive.answer(key))
        except TtprofError as error:
            contents.missing[key] = str(error)
            complete = False
    return complete


def _add_timelines(contents: _Contents, archive: Archive, trials: list[tuple[Run, int, int]]) -> None:
    """Add the typical iteration of each trace, with as many of its longest events as fit."""
    shortened = 0
    for done, (run, case, trial) in enumerate(trials):
        bytes_each = contents.bytes_left // (len(trials) - done)
        limit = min(MAX_EVENTS, bytes_each // BYTES_PER_EVENT)
        if limit < MIN_EVENTS:
            contents.notes.append(f"the timelines of {_plural(len(trials) - done, 'trial')}")
            break
        iteration, left_out, document = archive.longest_events(run.id, case, trial, limit)
        contents.add(f"timeline/{run.id}/{case}/{trial}/{iteration}", document)
        shortened += left_out > 0
    if shortened:
        contents.notes.append(f"the shortest events of {_plural(shortened, 'timeline')}: each pane says how many")
    if trials:
        contents.notes.append("timelines of iterations other than the typical one")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
