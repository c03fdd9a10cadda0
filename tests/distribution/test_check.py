"""The check of the files in a wheel and in an sdist."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest
from distribution import check

TRACKED = [
    "LICENSE",
    "pyproject.toml",
    "tests/test_a.py",
    "docs/a.md",
    "ttprof/__init__.py",
    "ttprof/dashboard/static/a.js",
]
WHEEL = ["ttprof/__init__.py", "ttprof/dashboard/static/a.js", "ttprof-1.dist-info/licenses/LICENSE"]


def test_a_wheel_of_the_package_and_its_metadata_is_right():
    assert list(check.wheel_problems(WHEEL, TRACKED)) == []


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (WHEEL[:1] + WHEEL[2:], "the wheel lacks ttprof/dashboard/static/a.js"),
        ([*WHEEL, "tests/test_a.py"], "the wheel contains tests/test_a.py"),
        ([*WHEEL, "ttprof/scratch.py"], "the wheel contains ttprof/scratch.py"),
        (WHEEL[:2], "the wheel lacks the license"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_named(members, problem):
    assert list(check.wheel_problems(members, TRACKED)) == [problem]


def test_an_sdist_may_lack_documents_but_no_code_and_no_test():
    members = ["PKG-INFO", *TRACKED]
    assert list(check.sdist_problems(members, TRACKED)) == []
    assert list(check.sdist_problems(set(members) - {"docs/a.md"}, TRACKED)) == []
    assert list(check.sdist_problems(set(members) - {"tests/test_a.py"}, TRACKED)) == [
        "the sdist lacks tests/test_a.py"
    ]
    assert list(check.sdist_problems([*members, "traces/gate-1/result.json"], TRACKED)) == [
        "the sdist contains traces/gate-1/result.json, which is not in the repository"
    ]


def test_the_files_of_both_archives_are_listed_without_folders():
    Path("x-1", "ttprof").mkdir(parents=True)
    Path("x-1/ttprof/a.py").touch()
    with tarfile.open("x-1.tar.gz", "w:gz") as sdist:
        sdist.add("x-1")
    with zipfile.ZipFile("x.whl", "w") as wheel:
        wheel.mkdir("ttprof") if hasattr(wheel, "mkdir") else wheel.writestr("ttprof/", "")
        wheel.write("x-1/ttprof/a.py", "ttprof/a.py")
    assert check.files_of(Path("x-1.tar.gz")) == check.files_of(Path("x.whl")) == ["ttprof/a.py"]
