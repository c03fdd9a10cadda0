"""FLOPs by hand: grouped convolutions, attention, sparse, nested and quantised products, and unknown operators."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import register_flop_formula

from ttprof.run.flops import FlopCount
from ttprof.run.work import count_work


def total(call) -> int:
    count = count_work(call).flops
    assert count.unknown == ()
    return count.total


@torch.library.custom_op("ttproftest::multiply", mutates_args=())
def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(a.numpy() @ b.numpy())


@torch.library.custom_op("ttproftest::counted", mutates_args=())
def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(a.numpy() @ b.numpy())


@register_flop_formula(torch.ops.ttproftest.counted)
def _flops_of_counted(a, b, *_, **__):
    return 2 * a[0] * a[1] * b[1]


def test_an_operator_without_a_formula_is_named_and_the_others_are_counted():
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    count = count_work(lambda: torch.ops.ttproftest.multiply(a, b) + a @ b).flops
    assert count == FlopCount(2 * 2 * 3 * 5, ("ttproftest::multiply",))


def test_a_registered_formula_counts():
    assert total(lambda: torch.ops.ttproftest.counted(torch.ones(2, 3), torch.ones(3, 5))) == 2 * 2 * 3 * 5


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.fft.fft(torch.ones(8)),
        lambda: torch.linalg.inv(torch.eye(3)),
        lambda: torch.linalg.svd(torch.eye(3)),
        lambda: torch.linalg.cholesky(torch.eye(3)),
        lambda: torch.cdist(torch.ones(40, 2), torch.ones(40, 2), compute_mode="donot_use_mm_for_euclid_dist"),
        lambda: torch.cdist(torch.ones(40, 2), torch.ones(40, 2)),
        lambda: torch.pdist(torch.ones(40, 2)),
    ],
    ids=["fft", "inv", "svd", "cholesky", "cdist", "cdist by products", "pdist"],
)
def test_operators_of_torch_that_multiply_and_have_no_formula_are_unknown(call):
    assert count_work(call).flops.unknown


def test_moving_and_adding_numbers_counts_as_zero():
    x = torch.ones(4, 4)
    assert total(lambda: (x + x).t().contiguous().softmax(-1).sum().exp()) == 0


@pytest.mark.parametrize(("groups", "channels"), [(1, 8), (2, 8), (8, 8)])
@pytest.mark.parametrize("transposed", [False, True])
def test_each_gradient_of_a_convolution_takes_as_many_operations_as_its_forward(groups, channels, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    convolution = kind(channels, channels, 3, groups=groups, bias=False)
    x = torch.ones(2, channels, 6, 6)
    positions = 6 * 6 if transposed else 4 * 4
    forward = 2 * 2 * positions * channels * (channels // groups) * 9

    def train(wanted: bool) -> None:
        convolution(x.clone().requires_grad_(wanted)).sum().backward()

    assert total(lambda: convolution(x)) == forward
    assert total(lambda: train(False)) == 2 * forward
    assert total(lambda: train(True)) == 3 * forward


def test_a_linear_layer_and_its_backward():
    layer, x = nn.Linear(4, 8), torch.ones(2, 4)
    assert total(lambda: layer(x).sum().backward()) == 2 * (2 * 2 * 4 * 8)


@pytest.mark.parametrize(
    ("call", "flops"),
    [
        (lambda: torch.mv(torch.ones(3, 5), torch.ones(5)), 2 * 15),
        (lambda: torch.addmv(torch.ones(3), torch.ones(3, 5), torch.ones(5)), 2 * 15),
        (lambda: torch.dot(torch.ones(7), torch.ones(7)), 2 * 7),
        (lambda: torch.ones(2, 3, 4) @ torch.ones(2, 4, 5), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.einsum("bij,bjk->bik", torch.ones(2, 3, 4), torch.ones(2, 4, 5)), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.sparse.mm(torch.eye(4).to_sparse(), torch.ones(4, 5)), 2 * 4 * 5),
        (lambda: torch.eye(4).to_sparse_csr() @ torch.ones(4, 5), 2 * 4 * 5),
        (lambda: torch._int_mm(torch.ones(32, 16).to(torch.int8), torch.ones(16, 8).to(torch.int8)), 2 * 32 * 16 * 8),
        (lambda: nn.Bilinear(2, 3, 4, bias=False)(torch.ones(5, 2), torch.ones(5, 3)), None),
    ],
    ids=["mv", "addmv", "dot", "bmm", "einsum", "sparse", "csr", "int8", "bilinear"],
)
def test_products_by_hand(call, flops):
    count = count_work(call).flops
    if flops is None:
        assert count.unknown or count.total > 0
    else:
        assert count == FlopCount(flops)


@pytest.mark.parametrize("backend", ["flash", "math"])
def test_attention_multiplies_twice_whatever_computes_it(backend):
    q = torch.ones(1, 2, 8, 4)
    kind = torch.nn.attention.SDPBackend
    with torch.nn.attention.sdpa_kernel(kind.FLASH_ATTENTION if backend == "flash" else kind.MATH):
        assert total(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * (2 * 2 * 8 * 8 * 4)


def test_grouped_products_count_each_row_once():
    if not hasattr(torch, "_grouped_mm"):
        pytest.skip("this torch has no grouped products")
    rows, weights = torch.ones(16, 32, dtype=torch.bfloat16), torch.ones(2, 32, 8, dtype=torch.bfloat16)
    ends = torch.tensor([6, 16], dtype=torch.int32)
    assert total(lambda: torch._grouped_mm(rows, weights, ends)) == 2 * 16 * 32 * 8


def test_a_recurrent_layer_multiplies_input_and_state_in_every_step():
    layer = nn.LSTM(4, 6, batch_first=True).eval()
    x = torch.ones(3, 5, 4)
    with torch.no_grad():
        assert total(lambda: layer(x)) == 2 * 3 * 5 * (4 * 6 * 4 + 4 * 6 * 6)


def test_nested_tensors_neither_abort_nor_count_as_zero():
    x = torch.nested.nested_tensor([torch.ones(5, 16), torch.ones(9, 16)], layout=torch.jagged)
    model = nn.Sequential(nn.Linear(16, 8), nn.LayerNorm(8))
    assert total(lambda: model(x)) == 2 * (5 + 9) * 16 * 8


def test_a_quantised_linear_layer():
    model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4)), {nn.Linear})
    assert total(lambda: model(torch.ones(3, 8))) == 2 * 3 * 8 * 4


def test_a_compiled_module_is_counted_by_its_original_code():
    layer = nn.Linear(4, 8)
    compiled = torch.compile(layer, backend="eager")
    assert total(lambda: compiled(torch.ones(2, 4))) == 2 * 2 * 4 * 8


def test_attention_over_nested_tensors_is_unknown_and_its_projection_is_counted():
    """Its products run on nested tensors of torch's older layout, which have no sizes."""
    x = torch.nested.nested_tensor([torch.ones(5, 16), torch.ones(9, 16)], layout=torch.jagged)
    project = nn.Linear(16, 16)

    def attend():
        heads = project(x).unflatten(-1, [2, 8]).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)

    count = count_work(attend).flops
    assert count.total == 2 * (5 + 9) * 16 * 16 and "aten::matmul" in count.unknown
