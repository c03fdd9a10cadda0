"""Checks the wheel and the sdist in a folder, then runs the quick start from the wheel in an empty environment.

``make dist`` runs it. Only the standard library is used.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ttprof"

WHERE = "import ttprof; print(ttprof.__file__)"


def wheel_problems(members: Collection[str], tracked: Collection[str]) -> Iterator[str]:
    """What is wrong with the files of a wheel, which are those of the package, and its metadata."""
    package = {path for path in tracked if path.startswith(f"{PACKAGE}/")}
    for path in sorted(package - set(members)):
        yield f"the wheel lacks {path}"
    for path in sorted(set(members) - package):
        if not path.startswith(f"{PACKAGE}-") or ".dist-info/" not in path:
            yield f"the wheel contains {path}"
    if not any(path.endswith(".dist-info/licenses/LICENSE") for path in members):
        yield "the wheel lacks the license"


def sdist_problems(members: Collection[str], tracked: Collection[str]) -> Iterator[str]:
    """What is wrong with the files of an sdist (without its top folder): it contains only what the repository does."""
    for path in sorted(set(members) - set(tracked) - {"PKG-INFO"}):
        yield f"the sdist contains {path}, which is not in the repository"
    for path in sorted(
        path for path in tracked if path.startswith((f"{PACKAGE}/", "tests/", "pyproject.toml", "LICENSE"))
    ):
        if path not in members:
            yield f"the sdist lacks {path}"


def files_of(archive: Path) -> list[str]:
    """The files in a wheel or an sdist; those of an sdist without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return [name for name in wheel.namelist() if not name.endswith("/")]
    with tarfile.open(archive) as sdist:
        return [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command and return what it printed; end with its output if it fails."""
    done = subprocess.run([str(part) for part in command], check=False, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def try_wheel(wheel: Path, folder: Path) -> str:
    """Install a wheel into an empty environment in *folder*, run the quick start there, and return its last line."""
    environment = folder / "venv"
    venv.create(environment, with_pip=True, clear=True)
    binaries = environment / ("Scripts" if sys.platform == "win32" else "bin")
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(binaries / "python", *install, "-c", ROOT / "constraints.txt", wheel.resolve())
    where = Path(run(binaries / "python", "-c", WHERE, cwd=folder).strip())
    if not where.is_relative_to(environment):
        sys.exit(f"ttprof was imported from {where}, not from the wheel")
    print(f"installed {wheel.name} into an empty environment")
    shutil.copy(ROOT / "examples" / "quickstart.py", folder)
    return run(binaries / "ttprof", "run", "quickstart.py", cwd=folder).splitlines()[-1]


def main(folder: Path) -> None:
    """Check both files in *folder*; the exit code is 1 if something is wrong."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    tracked = run("git", "-C", ROOT, "ls-files").splitlines()
    problems = [*wheel_problems(files_of(wheel), tracked), *sdist_problems(files_of(sdist), tracked)]
    if problems:
        sys.exit("\n".join(problems))
    for archive in (wheel, sdist):
        print(f"{archive}: {len(files_of(archive))} files, {archive.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as temporary:
        print(f"quick start: {try_wheel(wheel, Path(temporary).resolve())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
