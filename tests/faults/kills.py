"""Kills a suite of 20 cases at random moments, and checks that no finished pass is lost and that it can be resumed.

``python kills.py --kills 100`` is a program. What had finished is known independently of ttprof: each module notes its
calls in a file, so when case 7 is called, the passes of the cases before it have ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CASES = 20
SCRIPT = f"""
import os, torch
from torch import nn
from ttprof import TestSuite

LOG = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

class Noted(nn.Linear):
    def forward(self, x):
        os.write(LOG, b"%d %d\\n" % (self.number, torch.autograd._profiler_enabled()))
        return super().forward(x)

torch.manual_seed(0)
model = nn.Sequential(*(Noted(8, 8) for _ in range({CASES})))
for number, module in enumerate(model):
    module.number = number
x = torch.randn(4, 8)
with TestSuite(model, name="kills", seconds_per_case=0.05, quiet=True, on_failure="report") as suite:
    for number in range({CASES}):
        case = suite.test(str(number)).inputs(x).profile(2, 20, trace_iterations=2).tolerance(1e-3)
        case.expect(latency_ms=1e-9 if number % 5 == 4 else 60_000)
"""


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the suite in *folder*."""
    command = [sys.executable, "-m", "ttprof", "run", "-q", *options, "kills.py"]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finished_passes(folder: Path) -> set[tuple[str, str]]:
    """The passes that had certainly ended, from the calls that the modules noted."""
    lines = (folder / "calls").read_bytes().split(b"\n")[:-1] if (folder / "calls").exists() else []
    calls = [tuple(map(int, line.split())) for line in lines]
    profiled = [number for number, recording in calls if recording]
    if profiled:
        timed, recorded = CASES, max(profiled)
    else:
        timed, recorded = max((number for number, _ in calls), default=0), 0
    return {("timed", str(n)) for n in range(timed)} | {("recorded", str(n)) for n in range(recorded)}


def journalled_passes(run: Path) -> set[tuple[str, str]]:
    """The passes in the journal, read without ttprof."""
    text = (run / "journal").read_bytes()
    events = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
    return {(event["event"], event["case"]) for event in events if event["event"] in ("timed", "recorded")}


def statuses(run: Path) -> list[str]:
    return [case["status"] for case in json.loads((run / "result.json").read_text(encoding="utf-8"))["cases"]]


def killed_once(share: float, whole: list[float]) -> tuple[str, list[str]]:
    """Kill a run after a *share* of the time that a whole one takes, then resume it.

    Returns a line, and what went wrong. *whole* has the times of runs that ended by themselves; the last ones count,
    since the machine is not always equally fast.
    """
    problems = []
    moment = share * sorted(whole[-5:])[0]
    with tempfile.TemporaryDirectory(prefix="ttprof-kills-") as name:
        folder = Path(name)
        (folder / "kills.py").write_text(SCRIPT, encoding="utf-8")
        begin, process = time.monotonic(), start(folder)
        try:
            process.communicate(timeout=moment)
            whole.append(time.monotonic() - begin)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
        runs = sorted((folder / "traces").glob("kills-*")) if (folder / "traces").exists() else []
        finished = finished_passes(folder)
        if not runs or not (runs[0] / "journal").exists() or not (runs[0] / "journal").stat().st_size:
            return f"{moment:5.2f} s: before the first case", ["passes were lost"] if finished else []
        kept = journalled_passes(runs[0])
        if lost := finished - kept:
            problems.append(f"lost: {sorted(lost)}")
        done = start(folder, "--resume", str(runs[0]))
        _, said = done.communicate()
        expected = ["FAIL" if number % 5 == 4 else "PASS" for number in range(CASES)]
        if done.returncode != 1 or statuses(runs[0]) != expected:
            problems.append(f"not completed to the same verdicts: {done.returncode}, {said.decode()[-300:]}")
        return f"{moment:5.2f} s: {len(kept)} of {2 * CASES} passes kept, then completed", problems


def main() -> None:
    """Kill as often as asked, at moments spread over the whole run; exit with 1 if a pass was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        Path(name, "kills.py").write_text(SCRIPT, encoding="utf-8")
        begin = time.monotonic()
        start(Path(name)).communicate()
        whole = [time.monotonic() - begin]
    chance = random.Random(given.seed)
    wrong = 0
    shares = [chance.uniform(0.2, 1.1) for _ in range(given.kills)]
    with ThreadPoolExecutor(2) as pool:
        for line, problems in pool.map(lambda share: killed_once(share, whole), shares):
            wrong += bool(problems)
            print(line, *problems, flush=True)
    print(f"{given.kills - wrong} of {given.kills} killed runs lost nothing and were completed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
