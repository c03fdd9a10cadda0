"""A copy is to a module what the original was: identity, shared memory, strides, types and gradients."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan.copies import Memory, is_dense
from ttprof.plan.inputs import Inputs


@dataclass
class Batch:
    x: torch.Tensor
    name: str = "train"


def cloned(*args):
    return Inputs("given", args).cloned().args


def base() -> torch.Tensor:
    return torch.arange(12.0)


def test_one_tensor_passed_three_times_stays_one_tensor():
    x = base()
    query, key, value, other = cloned(x, x, x, base())
    assert query is key is value and other is not query
    assert torch.equal(query, x) and query.data_ptr() != x.data_ptr()


def test_one_object_passed_twice_stays_one_object_and_is_no_longer_the_users():
    batch = Batch(base())
    first, second = cloned(batch, [batch])
    assert first is second[0] and first is not batch and first.x is not batch.x
    first.x += 1
    first.name = "eval"
    assert torch.equal(batch.x, base()) and batch.name == "train"


def test_views_of_one_tensor_still_share_its_memory():
    x = base()
    head, tail, whole = cloned(x[:6], x[4:], x)
    head[5] = 100.0  # element 5 of all three
    assert tail[1] == 100.0 and whole[5] == 100.0
    assert x[5] == 5.0


def test_views_share_memory_across_objects():
    x = base().view(3, 4)
    batch, row = cloned(Batch(x), x[1])
    row.zero_()
    assert batch.x[1].tolist() == [0.0] * 4 and batch.x[2].tolist() == [8.0, 9.0, 10.0, 11.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: base().view(3, 4).t(),
        lambda: base().view(3, 4)[:, 1:3],
        lambda: base()[::3],
        lambda: base()[:1].expand(5),
        lambda: base().view(1, 3, 2, 2).to(memory_format=torch.channels_last),
        lambda: base().as_strided((3, 4), (1, 1)),
        lambda: base()[3:],
        lambda: torch.zeros(0, 4)[:, ::2],
        lambda: torch.tensor(3.0),
        lambda: base().unfold(0, 4, 2),
    ],
    ids=[
        "transposed",
        "columns",
        "stepped",
        "expanded",
        "channels_last",
        "overlapping",
        "offset",
        "empty",
        "scalar",
        "windows",
    ],
)
def test_strides_and_values_are_kept(make):
    x = make()
    (copy,) = cloned(x)
    assert copy.stride() == x.stride() and copy.shape == x.shape and torch.equal(copy, x)


def test_an_expanded_tensor_takes_the_memory_of_one_row():
    (copy,) = cloned(torch.zeros(1, 1000).expand(1000, 1000))
    assert copy.untyped_storage().nbytes() <= 4 * 1000 + 512


def test_an_offset_keeps_its_alignment():
    """Kernels choose vectorised loads by the address: element 3 of a block must not become its first."""
    x = torch.zeros(1024)[3:600:2]
    (copy,) = cloned(x)
    assert copy.data_ptr() % 64 == x.data_ptr() % 64 and copy.storage_offset() == 3


@pytest.mark.parametrize(
    "x",
    [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.quantize_per_tensor(base(), 0.5, 0, torch.qint8),
        torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged),
        torch.view_as_complex(base().view(6, 2)).conj(),
        torch.ones(2, dtype=torch.float8_e4m3fn),
        torch.tensor([True, False]),
    ],
    ids=["sparse", "csr", "quantised", "nested", "conjugate", "float8", "bool"],
)
def test_layouts_and_dtypes_are_kept(x):
    (copy,) = cloned(x)
    assert copy is not x and copy.dtype == x.dtype and copy.layout == x.layout
    assert copy.is_nested == x.is_nested
    same = [torch.equal(a, b) for a, b in zip(_dense(copy), _dense(x), strict=True)]
    assert same and all(same)


def _dense(x):
    if x.is_nested:
        return x.unbind()
    return [x.float() if x.element_size() == 1 and x.is_floating_point() else x if x.is_quantized else x.to_dense()]


def test_subclasses_keep_their_type_and_buffers_do_not_become_parameters():
    class Tagged(torch.Tensor):
        pass

    tagged, parameter, plain = cloned(base().as_subclass(Tagged), nn.Parameter(base()), base())
    assert type(tagged) is Tagged and type(parameter) is nn.Parameter and type(plain) is torch.Tensor


@pytest.mark.parametrize("wanted", [True, False])
def test_requires_grad_is_kept_and_the_history_is_not(wanted):
    weight = torch.ones(1, requires_grad=wanted)
    (copy,) = cloned(base() * weight)
    assert copy.requires_grad is wanted and copy.grad_fn is None and copy.is_leaf


def test_generators_are_copied_with_their_state_and_modules_are_shared():
    generator, module = torch.Generator().manual_seed(5), nn.Linear(2, 2)
    copy, same = cloned(generator, module)
    torch.rand(3, generator=copy)
    assert same is module
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(5).get_state())


def test_what_cannot_be_copied_is_named():
    class Job:
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(InputsError, match=r"the inputs can't be copied.*\[1\].*\.lock, a lock, raised TypeError"):
        cloned(base(), Job())


def test_casts_keep_identity_and_views():
    x = base()
    inputs = Inputs("given", (x, x, x[2:])).floating(torch.float64)
    first, second, tail = inputs.args
    assert first is second and first.dtype == tail.dtype == torch.float64
    tail.zero_()
    assert first.tolist() == [0.0, 1.0] + [0.0] * 10


def test_a_dtype_among_the_arguments_is_cast_with_the_tensors():
    cast = Inputs("given", (base(), torch.float32, torch.int64)).floating(torch.float64)
    assert cast.args[1:] == (torch.float64, torch.int64)


def test_masks_of_the_largest_finite_value_stay_the_largest():
    mask = torch.tensor([0.0, torch.finfo(torch.float32).min, torch.finfo(torch.float32).max, -torch.inf])
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        (cast,) = Inputs("given", (mask,)).floating(dtype).args
        limit = torch.finfo(dtype).max
        assert cast.tolist() == [0.0, -limit, limit, -torch.inf]


def test_variables_have_one_leaf_per_memory_and_gradients_add_up():
    x = torch.ones(3, requires_grad=True)
    variables = Inputs("given", (x, x), {"tail": x[1:]}).variables()
    assert variables.names() == ["0"] and len(variables.leaves) == 1
    first, second = variables.copies().args
    assert first is second
    (first.sum() + 2 * second.sum()).backward()  # each element is used 1 + 2 times
    assert variables.leaves[0].grad.tolist() == [3.0, 3.0, 3.0]


def test_gradients_flow_through_views_of_one_memory():
    x = torch.ones(4, requires_grad=True)
    variables = Inputs("given", (x[:3], x[2:])).variables()
    assert variables.are_views
    head, tail = variables.originals().args
    (head.sum() + 10 * tail.sum()).backward()
    (leaf,) = variables.leaves
    assert leaf.grad[:4].tolist() == [1.0, 1.0, 11.0, 10.0]


def test_which_inputs_require_gradients():
    data, hidden, ids = torch.ones(2), torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.int64)
    inputs = Inputs("given", (data, ids), {"hidden": hidden})

    def wanted(require):
        variables = inputs.variables(require)
        return [name for name, t in zip(variables.names(), variables.leaves, strict=True) if t.requires_grad]

    assert wanted(None) == ["hidden"]
    assert wanted(True) == ["0", "hidden"]
    assert wanted(False) == []


@pytest.mark.parametrize(
    ("shape", "stride", "dense"),
    [
        ((2, 3), (3, 1), True),
        ((2, 3), (1, 2), True),
        ((2, 3), (4, 1), False),
        ((2, 3), (0, 1), False),
        ((1,), (9,), True),
    ],
)
def test_dense_memory_has_neither_gaps_nor_overlaps(shape, stride, dense):
    assert is_dense(torch.zeros(20).as_strided(shape, stride)) is dense


def test_memory_groups_tensors_by_storage():
    x = base()
    blocks = Memory.of([x[:2], base(), x[5:]]).blocks
    assert [len(block.tensors) for block in blocks] == [2, 1]


class Tagged(torch.Tensor):
    """A tensor that carries a unit."""


def test_a_subclass_keeps_its_attributes():
    tensor = torch.ones(3).as_subclass(Tagged)
    tensor.unit = "ms"
    (copied,) = Memory.of([tensor]).map(torch.clone)
    assert type(copied) is Tagged and copied.unit == "ms" and copied is not tensor


def test_a_conjugate_stays_one_and_shares_memory_with_what_it_is_of():
    x = torch.tensor([[1 + 2j, 3 - 1j], [0 + 1j, 2 + 0j]])
    plain, conjugate = Memory.of([x, x.conj()]).map(torch.clone)
    (negative,) = Memory.of([x.conj().imag]).map(torch.clone)
    assert conjugate.is_conj() and not plain.is_conj() and negative.is_neg()
    assert torch.equal(conjugate.resolve_conj(), x.conj().resolve_conj())
    assert torch.equal(negative.resolve_neg(), -x.imag)
    plain[0, 0] = 5 + 5j
    assert conjugate[0, 0] == 5 - 5j and x[0, 0] == 1 + 2j
