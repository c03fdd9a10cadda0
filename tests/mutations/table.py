"""Prints the table of injected defects (``make mutations``); exits with 1 on a missed defect or a false alarm.

With ``--healthy N``, only runs the checks on the modules without their defects, in N fresh processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from mutations.defects import DEFECTS, Defect
from mutations.exact_defects import EXACT_DEFECTS
from mutations.model_defects import MODEL_DEFECTS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ttprof.verdict import Status


def print_table(defects: Sequence[Defect]) -> int:
    """Judge every module with and without its defect. Returns the number of wrong verdicts."""
    table = Table("defect", "check", "healthy", "broken", "because", box=None, header_style="bold")
    missed = alarms = 0
    for defect in defects:
        healthy, broken = defect.judged(False), defect.judged(True)
        caught = broken.status in (Status.FAIL, Status.ERROR)
        missed += not caught
        alarms += healthy.status is not Status.PASS
        result = "caught" if caught else f"MISSED ({broken.status})"
        cells = (defect.name, defect.check, str(healthy.status), result, broken.reason[:70])
        table.add_row(*map(Text, cells))
    Console(width=200).print(table)
    print(f"{len(defects) - missed} of {len(defects)} defects caught, {alarms} false alarms")
    return missed + alarms


def count_alarms(defects: Sequence[Defect]) -> int:
    """Judge every module without its defect, and print what is not a PASS. Returns how many those are."""
    verdicts = [(defect, defect.judged(False)) for defect in defects]
    wrong = [(defect, verdict) for defect, verdict in verdicts if verdict.status is not Status.PASS]
    for defect, verdict in wrong:
        print(f"  {verdict.status} {defect.name} ({defect.check}): {verdict.reason}", flush=True)
    return len(wrong)


def run_again(count: int) -> int:
    """Count the alarms of *count* fresh processes, one after the other. Returns how many processes had one."""
    alarmed = 0
    for number in range(1, count + 1):
        done = subprocess.run([sys.executable, __file__, "--healthy", "0"], check=False)
        alarmed += done.returncode != 0
        print(f"process {number} of {count}: {'false alarms' if done.returncode else 'no false alarm'}", flush=True)
    return alarmed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--healthy", type=int, metavar="N", help="only without defects, in N processes; 0: in this one")
    healthy = parser.parse_args().healthy
    if healthy:
        return run_again(healthy)
    defects = [*DEFECTS, *EXACT_DEFECTS, *MODEL_DEFECTS]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        return print_table(defects) if healthy is None else count_alarms(defects)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
