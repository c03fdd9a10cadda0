"""References of real models: narrow casts, masks, kinks, routing, gradients and FLOPs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from whole_model import check, metric, verdict

from ttprof import Status
from ttprof.codes import VerdictCode

PASS, FAIL, INCONCLUSIVE, ERROR = Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.ERROR


class Narrow(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(x).to(torch.bfloat16).to(x.dtype)


def test_a_cast_inside_is_said_and_nothing_below_its_floor_is_decided():
    x = torch.randn(4, 8)
    case = check(Narrow(), x, lambda c: c.tolerance(1e-6, strict=True))
    decided = verdict(case, "tolerance")
    assert (case.status, decided.code) == (INCONCLUSIVE, VerdictCode.REFERENCE_NARROW)
    assert "the same module in float64, which computes parts in bfloat16 (test_real_references.py:" in decided.reason
    raised = check(Narrow(), x, lambda c: c.tolerance(1e-6))
    assert raised.status is PASS and "to the floor of bfloat16" in verdict(raised, "tolerance").reason
    rival = nn.Linear(8, 8)
    model = Narrow()
    rival.load_state_dict(model.linear.state_dict())
    assert check(model, x, lambda c: c.compare_with(rival).tolerance(1e-5)).status is FAIL


def test_a_bfloat16_module_is_no_cast_inside():
    case = check(nn.Linear(8, 8).bfloat16(), torch.randn(4, 8).bfloat16(), lambda c: c.tolerance(1e-2))
    assert case.status is PASS and "computes parts" not in verdict(case, "tolerance").reason


class Masked(nn.Module):
    """Attention with a mask of the lowest finite value, passed from outside as Hugging Face does."""

    def __init__(self):
        super().__init__()
        self.inner = MaskedScores()

    def forward(self, x):
        mask = torch.full((4, 4), torch.finfo(x.dtype).min, dtype=x.dtype).triu(1)
        return self.inner(x, mask)


class MaskedScores(nn.Module):
    def forward(self, x, mask):
        return (x @ x.transpose(-1, -2) + mask).softmax(-1) @ x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_of_the_lowest_value_stays_a_mask_in_every_dtype(dtype):
    case = check(Masked(), torch.randn(2, 4, 8), lambda c: c.dtype(dtype).tolerance(1e-2), "inner")
    assert case.status is PASS, case.errors


def test_a_mask_as_an_output_equals_that_of_another_dtype():
    class MakesMask(nn.Module):
        def forward(self, x):
            return torch.full_like(x, torch.finfo(x.dtype).min).triu(1) + x

    assert check(MakesMask(), torch.ones(4, 4), lambda c: c.tolerance(1e-6)).status is PASS


class Kink(nn.Module):
    """Samples exactly on the border between two pixels, where the gradient of bilinear sampling jumps."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Conv2d(4, 2, 1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, x):
        n = x.shape[-1]
        p = (torch.arange(n, dtype=x.dtype) + 0.5) / n * 2 - 1
        grid = torch.stack(torch.meshgrid(p, p, indexing="xy"), -1)[None] + self.offset(x).permute(0, 2, 3, 1) / n
        return F.grid_sample(x, grid, align_corners=False, padding_mode="border")


class WrongKink(Kink):
    def forward(self, x):
        return 1.5 * super().forward(x)


def test_a_gradient_at_a_kink_is_inconclusive_and_a_wrong_output_fails():
    x = torch.randn(1, 4, 13, 13)
    case = check(Kink(), x, lambda c: c.tolerance(1e-3).backward())
    assert verdict(case, "tolerance").status is PASS
    decided = verdict(case, "gradients")
    assert (decided.status, decided.code) == (INCONCLUSIVE, VerdictCode.REFERENCE_UNSTABLE), decided.reason
    assert "rounding inputs and parameters to float32 moves" in decided.reason
    off = Kink()
    nn.init.constant_(off.offset.bias, 0.1)
    assert check(off, x, lambda c: c.tolerance(1e-3).backward()).status is PASS
    assert check(WrongKink(), x, lambda c: c.compare_with(Kink()).tolerance(1e-3).backward()).status is FAIL


class Router(nn.Module):
    """Sends each row to one of eight experts; rounding to bfloat16 sends some to another."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.gate, self.scale = nn.Linear(16, 8, bias=False), scale
        self.experts = nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        chosen = self.gate(x).argmax(-1)
        return x * self.experts[chosen] * self.scale


def routers(scale):
    torch.manual_seed(0)
    right, wrong = Router(), Router(scale)
    wrong.load_state_dict(right.state_dict())
    return right, wrong, torch.randn(1024, 16)


def test_a_router_whose_choices_flip_by_rounding_is_inconclusive():
    right, same_one, x = routers(1.0)
    bf16 = lambda c: c.dtype(torch.bfloat16)  # noqa: E731
    itself = check(right, x, lambda c: bf16(c).tolerance(1e-2))
    assert itself.status is INCONCLUSIVE, [v.reason for v in itself.verdicts]
    assert "of 1,024 rows off by more than 0.02" in verdict(itself, "tolerance").reason
    equal = check(same_one, x, lambda c: bf16(c).compare_with(right).tolerance(1e-2))
    assert equal.status in (PASS, INCONCLUSIVE), equal.errors
    assert check(right, x, lambda c: bf16(c).tolerance(1e-2, rows=0.98)).status is PASS


class RareJump(nn.Module):
    """Doubles a row whose first *values* reach a border that bfloat16 rounds to 1.

    In bfloat16, ones are on the border. In float64, rounding moves 28 % of ones across it: two at once in one run of
    13, eight at once in one of 30,000.
    """

    def __init__(self, values):
        super().__init__()
        self.values = values

    def forward(self, x):
        border = torch.tensor(1 + 0.45 * torch.finfo(torch.bfloat16).eps, dtype=x.dtype)
        return torch.where((x[:, : self.values] >= border).all(-1, keepdim=True), 2 * x, x)


@pytest.mark.parametrize(("values", "status"), [(2, INCONCLUSIVE), (8, FAIL)])
def test_a_jump_that_rounding_rarely_reaches_is_inconclusive_but_not_one_that_it_never_reaches(values, status):
    x = torch.randn(64, 16).clamp(max=0.9).bfloat16()
    x[5] = 1.0
    case = check(RareJump(values), x, lambda c: c.tolerance(1e-2))
    assert verdict(case, "tolerance").status is status, verdict(case, "tolerance").reason


@pytest.mark.parametrize("rows", [None, 0.98])
def test_a_router_with_a_bug_of_ten_percent_fails(rows):
    right, wrong, x = routers(1.1)
    case = check(wrong, x, lambda c: c.dtype(torch.bfloat16).compare_with(right).tolerance(1e-2, rows=rows))
    assert case.status is FAIL
    assert "rows off by more than 0.02" in " ".join(case.errors)


class Detached(nn.Module):
    def __init__(self, detach=True):
        super().__init__()
        self.first, self.second, self.detach = nn.Linear(4, 4), nn.Linear(4, 4), detach

    def forward(self, x):
        hidden = self.first(x)
        return self.second(hidden.detach() if self.detach else hidden)


def test_a_gradient_that_never_arrives_fails_against_a_reference_that_has_it():
    wrong, right = Detached(), Detached(detach=False)
    right.load_state_dict(wrong.state_dict())
    case = check(wrong, torch.randn(3, 4), lambda c: c.backward().compare_with(right).tolerance(1e-3))
    assert verdict(case, "tolerance").status is PASS
    assert verdict(case, "gradients").status is FAIL and "parameter first" in verdict(case, "gradients").reason


@pytest.mark.parametrize(("wanted", "flops"), [(None, 2), (False, 2), (True, 3)])
def test_the_gradient_of_the_data_is_charged_only_on_request(wanted, flops):
    forward = 2 * 3 * 4 * 8
    case = check(nn.Linear(4, 8), torch.randn(3, 4), lambda c: c.backward(inputs=wanted).expect(flops=flops * forward))
    assert case.status is PASS, case.errors
    assert metric(case, "flops") == flops * forward


def test_activations_require_gradients_as_they_do_in_the_model():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8))
    forward = 2 * 3 * 4 * 8
    case = check(model, torch.randn(3, 4), lambda c: c.backward(), model[1])
    assert metric(case, "flops") == 3 * forward
    first = check(model, torch.randn(3, 4), lambda c: c.backward(), model[0])
    assert metric(first, "flops") == 2 * (2 * 3 * 4 * 4)


def test_a_module_without_any_gradient_is_an_error_that_says_what_to_do():
    case = check(nn.Softmax(-1), torch.randn(3, 4), lambda c: c.backward())
    assert case.status is ERROR and "backward(inputs=True)" in case.errors[0]
    assert check(nn.Softmax(-1), torch.randn(3, 4), lambda c: c.backward(inputs=True)).status is PASS


@torch.library.custom_op("ttproftest::secret", mutates_args=())
def secret(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(a.numpy() @ b.numpy())


class Secret(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return torch.ops.ttproftest.secret(x, self.linear(x))


def test_a_limit_on_flops_is_an_error_if_an_operator_has_no_formula():
    case = check(Secret(), torch.ones(4, 4), lambda c: c.expect(flops=1_000_000))
    assert case.status is ERROR and "ttproftest::secret" in " ".join(case.errors)
    assert metric(case, "flops") is None
    assert check(Secret(), torch.ones(4, 4)).status is PASS


def test_training_of_a_depthwise_convolution_costs_twice_its_forward_more():
    forward = 2 * 2 * 8 * 4 * 4 * 9
    model = nn.Conv2d(8, 8, 3, groups=8, bias=False)
    case = check(model, torch.randn(2, 8, 6, 6), lambda c: c.backward(inputs=True).expect(flops=3 * forward))
    assert case.status is PASS, case.errors
    assert metric(case, "flops") == 3 * forward


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_where_the_exact_outcome_is_zero_is_inconclusive(dtype):
    torch.manual_seed(0)
    norm = nn.GroupNorm(8, 8).to(dtype)  # over one value per group, so what is left of it is 0
    case = check(norm, (torch.randn(2, 8, 1, 1) * 3 + 1).to(dtype), lambda c: c.tolerance(1e-3))
    assert case.status in (Status.INCONCLUSIVE, Status.PASS), case.errors  # some dtypes leave exactly 0


class Offset(nn.Module):
    def __init__(self, offset):
        super().__init__()
        self.offset = offset

    def forward(self, x):
        left = x - x
        return left + self.offset if x.dtype is torch.float32 else left


@pytest.mark.parametrize(("offset", "status"), [(1e-6, Status.INCONCLUSIVE), (1e-3, Status.FAIL)])
def test_an_error_beside_zero_is_the_modules_only_if_it_is_more_than_rounding(offset, status):
    case = check(Offset(offset), torch.full((2, 8), 3.0), lambda c: c.tolerance(1e-3))
    assert case.status is status, case.verdicts
