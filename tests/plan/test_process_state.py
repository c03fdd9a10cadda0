"""The settings and generators of the process are restored, whatever the code under test does with them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from ttprof.plan.process_state import as_written, process_settings, seeded, threads

CPU = torch.device("cpu")


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def test_a_seed_repeats_the_numbers_of_all_three_generators():
    with seeded(3, CPU):
        first = draws()
    with seeded(3, CPU):
        assert draws() == first
    with seeded(4, CPU):
        assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_the_users_sequence_goes_on_as_if_nothing_had_drawn():
    seed_all(7)
    expected = draws(), draws()
    seed_all(7)
    before = draws()
    with pytest.raises(RuntimeError, match="stop"), seeded(3, CPU):
        draws()
        seed_all(1)
        raise RuntimeError("stop")
    assert (before, draws()) == expected


def set_autocast() -> None:
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
        (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
        (lambda: torch.set_default_device("meta"), torch.get_default_device),
        (lambda: torch.set_num_threads(3), torch.get_num_threads),
        (lambda: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled),
        (
            lambda: torch.use_deterministic_algorithms(True, warn_only=True),
            torch.is_deterministic_algorithms_warn_only_enabled,
        ),
        (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
        (lambda: torch.backends.mha.set_fastpath_enabled(False), torch.backends.mha.get_fastpath_enabled),
        (lambda: torch.backends.cuda.enable_math_sdp(False), torch.backends.cuda.math_sdp_enabled),
        (lambda: setattr(torch.backends.cudnn, "benchmark", True), lambda: torch.backends.cudnn.benchmark),
        (set_autocast, lambda: (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))),
    ],
    ids=[
        *("grad", "dtype", "device", "threads", "deterministic", "warn_only", "precision", "fast_path", "sdp", "cudnn"),
        "autocast",
    ],
)
def test_a_setting_that_is_changed_is_restored(change, read):
    before = read()
    with pytest.raises(RuntimeError, match="stop"), process_settings(CPU):
        change()
        assert read() != before
        raise RuntimeError("stop")
    assert read() == before


def test_a_setting_that_the_user_made_stays():
    torch.set_default_dtype(torch.float64)
    try:
        with process_settings(CPU):
            torch.set_default_dtype(torch.float32)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_threads_and_the_fused_path_are_restored_after_an_error():
    count, fused = torch.get_num_threads(), torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError), threads(count + 1), as_written():
        assert torch.get_num_threads() == count + 1 and not torch.backends.mha.get_fastpath_enabled()
        raise RuntimeError
    assert (torch.get_num_threads(), torch.backends.mha.get_fastpath_enabled()) == (count, fused)


def test_a_default_device_is_restored_without_a_mode_that_turns_fast_paths_off():
    with process_settings(CPU):
        torch.set_default_device("meta")
    assert not torch.overrides.has_torch_function((torch.ones(1),)) and torch.ones(1).device.type == "cpu"
    try:
        torch.set_default_device("meta")
        with process_settings(CPU):
            torch.set_default_device("cpu")
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_device(None)
