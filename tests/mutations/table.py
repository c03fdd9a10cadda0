"""Prints the table of injected defects (``make mutations``); exits with 1 on a missed defect or a false alarm."""

from __future__ import annotations

import os
import sys
import tempfile

from mutations.defects import DEFECTS
from mutations.exact_defects import EXACT_DEFECTS
from mutations.model_defects import MODEL_DEFECTS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ttprof.verdict import Status


def main() -> None:
    table = Table("defect", "check", "healthy", "broken", "because", box=None, header_style="bold")
    missed = alarms = 0
    defects = [*DEFECTS, *EXACT_DEFECTS, *MODEL_DEFECTS]
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
    sys.exit(1 if missed or alarms else 0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
