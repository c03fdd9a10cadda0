"""Every submodule of seven Hugging Face model families runs with inferred inputs."""

from __future__ import annotations

import pytest
import torch
from tiny_models import HUGGING_FACE, bert
from torch import nn

from ttprof import Status, TestSuite
from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError
from ttprof.plan.infer import ModelInputs
from ttprof.plan.inputs import Size


def called_submodules(model: nn.Module) -> set[str]:
    """The paths of the submodules that a forward of the model calls."""
    called = set()
    for path, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, path=path: called.add(path))
    inputs = ModelInputs(model, torch.device("cpu")).at(Size(2, 16))
    model(*inputs.args, **inputs.kwargs)
    return called - {""}


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_every_called_submodule_runs_alone_and_matches_float64(family):
    torch.manual_seed(0)
    model = HUGGING_FACE[family]()
    suite = TestSuite(model, batch_size=2, seq_len=16, quiet=True, seconds_per_case=0.1)
    suite.test_all_modules().tolerance(1e-4).profile(1, 2)
    suite.test(model, name="whole").tolerance(1e-4).profile(1, 2)
    result = suite.run()
    assert result.passed, result.failures
    ran = [case for case in result if case.status is Status.PASS]
    skipped = [case for case in result if case.status is Status.SKIP]
    assert {case.trials[0].inputs_source for case in ran if case.module_name != "whole"} == {"captured"}
    assert {v.reason for case in skipped for v in case.verdicts} <= {"the model's forward does not call this module"}
    assert {case.module_name for case in ran} == {"whole", *called_submodules(model)}
    assert all({"latency_ms", "memory_mb", "rel_error"} <= case.metrics.keys() for case in ran)


def test_sweeps_capture_again_at_each_length():
    model = HUGGING_FACE["llama"]()
    suite = TestSuite(model, quiet=True)
    suite.test(model.model.layers[1].self_attn).with_seq_lengths([8, 16, 32]).profile(1, 2)
    (case,) = suite.run()
    assert [trial.inputs.partition(" ")[0] for trial in case.trials] == [
        "hidden_states=1x8x32",
        "hidden_states=1x16x32",
        "hidden_states=1x32x32",
    ]


def test_a_default_length_is_reduced_to_the_limit_of_the_config_with_a_note():
    inputs = ModelInputs(bert(), torch.device("cpu")).at(Size(1, 2048, explicit=False))
    assert inputs.shapes() == [(1, 64)]
    assert inputs.notes == (
        Note(NoteCode.SEQ_LEN_SHORTENED, "seq_len reduced to 64, the longest that the model's config allows"),
    )


def test_a_chosen_length_beyond_the_config_is_an_error():
    with pytest.raises(InputsError, match=r"raised .*; its config allows seq_len=64, not 65"):
        ModelInputs(bert(), torch.device("cpu")).at(Size(1, 65))
