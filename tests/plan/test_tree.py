"""The walk over values: what it enters, the paths it gives, and what it leaves closed."""

from __future__ import annotations

from collections import deque, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from ttprof.plan import tree

ONE, TWO = torch.ones(1), torch.ones(2)
Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Batch:
    x: torch.Tensor
    length: int = 3


@dataclass(slots=True)
class Slotted:
    x: torch.Tensor


class Graph:
    """An object of a class that nobody registered."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Subclass(Slotted):
    """Slots in its base, a dict of its own."""


def paths(value):
    return {leaf.path: leaf.value for leaf in tree.leaves(value)}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (ONE, ""),
        ([TWO, ONE], "[1]"),
        ({"a": ONE}, "['a']"),
        (Pair(TWO, ONE), ".right"),
        (deque([ONE]), "[0]"),
        (Batch(ONE), ".x"),
        (Slotted(ONE), ".x"),
        (Graph(layers=[Graph(keys=ONE)]), ".layers[0].keys"),
        ({"a": (Batch(ONE),)}, "['a'][0].x"),
    ],
    ids=["tensor", "list", "dict", "namedtuple", "deque", "dataclass", "slots", "objects", "nested"],
)
def test_tensors_are_reached_in_every_kind_of_value(value, path):
    assert paths(value)[path] is ONE
    assert any(tensor is ONE for tensor in tree.tensors(value))


def test_slots_of_a_base_and_attributes_of_the_class_are_both_reached():
    value = Subclass(ONE)
    value.more = TWO
    assert list(paths(value)) == [".x", ".more"]


def test_a_tensor_that_is_passed_twice_is_one_tensor_with_two_paths():
    assert [leaf.path for leaf in tree.leaves((ONE, {"again": ONE}))] == ["[0]", "[1]['again']"]
    assert [id(t) for t in tree.tensors((ONE, TWO, ONE))] == [id(ONE), id(TWO)]


def test_equal_tensors_are_distinct():
    assert len(tree.tensors((torch.zeros(3), torch.zeros(3)))) == 2


def test_an_object_that_refers_to_itself_is_entered_once():
    value = Graph(x=ONE)
    value.me = value
    assert list(paths(value)) == [".x"]


def test_temporary_objects_do_not_hide_one_another():
    """A mapping may make new items per access, whose ids may be those of earlier ones that are gone."""

    class Fresh(dict):
        def items(self):
            return [("key", [torch.ones(1)])]

    assert len(tree.leaves([Fresh() for _ in range(20)])) == 20


@pytest.mark.parametrize(
    "value", [nn.Linear(2, 2), torch.nn, print, Batch, torch.Generator()], ids=lambda v: str(v)[:9]
)
def test_modules_classes_and_functions_are_leaves(value):
    assert paths([value]) == {"[0]": value}


def test_only_containers_and_dataclasses_are_transparent():
    """The attributes of other objects are reached, but flagged: they are not all part of an output."""
    opaque = {leaf.path: leaf.opaque for leaf in tree.leaves([Batch(ONE), Graph(x=ONE, inner=[TWO]), 5])}
    assert opaque == {"[0].x": False, "[0].length": False, "[1].x": True, "[1].inner[0]": True, "[2]": False}


def test_arrays_are_leaves_and_no_tensors():
    array = np.zeros(2)
    assert paths([array])["[0]"] is array
    assert tree.tensors([array]) == []
