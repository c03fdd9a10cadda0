"""``ttprof scrub``: copies a trace without what identifies people and machines."""

from __future__ import annotations

from pathlib import Path

import click

from ttprof.cli.output import show, show_json
from ttprof.trace.scrub import copying

HELP = """Copy a trace for a bug report, without secrets.

\b
ttprof scrub trace.json.gz copy.json.gz
ttprof scrub recording.sqlite copy.sqlite --hide "project x"

TRACE is a .json, .json.gz or .sqlite file. The copy has what ttprof reads and nothing else, so ttprof analyze shows
the same numbers: times, ids, sizes, and the names of kernels, operators, modules, ranges and Python functions. Host and
user names, command lines, the environment and paths stay behind. What looks like a path, a URL, an address, an e-mail
or a token inside a name becomes <path 1>. A name that you chose yourself stays otherwise: --hide replaces it.

Exit codes: 0 the copy was written; 2 it was not.
"""


@click.command(name="scrub", help=HELP)
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--hide", metavar="TEXT", multiple=True, help="Replace this text in names, too; may be repeated.")
@click.option("--salvage", is_flag=True, help="Copy the intact part of a truncated file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed and kept as JSON.")
def command(trace: Path, out: Path, hide: tuple[str, ...], salvage: bool, as_json: bool) -> None:
    """Copy one trace."""
    result = copying.scrub(trace, out, hide, salvage)
    if as_json:
        show_json(result)
        return
    from ttprof.report import trace_scrub

    show(result, trace_scrub.render)
