"""The table of injected faults, and the program that prints it (``make faults``).

Each fault strikes the second of four cases. The suite must survive it: the case ends as the table says, its reason
names the cause, and the results of the other cases are complete.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUITE = Path(__file__).with_name("suite.py")
ISOLATED = ("--isolate",)
SOON = ("--timeout", "8")
SMALL = ("--memory-limit", "3000")
CAPTURED, ALL = {"CASES": "captured"}, {"CASES": "all"}
BEHIND = "PASS ERROR ERROR"
"""The cases whose inputs can only be captured by running the faulty module are lost with it."""


@dataclass(frozen=True)
class Fault:
    """A fault of ``modules.py``, and what has to come of it.

    *says* is in the reason of the faulty case, or in the output if the case passes. *code* is the exit code of the
    command, which *saves* its files; a run whose process the fault ends at once is judged from its journal.
    """

    name: str
    options: tuple[str, ...] = ()
    says: str = ""
    status: str = "ERROR"
    others: str = "PASS PASS PASS"
    code: int = 1
    when: str = "always"
    saves: bool = True
    environment: dict[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        how = "isolated" if "--isolate" in self.options else "plain"
        cases = self.environment.get("CASES", "")
        return "-".join(filter(None, (self.name, how, self.when.removeprefix("always"), cases)))

    @property
    def statuses(self) -> list[str]:
        """The status of each case."""
        first, *rest = self.others.split()
        return [first, self.status, *rest]


@dataclass(frozen=True)
class Outcome:
    """What came of a fault."""

    code: int
    cases: list[dict[str, Any]]
    output: str
    left: int = 0
    saved: bool = True

    @property
    def statuses(self) -> list[str]:
        return [case["status"] for case in self.cases]

    @property
    def reason(self) -> str:
        """The reason of the faulty case, of the worst verdict."""
        if len(self.cases) < 2:
            return self.output[-300:]
        verdicts = self.cases[1]["verdicts"]
        return next((v["reason"] for v in verdicts if v["status"] == self.cases[1]["status"]), "")

    @property
    def measured(self) -> int:
        """The number of cases with a latency."""
        names = [{m["name"] for trial in case["trials"] for m in trial["measurements"]} for case in self.cases]
        return sum("latency_ms" in measured for measured in names)

    def problems(self, fault: Fault) -> list[str]:
        """What differs from the table."""
        problems = [f"{self.left} processes are left"] if self.left else []
        if fault.saves and not self.saved:
            problems.append("the file of --json was not written")
        if self.code != fault.code:
            problems.append(f"exit code {self.code}, not {fault.code}")
        if self.statuses != fault.statuses:
            problems.append(f"{self.statuses}, not {fault.statuses}")
        text = self.output + self.reason + json.dumps(self.cases[1:2])
        if fault.says not in text:
            problems.append(f"{fault.says!r} is not said: {self.reason!r}")
        whole = [case for case in self.cases if case["status"] == "PASS"]
        if any(not trial["trace_path"] for case in whole for trial in case["trials"]):
            problems.append("a trace is missing")
        return problems


def run(fault: Fault, folder: Path) -> Outcome:
    """Run the suite with a fault in *folder*, an empty one."""
    traces, result = folder / "traces", folder / "result.json"
    environment = {
        **os.environ,
        "FAULT": fault.name,
        "WHEN": fault.when,
        "TRACES": str(traces),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "2",
        **fault.environment,
    }
    command = [sys.executable, "-m", "ttprof", "run", "-q", "--json", str(result), *fault.options, str(SUITE)]
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, timeout=240, start_new_session=True
        )
        code, output = done.returncode, (done.stdout + done.stderr).decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        code, output = 124, f"did not end: {late.stdout!r} {late.stderr!r}"
    output = output if len(output) < 20_000 else output[-20_000:]
    saved = result.exists()
    cases = json.loads(result.read_text(encoding="utf-8"))[0]["cases"] if saved else _from_journal(traces, folder)
    return Outcome(code, cases, output, _left(folder), saved)


def _left(folder: Path) -> int:
    """How many processes still run that were started with this folder for temporary files."""
    mark, count = f"TMPDIR={folder}".encode(), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            count += mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
    return count


def _from_journal(traces: Path, folder: Path) -> list[dict[str, Any]]:
    """The cases of a run that saved no result, as its journal has them."""
    from ttprof.engine import journal
    from ttprof.engine.judging import SuiteJudge
    from ttprof.errors import TtprofError

    runs = sorted(traces.glob("faults-*")) if traces.is_dir() else []
    try:
        results = [SuiteJudge(journal.read(run)).result() for run in runs[:1]]
    except TtprofError:
        return []
    return [case for result in results for case in json.loads(result.to_json())["cases"]]


IN_PROCESS = (
    Fault("none", status="PASS", code=0),
    Fault("value_error", says="ValueError: wrong value"),
    Fault("system_exit", says="SystemExit: 0"),
    Fault("system_exit_3", says="SystemExit: 3"),
    Fault("system_exit", says="SystemExit: 0", when="late"),
    Fault("system_exit", says="SystemExit: 0", when="recording"),
    Fault("base_exception", says="Weird: weird"),
    Fault("generator_exit", says="GeneratorExit"),
    Fault("stop_iteration", says="StopIteration"),
    Fault("memory_error", says="MemoryError"),
    Fault("unprintable", says="Unprintable"),
    Fault("huge_message", says="ValueError: zzz"),
    Fault("escape_sequences", says="\\\\x1b"),
    Fault("recursion", says="RecursionError"),
    Fault("too_large_a_tensor", says="RuntimeError"),
    Fault("lost_cuda_device", says="CUDA error"),
    Fault("busy_loop", SOON, says="did not end within timeout_s=8 during numerics, at"),
    Fault("sleep", SOON, says="did not end within timeout_s=8"),
    Fault("sleep", SOON, says="did not end within timeout_s=8 during profiling", when="recording"),
    Fault("dead_lock", SOON, says="did not end within timeout_s=8"),
    Fault("forks_and_waits", status="PASS", code=0),
    Fault("forks_and_goes_on", status="PASS", code=0),
    Fault("leaves_a_thread", says="left-behind", status="PASS", code=0),
    Fault("leaves_daemons", status="PASS", code=0),
    Fault("ends_a_child", status="PASS", code=0),
    Fault("random_state", status="PASS", code=0),
    Fault("thread_count", status="PASS", code=0),
    Fault("gradients_on", status="PASS", code=0),
    Fault("environment", status="PASS", code=0),
    Fault("other_folder", status="PASS", code=0),
    Fault("removed_folder", status="PASS", code=0),
    Fault("garbage_collection_off", status="PASS", code=0),
    Fault("warnings_by_the_thousand", status="PASS", code=0),
    Fault("a_lot_of_output", status="PASS", code=0),
    Fault("replaced_json", says="TypeError: 'NoneType' object is not callable"),
    Fault("replaced_hook", status="PASS", code=0),
    Fault("leaked_files", status="PASS", code=0),
    Fault("closed_output", status="PASS", code=0),
    Fault("closed_streams", status="PASS", code=0),
    Fault("no_streams", status="PASS", code=0),
    Fault("removed_run", status="PASS", code=0),
    Fault("removed_traces", status="PASS", code=0),
)
"""Faults that Python can survive in its own process."""

KEPT_IN_JOURNAL = (
    Fault("segmentation_fault", others="ERROR ERROR ERROR", code=-11, saves=False),
    Fault("segmentation_fault", others="PASS ERROR ERROR", when="recording", code=-11, saves=False),
    Fault("os_exit_0", others="ERROR ERROR ERROR", code=0, saves=False),
    Fault("killed", others="ERROR ERROR ERROR", code=-9, saves=False),
    Fault("dead_lock_with_the_interpreter_locked", ("--timeout", "3"), others="ERROR ERROR ERROR", saves=False),
    Fault("swallows_everything", ("--timeout", "3"), says="did not end within timeout_s=3", others="ERROR ERROR ERROR"),
    Fault("terminated", says="interrupted", others="ERROR ERROR ERROR", code=143),
    Fault("hung_up", says="interrupted", others="ERROR ERROR ERROR", code=129),
    Fault("interrupted", says="interrupted", others="ERROR ERROR ERROR", code=130),
)
"""Faults that end the process of a suite that is not isolated."""

IN_WORKERS = (
    Fault("none", ISOLATED, status="PASS", code=0),
    Fault("value_error", ISOLATED, says="ValueError: wrong value"),
    Fault("segmentation_fault", ISOLATED, says="died of SIGSEGV during numerics, at"),
    Fault("segmentation_fault", ISOLATED, says="died of SIGSEGV during", when="late"),
    Fault("segmentation_fault", ISOLATED, says="died of SIGSEGV during profiling", when="recording"),
    Fault("segmentation_fault", ISOLATED, says="died of SIGSEGV", others=BEHIND, environment=CAPTURED),
    Fault("segmentation_fault", ISOLATED, says="died of SIGSEGV", others=BEHIND, environment=ALL),
    Fault("busy_loop", (*ISOLATED, *SOON), says="did not end within timeout_s=8", others=BEHIND, environment=ALL),
    Fault("os_exit", ISOLATED, says="ended with exit code 7 during numerics"),
    Fault("os_exit_0", ISOLATED, says="ended with exit code 0 during numerics"),
    Fault("library_exit", ISOLATED, says="ended with exit code 0 during numerics"),
    Fault("abort", ISOLATED, says="died of SIGABRT during numerics"),
    Fault("stack_overflow", ISOLATED, says="died of SIGSEGV during numerics"),
    Fault("killed", ISOLATED, says="was killed by SIGKILL"),
    Fault("terminated", ISOLATED, says="died of SIGTERM during numerics"),
    Fault("hung_up", ISOLATED, says="died of SIGHUP during numerics"),
    Fault("interrupted", ISOLATED, says="KeyboardInterrupt"),
    Fault("floating_point_exception", ISOLATED, says="died of SIGFPE"),
    Fault("alarm", ISOLATED, says="died of SIGALRM"),
    Fault("fills_memory", (*ISOLATED, *SMALL), says="over memory_limit_mb=3000"),
    Fault("busy_loop", (*ISOLATED, *SOON), says="did not end within timeout_s=8 during numerics, at"),
    Fault("sleep", (*ISOLATED, *SOON), says="did not end within timeout_s=8"),
    Fault("dead_lock", (*ISOLATED, *SOON), says="did not end within timeout_s=8"),
    Fault("dead_lock_with_the_interpreter_locked", (*ISOLATED, *SOON), says="did not end within timeout_s=8"),
    Fault("forks_and_waits", ISOLATED, status="PASS", code=0),
    Fault("forks_and_goes_on", ISOLATED, status="PASS", code=0),
    Fault("leaves_orphans", ISOLATED, status="PASS", code=0),
    Fault("leaves_a_thread", ISOLATED, says="left-behind", status="PASS", code=0),
    Fault("environment", ISOLATED, status="PASS", code=0),
    Fault("removed_folder", ISOLATED, status="PASS", code=0),
    Fault("closed_output", ISOLATED, status="PASS", code=0),
    Fault("run_removed_once", ISOLATED, status="PASS", code=0),
)
"""Faults of isolated cases."""

TABLE = (*IN_PROCESS, *KEPT_IN_JOURNAL, *IN_WORKERS)


def main() -> None:
    """Run every fault, two at a time, and print the table; exit with 1 if one ends otherwise than it should."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("fault", "exit", "cases", "measured", "what was said", box=None, header_style="bold")
    wrong = 0

    def outcome(fault: Fault) -> tuple[Fault, Outcome]:
        with tempfile.TemporaryDirectory(prefix="ttprof-faults-") as folder:
            return fault, run(fault, Path(folder))

    chosen = [fault for fault in TABLE if not sys.argv[1:] or any(word in str(fault) for word in sys.argv[1:])]
    with ThreadPoolExecutor(2) as pool:
        for number, (fault, result) in enumerate(pool.map(outcome, chosen), 1):
            problems = result.problems(fault)
            wrong += bool(problems)
            print(
                f"{number} of {len(chosen)}: {fault}: {'; '.join(problems) or 'as it should'}",
                file=sys.stderr,
                flush=True,
            )
            statuses = " ".join(result.statuses)
            cells = (str(fault), str(result.code), statuses, f"{result.measured} of 4", result.reason[:110])
            table.add_row(*map(Text, cells), style="red" if problems else None)
    Console(width=220).print(table)
    print(f"{len(chosen) - wrong} of {len(chosen)} faults survived")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
