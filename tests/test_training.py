"""Train mode, autocast, what a backward needs, and precision beside it: through suites, as a user meets them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ttprof import Status, TestSuite
from ttprof.errors import SpecError


def run(module, change, shape=(4, 8), **options):
    suite = TestSuite(module, quiet=True, seconds_per_case=0.2, on_failure="report", **options)
    change(suite.test(module, name="x").input_shape(shape).profile(1, 2))
    return suite.run()[0]


def reasons(case):
    return {verdict.expectation: verdict.reason for verdict in case.verdicts}


class Random(nn.Module):
    """Every kind of random numbers that a module draws in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        y = F.dropout(self.linear(x), 0.3, self.training) + torch.rand_like(x) * torch.randn_like(x)
        kept = torch.bernoulli(torch.full_like(x, 0.7)) + x.new_empty(x.shape).bernoulli_(0.5)
        q = y.unsqueeze(1)
        path = torch.rand((len(x), 1), dtype=x.dtype) < 0.5
        attended = F.scaled_dot_product_attention(q, q, q, dropout_p=0.2).squeeze(1) * path
        return attended * kept + x.new_empty(x.shape).uniform_(2, 3) + torch.randn(x.shape, dtype=x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_sides_draw_the_same_random_numbers_in_train_mode(dtype):
    torch.manual_seed(0)
    case = run(Random(), lambda case: case.train().dtype(dtype).tolerance(1e-4).deterministic())
    assert case.status is Status.PASS, case.errors
    assert "bits" in reasons(case)["deterministic output"]


def test_a_dropout_that_is_off_in_eval_mode_is_on_in_train_mode():
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    against = nn.Sequential(module[0], nn.Identity())
    assert run(module, lambda case: case.compare_with(against)).status is Status.PASS
    assert run(module, lambda case: case.train().compare_with(against)).status is Status.FAIL


def test_gradients_are_compared_in_train_mode_and_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.ReLU()).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    case = run(module, lambda case: case.train().backward().tolerance(1e-4), shape=(4, 4, 16))
    assert case.status is Status.PASS, case.errors
    # The input, a weight, and two of the norm; that of the bias is zero behind batch statistics.
    assert "gradients of 4 tensors" in reasons(case)["gradients"]
    assert not any(m.training for m in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_autocast_is_held_against_float64_with_the_floor_of_its_dtype():
    module = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8))
    case = run(module, lambda case: case.autocast(torch.bfloat16).tolerance(1e-4))
    assert case.status is Status.PASS
    assert "raised from 0.0001 to the floor of bfloat16" in reasons(case)["tolerance 0.0001"]
    assert case.metrics["rel_error"] > 1e-3  # it did run in bfloat16
    strict = run(module, lambda case: case.autocast(torch.bfloat16).tolerance(1e-4, strict=True))
    assert strict.status is Status.FAIL
    both = run(module, lambda case: case.autocast(torch.bfloat16).backward().compare_with(module))
    assert both.status is Status.PASS and "gradients of 5 tensors" in reasons(both)["gradients"]
    with pytest.raises(SpecError, match="autocast needs"):
        run(module, lambda case: case.autocast(torch.float32))


def test_modules_in_an_autocast_keep_their_names_in_the_trace():
    model = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(8, 8), nn.ReLU())})
    suite = TestSuite(model, quiet=True)
    suite.test("mlp").input_shape((2, 8)).autocast(torch.bfloat16).profile(0, 2)
    (case,) = suite.run()
    from ttprof.trace.attribution import Attribution
    from ttprof.trace.formats import kineto

    assert set(Attribution(kineto.read(case.trace_path)).modules.paths) == {"mlp", "mlp.0", "mlp.1"}


def test_what_is_kept_for_the_backward_is_counted_once_and_without_what_lives_anyway():
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
    case = run(module, lambda case: case.backward())
    # The output of the ReLU, which the ReLU and the second layer both keep; not the input, not the weights.
    assert case.metrics["activation_mb"] == 4 * 32 * 4 / 2**20
    assert "activation_mb" not in run(module, lambda case: case).metrics
    assert 0 < case.metrics["backward_share"] < 1


class Rms(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def test_a_norm_is_tried_on_small_inputs_too():
    good = run(Rms(1e-6), lambda case: case.compare_with(Rms(1e-6)))
    assert good.status is Status.PASS
    assert "with inputs × 0.01: relative error " in reasons(good)["tolerance 0.001 at inputs × 0.01"]
    bad = run(Rms(1e-6), lambda case: case.compare_with(Rms(1e-5)))
    assert [v.status for v in bad.verdicts if "tolerance" in v.expectation] == ["PASS", "FAIL"]
    plain = run(nn.Linear(8, 8), lambda case: case.tolerance(1e-3))
    assert not any("0.01" in expectation for expectation in reasons(plain))


class SmallNorm(nn.Module):
    """Takes rows that sum to 1, and nothing else."""

    def forward(self, x):
        if not torch.allclose(x.sum(-1), torch.ones(len(x), dtype=x.dtype)):
            raise ValueError("rows have to sum to 1")
        return x / x.norm(dim=-1, keepdim=True)


def test_a_norm_for_which_small_inputs_are_none_is_not_tried_on_them():
    given = torch.softmax(torch.randn(4, 8), -1)
    suite = TestSuite(SmallNorm(), inputs=given, quiet=True)
    suite.test(suite._spec.model).tolerance(1e-3).expect(latency_ms=1000).profile(1, 2)
    (case,) = suite.run()
    assert case.status is Status.PASS, case.errors
    skipped = next(v for v in case.verdicts if v.status is Status.SKIP)
    assert skipped.reason.startswith("with inputs × 0.01: not tried: ") and "sum to 1" in skipped.reason


def test_an_output_of_less_precision_than_the_references_has_the_floor_of_the_reference():
    class Drops(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, x):
            return (self.linear(x) * 1.015).bfloat16()

    linear = nn.Linear(8, 8)
    case = run(Drops(linear), lambda case: case.compare_with(linear).tolerance(1e-4))
    assert case.status is Status.FAIL
    assert run(Drops(linear).bfloat16(), lambda case: case.compare_with(linear).tolerance(1e-4)).status is Status.PASS


def test_the_order_of_a_dict_is_no_difference():
    one = lambda x: {"a": x, "b": 2 * x}  # noqa: E731

    class Other(nn.Module):
        def forward(self, x):
            return {"b": 2 * x, "a": x}

    assert run(Other(), lambda case: case.compare_with(one)).status is Status.PASS
    swapped = lambda x: {"a": 2 * x, "b": x}  # noqa: E731
    assert run(Other(), lambda case: case.compare_with(swapped)).status is Status.FAIL


def test_gradients_behind_a_reentrant_checkpoint():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(self.linear, x, use_reentrant=True)

    case = run(Checkpointed(), lambda case: case.backward().tolerance(1e-3))
    assert case.status is Status.PASS, case.errors
    assert "gradients of 3 tensors" in reasons(case)["gradients"]


def test_a_distance_in_units_of_the_last_place():
    class Off(nn.Module):
        def forward(self, x):
            return torch.full_like(x, 1.0) + torch.finfo(torch.float32).eps * torch.arange(x.shape[-1])

    against = lambda x: torch.full_like(x, 1.0)  # noqa: E731
    case = run(Off(), lambda case: case.compare_with(against).expect(ulp_error=7))
    assert (case.status, case.metrics["ulp_error"]) == (Status.PASS, 7)
    limited = run(nn.Tanh(), lambda case: case.expect(ulp_error=2))  # a limit alone asks for the comparison too
    assert limited.status is Status.PASS and 0 < limited.metrics["ulp_error"] <= 2


def test_a_constant_output_is_said():
    case = run(nn.Hardtanh(5, 6), lambda case: case.tolerance(1e-3))
    assert case.status is Status.PASS
    assert "output is constant, 5 everywhere: its pcc is undefined" in reasons(case)["finite output"]
    assert run(nn.Hardtanh(5, 6), lambda case: case.expect(pcc=0.9)).status is Status.ERROR


def test_how_a_case_was_timed_is_in_its_result():
    module = nn.Linear(8, 8)
    (fixed,) = run(module, lambda case: case.compare_with(lambda x: module(x))).trials
    assert (fixed.interleaved, fixed.stopped) == (2, "the iterations are fixed by .profile")
    suite = TestSuite(module, quiet=True, seconds_per_case=5)
    suite.test(module).input_shape((2, 8))
    ((free,),) = (case.trials for case in suite.run())
    assert (free.interleaved, free.stopped, free.iterations) == (1, "every verdict is decided", 30)
