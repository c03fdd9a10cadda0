"""The cross-checks of the GPU kit as tests, on a machine with a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu import kit
from gpu.checks import cross_checks
from gpu.comparing import Budget, run_checks
from gpu.measuring import Bench

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA or ROCm device", allow_module_level=True)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [check.name for check in cross_checks(Bench(torch.device("cuda"), Path()))])
def test_a_metric_agrees_with_an_independent_measure(tmp_path, name):
    (check,) = [check for check in cross_checks(Bench(torch.device("cuda"), tmp_path)) if check.name == name]
    (outcome,) = run_checks([check], Budget(1000), kit.is_there)
    if outcome.state == "not run":
        pytest.skip(outcome.reason)
    assert not outcome.failed, "\n".join([outcome.details, *map(str, outcome.comparisons)])
