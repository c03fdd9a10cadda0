"""Bytes that operators read and write, by hand, and those that a cache can't hold."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ttprof.run.traffic import Touch, TrafficTally
from ttprof.run.work import count_work

FLOAT, LONG = 4, 8


def nbytes(call) -> int:
    traffic = count_work(call).traffic
    assert not traffic.unknown
    return traffic.nbytes


def without_grad(call):
    return torch.no_grad()(call)


X = torch.ones(6, 10)
IDS, OFFSETS = torch.tensor([3, 0, 2]), torch.tensor([0, 2])
TABLE = torch.ones(1000, 16)
BIG = torch.zeros(1000, 16)
ROW = torch.ones(16)
OUT = (torch.empty(10), torch.empty(10, dtype=torch.long))
TARGET = torch.tensor([0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(lambda: X + X, (60 + 60) * FLOAT, id="a tensor used twice is read once"),
        pytest.param(lambda: X + 1, (60 + 60) * FLOAT, id="out of place"),
        pytest.param(lambda: X.clone().add_(1), (2 * 60 + 2 * 60) * FLOAT, id="in place is a read and a write"),
        pytest.param(lambda: torch.zeros(6, 10), 60 * FLOAT, id="fill"),
        pytest.param(lambda: torch.empty(6, 10), 0, id="allocation"),
        pytest.param(lambda: X.t().reshape(5, 12).contiguous(), 2 * 60 * FLOAT, id="views are free, copies are not"),
        pytest.param(lambda: X[0].expand(50, 10) + 1, (10 + 500) * FLOAT, id="an expanded tensor is read once"),
        pytest.param(lambda: X.half().float(), 60 * (4 + 2 + 2 + 4), id="casts"),
        pytest.param(lambda: F.embedding(IDS, TABLE), 3 * LONG + 2 * 3 * 16 * FLOAT, id="rows of a table"),
        pytest.param(lambda: TABLE[IDS], 3 * LONG + 2 * 3 * 16 * FLOAT, id="index"),
        pytest.param(lambda: TABLE.index_select(0, IDS), 3 * LONG + 2 * 3 * 16 * FLOAT, id="index_select"),
        pytest.param(
            lambda: torch.ops.aten._embedding_bag(TABLE, IDS, OFFSETS),
            (3 + 2) * LONG + 3 * 16 * FLOAT + 2 * 16 * FLOAT + (2 + 2) * LONG,
            id="rows of a bag, the bag and its indices",
        ),
        pytest.param(lambda: torch.cat([X, X[:2]]), (60 + 20 + 80) * FLOAT, id="cat"),
        pytest.param(lambda: torch.zeros_like(X), 60 * FLOAT, id="a tensor that is only a pattern"),
        pytest.param(lambda: torch.empty(9).exponential_(), 9 * FLOAT, id="random numbers"),
        pytest.param(lambda: X.clone().t_(), 2 * 60 * FLOAT, id="a view in place"),
        pytest.param(lambda: torch.max(X, 0, out=OUT), (60 + 10) * FLOAT + 10 * LONG, id="out="),
        pytest.param(lambda: torch.arange(0).new_zeros(5), 5 * LONG, id="new_zeros"),
        pytest.param(lambda: ROW.unfold(0, 4, 1).sum(), 16 * FLOAT + FLOAT, id="overlapping windows"),
        pytest.param(lambda: BIG.index_copy_(0, IDS, TABLE[:3]), 3 * LONG + 2 * 3 * 16 * FLOAT, id="index_copy_"),
        pytest.param(lambda: BIG.index_add_(0, IDS, TABLE[:3]), 3 * LONG + 3 * 3 * 16 * FLOAT, id="index_add_"),
        pytest.param(lambda: BIG.index_fill_(0, IDS, 1.0), 3 * LONG + 3 * 16 * FLOAT, id="index_fill_"),
        pytest.param(lambda: BIG.index_put_((IDS,), TABLE[:3]), 3 * LONG + 2 * 3 * 16 * FLOAT, id="index_put_"),
        pytest.param(lambda: F.nll_loss(X, TARGET), None, id="nll_loss reads an element for each row"),
        pytest.param(
            lambda: F.scaled_dot_product_attention(*(torch.empty(1, 2, 8, 16),) * 3),
            (256 + 256 + 2 * 8) * FLOAT,
            id="attention reads q, k and v, and writes the output and the log-sum-exp",
        ),
    ],
)
def test_bytes_of_operators(call, expected):
    if expected is None:  # 6 elements and targets, the loss and the total weight, and nothing of the other 54 elements
        assert 6 * (FLOAT + LONG) <= nbytes(call) <= 6 * (FLOAT + LONG) + 2 * FLOAT
    else:
        assert nbytes(call) == expected


def test_a_linear_layer_reads_input_and_parameters_and_writes_its_output():
    layer = nn.Linear(10, 7)
    assert nbytes(without_grad(lambda: layer(X))) == (60 + 70 + 7 + 42) * FLOAT


def test_a_backward_reads_and_writes_too():
    weight = torch.ones(10, 7, requires_grad=True)
    grad = torch.ones(6, 7)
    # forward: x, w, y; backward: x and grad are read, the gradient of w is written
    assert nbytes(lambda: (X @ weight).backward(grad)) == (60 + 70 + 42 + 60 + 42 + 70) * FLOAT


def test_a_static_cache_is_written_only_where_it_changes():
    cache = torch.zeros(1000, 16)
    assert nbytes(lambda: cache.index_copy_(0, torch.tensor([5]), torch.ones(1, 16))) < 1000


def test_a_sparse_matrix_counts_by_its_entries():
    sparse = torch.eye(100).to_sparse_csr()
    dense = torch.ones(100, 4)
    entries = 101 * LONG + 100 * LONG + 100 * FLOAT
    assert entries + 2 * 400 * FLOAT <= nbytes(lambda: sparse @ dense) <= entries + 4 * 400 * FLOAT


def test_tensors_on_other_devices_do_not_count():
    assert count_work(lambda: X + X, "cuda").traffic.nbytes == 0


def test_nested_tensors_without_sizes_are_unknown():
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    assert count_work(lambda: nested + nested).traffic.unknown


def touch(memory, nbytes, new=False):
    return Touch(memory, 0, nbytes, nbytes, new)


def passed(touches, capacity, warm=False):
    traffic = TrafficTally()
    traffic.touches += touches
    return traffic.beyond_cache(capacity, warm)


READ_A, WRITE_B, READ_B = touch(1, 60), touch(2, 60, new=True), touch(2, 60)


@pytest.mark.parametrize(
    ("touches", "capacity", "warm", "expected"),
    [
        ([READ_A, WRITE_B], 200, False, 60),  # the write waits in the cache
        ([READ_A, WRITE_B], 200, True, 0),  # and the input is still there from the call before
        ([READ_A, WRITE_B], 50, True, 20),  # all but 50 of each
        ([READ_A, WRITE_B], 0, True, 120),
        ([READ_A, WRITE_B, READ_B], 100, False, 60),  # b may be read from the cache
        ([READ_A, touch(3, 60)], 100, True, 20),  # a cache that keeps a, and 40 of the other
        ([READ_A, touch(3, 60)], 100, False, 120),
        ([READ_A, touch(3, 60), READ_A], 0, False, 180),
        ([READ_A, touch(3, 1000), READ_A], 100, False, 60 + 1000),  # the last may be kept
        ([touch(1, 1000)] * 3, 100, True, 3 * 900),
        ([touch(1, 10)] * 3, 100, False, 10),
    ],
)
def test_what_must_pass_the_cache(touches, capacity, warm, expected):
    assert passed(touches, capacity, warm) == expected


def optimal(touches, capacity):
    """The fetches of a cache that drops what is used furthest in the future (Belady, 1966), in units of one byte."""
    trace = [(t.memory, i) for t in touches for i in range(t.nbytes)] * 2
    cache, fetched = set(), 0
    for now, line in enumerate(trace):
        if line not in cache:
            fetched += now >= len(trace) // 2
            if len(cache) == capacity:
                later = {other: i for i, other in reversed(list(enumerate(trace))) if i > now}
                cache.remove(max(cache, key=lambda other: later.get(other, len(trace))))
            cache.add(line)
    return fetched


@pytest.mark.parametrize("seed", range(12))
def test_no_cache_fetches_less(seed):
    draw = random.Random(seed)
    touches = [touch(draw.randrange(5), draw.choice([2, 5, 9])) for _ in range(8)]
    touches = [touch(t.memory, max(o.nbytes for o in touches if o.memory == t.memory)) for t in touches]
    for capacity in (1, 4, 8, 16):
        assert passed(touches, capacity, warm=True) <= optimal(touches, capacity)


def test_memory_that_is_freed_and_allocated_again_is_not_the_same_memory():
    def chain():
        x = torch.ones(1000)
        for _ in range(10):
            x = x + 1

    traffic = count_work(chain).traffic
    assert len({t.memory for t in traffic.touches}) == 11
    assert traffic.beyond_cache(0, warm=False) == traffic.nbytes
    assert traffic.beyond_cache(100_000, warm=False) == 0


def test_fused_operators_read_what_comes_from_outside_once_and_write_only_the_result():
    weight = torch.ones(10, 7)

    def call():
        hidden = X @ weight
        return (hidden.exp() + hidden) @ weight.t()

    traffic = count_work(call).traffic.fused([call()])
    assert traffic.nbytes == (60 + 70 + 60) * FLOAT
