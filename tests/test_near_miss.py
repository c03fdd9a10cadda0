"""Misspelled methods of a suite and of a builder, and the protocols that ask for attributes which they lack."""

from __future__ import annotations

import copy
import pickle

import pytest

from ttprof import TestSuite
from ttprof.errors import SpecError, UnknownMethodError
from ttprof.near_miss import NearMisses


@pytest.mark.parametrize(
    ("misspelled", "message"),
    [
        (lambda suite, case: suite.tests("ffn"), "TestSuite has no method 'tests'; did you mean 'test', "),
        (lambda suite, case: case.tolerence(1e-3), "CaseBuilder has no method 'tolerence'; did you mean 'tolerance'?"),
        (lambda suite, case: case.with_seq_length([1]), "'with_seq_length'; did you mean 'with_seq_lengths', "),
        (lambda suite, case: suite.test_all_modules().matchin("*"), "GroupBuilder has no method 'matchin'; did you "),
        (lambda suite, case: suite.gradients(), "TestSuite has no method 'gradients'; valid are 'auto_run', "),
    ],
)
def test_a_misspelled_method_raises_with_the_nearest_names(suite, model, misspelled, message):
    case = suite.test(model.ffn)
    with pytest.raises(UnknownMethodError) as raised:
        misspelled(suite, case)
    assert message in str(raised.value) and isinstance(raised.value, SpecError)


def test_hasattr_and_getattr_with_a_default_still_work(suite, model):
    case = suite.test(model.ffn)
    for named in (suite, case):
        assert not hasattr(named, "tolerence")
        assert getattr(named, "tolerence", "none") == "none"
        assert not hasattr(named, "_repr_html_") and not hasattr(named, "__len__")


def test_builders_and_suites_can_be_copied_and_pickled(model):
    suite = TestSuite(model, seq_len=16, auto_run=False)
    case = suite.test(model.ffn).tolerance(1e-3)
    for twin in (copy.copy(case), copy.deepcopy(case), pickle.loads(pickle.dumps(case))):
        assert [spec.tolerance for spec in twin.specs] == [spec.tolerance for spec in case.specs]
    assert copy.copy(suite).seq_len == 16


def test_a_property_that_raises_an_attribute_error_is_not_called_unknown():
    class Suite(NearMisses):
        @property
        def size(self) -> int:
            return self.config.size

        config = object()

    with pytest.raises(AttributeError, match="'object' object has no attribute 'size'") as raised:
        Suite().size  # noqa: B018
    assert not isinstance(raised.value, SpecError)


def test_a_private_name_is_a_plain_attribute_error(suite):
    with pytest.raises(AttributeError, match="'TestSuite' object has no attribute '_ipython_display_'") as raised:
        suite._ipython_display_()
    assert not isinstance(raised.value, SpecError)
