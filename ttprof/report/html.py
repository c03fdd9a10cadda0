"""One self-contained HTML file: the front end of the TTPROF tab, plotly.js and all documents of some results.

Results enter, and the traces in their folders; a file leaves that opens without a server and asks for nothing. What
does not fit into ``BUDGET`` is left out, the timelines' shortest events first, and the page says what.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import jinja2
from markupsafe import Markup

from ttprof.dashboard import front
from ttprof.dashboard.archive import Archive
from ttprof.dashboard.runs import Run
from ttprof.errors import ResultFileError, TtprofError
from ttprof.result import CaseResult, SuiteResult

BUDGET = 5_900_000
"""Bytes of a whole file."""

BYTES_PER_EVENT = 40
"""What an event of a timeline takes at most, but for its name."""

FEWEST_EVENTS = 200
MOST_EVENTS = 20_000
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class _Results:
    """Results as a source of runs; the traces of each are read from its own folder only."""

    def __init__(self, results: list[SuiteResult]) -> None:
        names = [Path(result.run_dir).name or result.name for result in results]
        unique = [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
        self._runs = [Run.of(result, name) for result, name in zip(results, unique, strict=True)]

    def runs(self) -> list[Run]:
        """The runs, the latest first."""
        return sorted(self._runs, key=lambda run: run.read.started, reverse=True)


class _Contents:
    """The documents of a page as JSON by key, in so many bytes at most, and what is missing."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.left_out = 0
        self.documents: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []
        self._keys: dict[str, str] = {}

    def add(self, key: str, document: bytes) -> bool:
        """Take a document in if it fits; one that is there already, as the history of two runs, is named again only."""
        text = escaped(document.decode())
        if text in self._keys:
            self.aliases[key] = self._keys[text]
            return True
        if len(text.encode()) > self.left:
            self.missing[key] = f"This was left out: the file would be over {BUDGET / 1e6:.1f} MB. See ttprof view."
            self.left_out += 1
            return False
        self.left -= len(text.encode()) + len(key) + 4
        self.documents[key] = text
        self._keys[text] = key
        return True

    @property
    def json(self) -> str:
        """All of it as one JSON object."""
        documents = ",".join(f"{json.dumps(key)}:{text}" for key, text in self.documents.items())
        rest = escaped(json.dumps({"aliases": self.aliases, "missing": self.missing, "notes": self.notes})[1:])
        return f'{{"documents":{{{documents}}},{rest}'


def write(results: list[SuiteResult], path: str | Path) -> Path:
    """Write the report of *results* to *path*, making its folder; returns the path.

    Raises ResultFileError when it can't be written.
    """
    source = _Results(results)
    archive = Archive(source, "this report")
    frame = _rendered(results, "")
    contents = _Contents(BUDGET - len(frame.encode()))
    _fill(contents, archive, source.runs())
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_rendered(results, contents.json), encoding="utf-8")
    except OSError as error:
        raise ResultFileError(f"{path}: {error.strerror or error}") from error
    return target


def escaped(text: str) -> str:
    """JSON that may stand in a ``<script>``: what HTML could take for its own is written as an escape."""
    for character, escape in ESCAPED.items():
        text = text.replace(character, escape)
    return text


def _rendered(results: list[SuiteResult], documents: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        title="ttprof: " + ", ".join(dict.fromkeys(result.name for result in results)),
        style=Markup(front.text("style.css")),
        plotly=Markup(base64.b64encode(gzip.compress(front.plotly(), mtime=0)).decode()),
        modules=Markup(json.dumps({"imports": dict(_modules())})),
        documents=Markup(documents),
    )


def _modules() -> Iterator[tuple[str, str]]:
    """The modules of the front end, each as a data: address, since a file can't import a file beside it."""
    for name in front.names():
        if name.endswith(".js") and name != "index.js":
            source = base64.b64encode(front.bare(name).encode()).decode()
            yield front.PREFIX + name, f"data:text/javascript;base64,{source}"


def _fill(contents: _Contents, archive: Archive, runs: list[Run]) -> None:
    """Everything in the order of its worth: results, then the traces of failures first, then timelines."""
    contents.add("runs", archive.answer("runs"))
    for run in runs:
        _add(contents, archive, [f"run/{run.id}"])
    for new, base in pairwise(runs):
        _add(contents, archive, [f"compare/{base.id}/{new.id}"])
    places = [(run, i, case) for run in runs for i, case in enumerate(run.read)]
    for run, i, case in places:
        scaling = [f"scaling/{run.id}/{i}"] if case.scaling else []
        _add(contents, archive, [f"case/{run.id}/{i}", *scaling, f"history/{run.id}/{i}"])
    places.sort(key=lambda place: place[2].status in place[0].read.failing, reverse=True)
    ranked = sorted((rank, at) for at, (_, _, case) in enumerate(places) for rank in range(len(_traced(case))))
    keys = [(*places[at][:2], _traced(places[at][2])[rank]) for rank, at in ranked]  # the largest of each case first
    whole = [place for place in keys if _add(contents, archive, [f"trace/{place[0].id}/{place[1]}/{place[2]}"])]
    for new, base in pairwise(runs):
        _add(contents, archive, [f"diff/{base.id}/{new.id}/{i}/{trial}" for run, i, trial in keys if run is new])
    _timelines(contents, archive, whole)
    if contents.left_out:
        contents.notes.append(
            f"{_counted(contents.left_out, 'document')}, where the panes say so: ttprof view shows all."
        )


def _traced(case: CaseResult) -> list[int]:
    """The trials of a case with a trace, the largest first."""
    return [i for i in reversed(range(len(case.trials))) if case.trials[i].trace_path is not None]


def _add(contents: _Contents, archive: Archive, keys: list[str]) -> bool:
    """Take in what there is of some documents; whether all were there and fitted."""
    whole = True
    for key in keys:
        try:
            whole &= contents.add(key, archive.answer(key))
        except TtprofError as error:
            contents.missing[key] = str(error)
            whole = False
    return whole


def _timelines(contents: _Contents, archive: Archive, places: list[tuple[Run, int, int]]) -> None:
    """The typical iteration of each trace, with as many of its longest events as there is room for."""
    shortened = 0
    for done, (run, case, trial) in enumerate(places):
        room = contents.left // (len(places) - done)
        most = min(MOST_EVENTS, room // BYTES_PER_EVENT)
        if most < FEWEST_EVENTS:
            contents.notes.append(f"The timelines of {_counted(len(places) - done, 'trial')}.")
            break
        iteration, left_out, document = archive.shortened(run.id, case, trial, most)
        contents.add(f"timeline/{run.id}/{case}/{trial}/{iteration}", document)
        shortened += left_out > 0
    if shortened:
        contents.notes.append(f"The shortest events of {_counted(shortened, 'timeline')}: how many is said there.")
    if places:
        contents.notes.append("Of each timeline all iterations but the typical one.")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
