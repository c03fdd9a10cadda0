"""The lock files, the metadata of the distribution, and what the Makefile installs."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from distribution.check import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCKS = {name: ROOT / "requirements" / f"{name}.lock" for name in ("ci", "tools")}
LOCKED_EXTRAS = ("test", "lint", "docs")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MACHINES = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}


def entries(name: str) -> list[tuple[Requirement, int]]:
    """The requirements of a lock file, each with the number of its hashes."""
    blocks = re.split(r"\n(?=[a-z0-9])", LOCKS[name].read_text(encoding="utf-8"))
    rows = [(block.split(" \\", 1)[0], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))) for block in blocks]
    return [(Requirement(line), hashes) for line, hashes in rows if not line.startswith("#")]


def environment(python: str, machine: str = "linux") -> dict[str, str]:
    return {**MACHINES[machine], "python_version": python, "python_full_version": f"{python}.9", "extra": ""}


def versions(name: str, python: str, machine: str = "linux") -> dict[str, Version]:
    """What a lock file installs there, by canonical name."""
    rows = [row for row, _ in entries(name) if row.marker is None or row.marker.evaluate(environment(python, machine))]
    assert len({canonicalize_name(row.name) for row in rows}) == len(rows), "a package is there twice"
    return {canonicalize_name(row.name): Version(next(iter(row.specifier)).version) for row in rows}


def project() -> dict[str, object]:
    tomllib = pytest.importorskip("tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required(lines: list[str], python: str, machine: str) -> list[Requirement]:
    """The requirements that apply there, those of ttprof's own extras in their place."""
    rows = []
    for row in map(Requirement, lines):
        if row.marker is not None and not row.marker.evaluate(environment(python, machine)):
            continue
        if row.name == "ttprof":
            extras = project()["optional-dependencies"]
            rows += [r for extra in row.extras for r in required(extras[extra], python, machine)]
        else:
            rows.append(row)
    return rows


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes_and_no_address(name):
    rows = entries(name)
    assert len(rows) > 20
    for row, hashes in rows:
        assert [part.operator for part in row.specifier] == ["=="] and row.url is None and hashes, row
    text = LOCKS[name].read_text(encoding="utf-8")
    assert not re.search(r"index-url|find-links|trusted-host|://|file:", text)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_lock_satisfies_the_project_and_its_extras(python, machine):
    locked = versions("ci", python, machine)
    metadata_of_project = project()
    lines = [*metadata_of_project["dependencies"]]
    lines += [line for extra in LOCKED_EXTRAS for line in metadata_of_project["optional-dependencies"][extra]]
    for row in required(lines, python, machine):
        if row.name != "torch":
            assert locked[canonicalize_name(row.name)] in row.specifier, row


def test_the_lock_has_neither_torch_nor_its_cuda_libraries():
    names = {canonicalize_name(row.name) for row, _ in entries("ci")}
    assert not {name for name in names if re.match(r"torch$|triton|nvidia-|cuda-", name)}
    assert {"sympy", "fsspec", "networkx"} <= names  # which torch needs everywhere


def test_constraints_and_lock_agree_on_the_python_of_ci():
    pinned = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    constraints = {
        canonicalize_name(row.name): Version(next(iter(row.specifier)).version) for row in map(Requirement, pinned)
    }
    locked = versions("ci", "3.11")
    assert {name: locked[name] for name in locked.keys() & constraints.keys()} == {
        name: constraints[name] for name in locked.keys() & constraints.keys()
    }
    ours = {"editables", "hatchling", "trove-classifiers", "tomlkit"}  # the backend, which constraints do not pin
    assert locked.keys() - constraints.keys() <= ours


def test_the_makefile_checks_hashes_and_pins_torch():
    recipe = re.search(r"^\$\(READY\):.*?\n\n", MAKEFILE, re.MULTILINE | re.DOTALL)[0]
    locked, torch, ours = re.findall(r"\$\(PIP_INSTALL\) (.*)", recipe)[:3]
    assert locked == "--require-hashes --no-deps -r $(LOCK)"
    assert torch == "$(TORCH)" and ours == "--no-deps --no-build-isolation -e ."
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_make_target_says_what_it_does_and_is_phony():
    targets = re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)
    assert targets == re.findall(r"^([a-z]+):.*  ## \w", MAKEFILE, re.MULTILINE)
    assert set(targets) == set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())


def test_contributing_lists_the_targets_of_a_release_and_links_to_the_security_policy():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"make {target} " in text for target in ("dist", "audit", "lock"))
    assert "(SECURITY.md)" in text and "## Report a vulnerability" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_the_installed_metadata_names_a_version_a_license_and_every_dependency():
    installed = metadata.metadata("ttprof")
    assert installed["Version"] == project()["version"] and installed["License-Expression"] == "Apache-2.0"
    names = {canonicalize_name(Requirement(line).name) for line in metadata.requires("ttprof") or []}
    assert names >= {canonicalize_name(Requirement(line).name) for line in project()["dependencies"]}


def test_the_package_is_typed_and_supports_the_pythons_that_it_claims():
    assert (ROOT / "ttprof" / "py.typed").is_file()
    claimed = [row.rsplit(" :: ", 1)[1] for row in project()["classifiers"] if re.search(r":: 3\.\d+$", row)]
    assert claimed == list(PYTHONS) and project()["requires-python"] == f">={PYTHONS[0]}"
