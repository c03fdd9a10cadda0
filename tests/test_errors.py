"""Errors: near misses of names, and exceptions from user code."""

from __future__ import annotations

import pickle

import pytest

from ttprof.errors import (
    InputsError,
    ModuleRaised,
    SpecError,
    SuiteFailed,
    UnknownMethodError,
    UnknownNameError,
    nearest,
    user_code,
)
from ttprof.system.escape import visible


def test_an_unknown_name_suggests_the_nearest_ones():
    error = UnknownNameError("module", "atention", ["attention", "attention.key_proj", "ffn"])
    assert str(error) == "unknown module 'atention'; did you mean 'attention', 'attention.key_proj'?"
    assert isinstance(error, SpecError)
    assert isinstance(error, KeyError) and isinstance(error, LookupError)


def test_control_characters_are_escaped_and_everything_else_stays():
    assert visible("a\nb\x1b[31m\x9b\u2028\u202e\ud800") == r"a\nb\x1b[31m\x9b\u2028\u202e\ud800"
    for text in ("layers.0", "é 漢 \U0001f468\u200d\U0001f469", r"a\nb", "%"):
        assert visible(text) == text


def test_without_a_close_name_valid_names_are_listed():
    assert nearest("zzz", ["b", "a"]) == "valid are 'a', 'b'"
    assert nearest("zzz", []) == "there are none"


def test_the_last_part_of_a_dotted_name_suggests_it():
    assert "'encoder.layer.0.attention'" in nearest("attention", ["encoder.layer.0.attention", "head"])


def test_user_code_reports_the_exception_and_its_line():
    with (
        pytest.raises(ModuleRaised, match=r"the forward of x raised ZeroDivisionError: .* \(at .*test_errors.py:\d+\)"),
        user_code("the forward of x"),
    ):
        divide()


def divide():
    return 1 / 0


def test_user_code_passes_on_errors_of_ttprof_and_interrupts():
    with pytest.raises(SpecError), user_code("it"):
        raise SpecError("ours")
    with pytest.raises(KeyboardInterrupt), user_code("it"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("metric", "latenc", ["latency"]),
        UnknownMethodError(dict, "updat"),
        SuiteFailed("1 of 2 cases failed", None),
        InputsError("no inputs"),
    ],
)
def test_errors_survive_pickling(error):
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error) and str(copied) == str(error)
    assert vars(copied) == vars(error)
