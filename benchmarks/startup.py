"""Start-up time of ttprof, relative to ``python -c pass`` and to ``import torch``.

Each command runs in its own process, all interleaved; the minimum over the rounds counts. Limits: importing ttprof's
API after torch takes at most 5 % longer than torch alone, ``ttprof --help`` less than 0.4 s.
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 7
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import ttprof": ["-c", "import torch, ttprof"],
    "from ttprof import TestSuite": ["-c", "import torch; from ttprof import TestSuite"],
    "ttprof --help": ["-m", "ttprof", "--help"],
    "ttprof analyze --help": ["-m", "ttprof", "analyze", "--help"],
}


def main() -> None:
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            best[name] = min(best[name], time.perf_counter() - start)
    print(f"{'command':<30}{'seconds':>9}{'x pass':>9}{'x torch':>9}")
    for name, seconds in best.items():
        ratios = f"{seconds / best['python -c pass']:9.2f}{seconds / best['import torch']:9.3f}"
        print(f"{name:<30}{seconds:9.3f}{ratios}")


if __name__ == "__main__":
    main()
