"""Prefill and decode of language models: with the cache as the model holds it, for the model and its submodules."""

from __future__ import annotations

import pytest
import torch
from tiny_models import HUGGING_FACE
from torch import nn
from whole_model import metric, notes, run, verdict

from ttprof import Status, TestSuite
from ttprof.codes import NoteCode, VerdictCode
from ttprof.errors import SpecError

PASS, FAIL, ERROR = Status.PASS, Status.FAIL, Status.ERROR
HEADS, WIDTH = 4, 32


class TupleCacheModel(nn.Module):
    """A language model of one attention layer, whose cache is a tuple of keys and values, as older models have it."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.embed, self.head, self.defect = nn.Embedding(20, 8), nn.Linear(8, 20), defect

    def forward(self, ids, past=None):
        rows = self.embed(ids)
        kept = rows if past is None else torch.cat([past[0], rows], dim=1)
        seen = rows if self.defect == "ignores its cache" else kept
        scores = rows @ seen.mT
        later = torch.ones(scores.shape[-2:]).triu(1 + seen.shape[1] - rows.shape[1]).bool()
        output = self.head(scores.masked_fill(later, -torch.inf).softmax(-1) @ seen)
        return (output, None) if self.defect == "returns no cache" else (output, (kept, kept))


def cases_of(model, change, target=None, **options):
    inputs = options.pop("inputs", None)
    register = lambda suite: change(suite.test(target or model, name="x").profile(1, 2))  # noqa: E731
    return {case.module_name: case for case in run(model, inputs, register, **options)}


def test_the_decode_of_a_model_starts_from_the_cache_of_the_prefill():
    torch.manual_seed(0)
    model = HUGGING_FACE["llama"]().eval()
    case = cases_of(model, lambda c: c.tolerance(1e-3).prefill(7).decode(tokens=1))["x (decode)"]
    assert case.status is PASS, case.errors
    (trial,) = case.trials
    assert trial.point == {"prefill": 7, "tokens": 1}
    assert trial.inputs == "input_ids=1x1 int64, past_key_values=DynamicCache of 1x2x7x8 float32 and 3 more"
    assert verdict(case, "decode with the cache").code is VerdictCode.DECODE_AGREES


def test_attention_gets_the_cache_as_it_is_when_the_model_calls_it():
    model = HUGGING_FACE["llama"]().eval()
    attention = model.model.layers[1].self_attn
    prefill, decode = cases_of(model, lambda c: c.prefill(7).decode(), attention).values()
    assert prefill.status is decode.status is PASS, decode.errors
    # in its prefill the first layer has filled its part; in its decode that part is one token longer
    assert "past_key_values=DynamicCache of 1x2x7x8 float32 and 1 more" in prefill.trials[0].inputs
    assert "past_key_values=DynamicCache of 1x2x8x8 float32 and 3 more" in decode.trials[0].inputs
    # q and o: 32x32, k and v: 16x32; 4 heads of 8 attend to 8 tokens, twice
    assert metric(decode, "flops") == 2 * (2 * 32 * 32 + 2 * 16 * 32) + 2 * (2 * 4 * 8 * 8)


def test_a_prefill_runs_with_an_empty_cache_that_it_fills():
    model = HUGGING_FACE["llama"]().eval()
    held = []
    model.model.layers[0].self_attn.register_forward_hook(
        lambda module, args, kwargs, output: held.append(kwargs["past_key_values"]), with_kwargs=True
    )
    (case,) = cases_of(model, lambda c: c.prefill(5)).values()
    assert case.status is PASS, case.errors
    assert held.pop(0) is None  # the first forward shows that the model runs with this length
    assert {cache.get_seq_length() for cache in held} == {5}


def test_flops_of_the_decode_grow_linearly_with_the_prefill():
    model = HUGGING_FACE["llama"]().eval()
    attention = model.model.layers[0].self_attn
    change = lambda c: c.prefill([8, 16, 32, 64]).decode().expect_scaling("linear", metric="flops")  # noqa: E731
    case = cases_of(model, change, attention)["x (decode)"]
    assert case.status is PASS, case.errors
    assert case.scaling.axis == "prefill"


def test_expectations_belong_to_the_phase_that_they_follow():
    suite = TestSuite(HUGGING_FACE["llama"](), quiet=True)
    suite.test("model.norm").tolerance(1e-3).prefill(8).expect(latency_ms=80).decode(2).expect(latency_ms=6)
    prefill, decode = suite._registry.cases
    assert (prefill.name, decode.name) == ("model.norm (prefill)", "model.norm (decode)")
    assert [limit.bound for limit in prefill.limits] == [80] and [limit.bound for limit in decode.limits] == [6]
    assert prefill.tolerance == decode.tolerance
    assert [(s.axis, s.values) for s in decode.sweeps] == [("prefill", (8,)), ("tokens", (2,))]


def test_each_member_of_a_group_gets_both_phases():
    suite = TestSuite(HUGGING_FACE["llama"](), quiet=True)
    suite.test_all_modules().matching("*self_attn").prefill(8).decode()
    names = [case.name for case in suite._registry.cases]
    assert sorted(names) == [
        f"model.layers.{layer}.self_attn ({phase})" for layer in (0, 1) for phase in ("decode", "prefill")
    ]


@pytest.mark.parametrize(
    "mistake",
    ["decode first", "twice", "after decode", "decode twice", "beside seq_len", "beside a factory", "no tokens"],
)
def test_a_prefill_that_makes_no_sense_raises_at_its_line(mistake):
    case = TestSuite(HUGGING_FACE["llama"](), quiet=True).test("model.norm")
    lines = {
        "decode first": (lambda: case.decode(), "decode(...) needs a prefill before it"),
        "twice": (lambda: case.prefill(8).prefill(16), "prefill(...) was called already"),
        "after decode": (lambda: case.prefill(8).decode().prefill(9), "prefill(...) was called already"),
        "decode twice": (lambda: case.prefill(8).decode().decode(), "decode(...) needs a prefill before it"),
        "beside a factory": (lambda: case.prefill(8).input_factory(ids), "but its inputs are given"),
        "beside seq_len": (lambda: case.with_seq_lengths([8, 16]).prefill(8), ".prefill(...) sets the sequence length"),
        "no tokens": (lambda: case.prefill(0), "prefill must be at least 1, got 0"),
    }
    line, message = lines[mistake]
    with pytest.raises(SpecError) as error:
        line()
    assert message in str(error.value)


def ids(batch_size, seq_len):
    return torch.arange(batch_size * seq_len).view(batch_size, seq_len) % 20


def test_a_cache_in_a_tuple_of_a_model_without_a_config():
    model = TupleCacheModel()
    prefill, decode = cases_of(model, lambda c: c.tolerance(1e-3).prefill(6).decode(2), inputs=ids).values()
    assert prefill.status is decode.status is PASS, decode.errors
    assert decode.trials[0].inputs == "1x2 int64, past=(1x6x8 float32, 1x6x8 float32)"


def test_a_decode_that_ignores_its_cache_fails():
    model = TupleCacheModel("ignores its cache")
    prefill, decode = cases_of(model, lambda c: c.tolerance(1e-3).prefill(6).decode(), inputs=ids).values()
    assert prefill.status is PASS
    assert decode.status is FAIL
    assert verdict(decode, "decode with the cache").code is VerdictCode.DECODE_DIFFERS
    assert "the decode differs from one forward over the whole sequence" in decode.errors[0]


def test_a_model_that_returns_no_cache_is_an_error_that_says_so():
    cases = cases_of(TupleCacheModel("returns no cache"), lambda c: c.prefill(6).decode(), inputs=ids)
    for case in cases.values():
        assert case.status is ERROR
        assert case.errors == ["TupleCacheModel dropped its cache: after a prefill of 6 tokens it returned no past"]


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("bert", "BertModel dropped its cache: after a prefill of 8 tokens it returned no past_key_values"),
        ("t5", "prefill and decode test causal language models, and T5ForConditionalGeneration has an encoder"),
        ("vit", "prefill and decode need a model that takes its cache as an argument"),
    ],
)
def test_models_that_do_not_decode_are_an_error(family, reason):
    (case,) = cases_of(HUGGING_FACE[family](), lambda c: c.prefill(8)).values()
    assert case.status is ERROR and case.errors[0].startswith(reason)


def test_lengths_that_the_model_or_its_given_inputs_do_not_have_are_errors():
    case = cases_of(HUGGING_FACE["gpt2"](), lambda c: c.prefill(64).decode())["x (decode)"]
    assert case.errors[0].endswith("; its config allows seq_len=64, not 65")
    llama = HUGGING_FACE["llama"]()  # whose positions are rotary, so that nothing ends at the length in its config
    case = cases_of(llama, lambda c: c.tolerance(1e-3).prefill(128).decode())["x (decode)"]
    assert case.status is PASS, case.errors
    case = cases_of(llama, lambda c: c.prefill(8).decode(), inputs=ids(1, 8))["x (decode)"]
    assert case.errors[0].startswith("prefill and decode need inputs of 9 tokens, and TestSuite(inputs=...) has 1x8")


def test_a_static_cache_and_its_mask_come_from_the_inputs_of_the_suite():
    from transformers import StaticCache

    model = HUGGING_FACE["llama"]().eval()

    def with_static_cache(batch_size, seq_len):
        mask = torch.ones(batch_size, seq_len, dtype=torch.long)
        cache = StaticCache(config=model.config, max_cache_len=32)
        return {"input_ids": ids(batch_size, seq_len), "attention_mask": mask, "past_key_values": cache}

    change = lambda c: c.tolerance(1e-3).prefill(6).decode(2)  # noqa: E731
    case = cases_of(model, change, inputs=with_static_cache)["x (decode)"]
    assert case.status is PASS, case.errors
    assert "attention_mask=1x8 int64, past_key_values=StaticCache of 1x2x32x8 float32" in case.trials[0].inputs
    assert verdict(case, "decode with the cache").code is VerdictCode.DECODE_AGREES


def test_a_cache_that_inferred_inputs_switch_off_is_noted():
    model = HUGGING_FACE["llama"]()
    norm, attention = run(
        model,
        None,
        lambda s: [s.test(name).profile(1, 2) for name in ("model.norm", "model.layers.0.self_attn")],
        seq_len=8,
    )
    assert NoteCode.WITHOUT_CACHE in notes(attention)
    assert NoteCode.WITHOUT_CACHE not in notes(norm)


def test_a_module_that_the_model_does_not_run_has_no_prefill():
    (case,) = cases_of(HUGGING_FACE["llama"](), lambda c: c.prefill(8), nn.Linear(32, 32)).values()
    assert case.status is ERROR
    assert case.errors == ["a prefill or a decode is captured, never guessed, and it is not a part of the model"]


class Variant(TupleCacheModel):
    """What a correct model may return beside or before its logits, or keep apart from them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.drop = how, nn.Dropout(0.5)

    def forward(self, ids, past=None, labels=None):
        logits, cache = super().forward(ids, past)
        last = logits[:, -1:]
        return {
            "loss first": (logits.sum(), logits, cache),
            "cache first": (cache, logits),
            "last row": (last, cache),
            "list": [logits, cache],
            "attention weights between": (logits, torch.ones(1, 1), cache),
            "dropout": (self.drop(logits), cache),
        }[self.how]


@pytest.mark.parametrize(
    "how", ["loss first", "cache first", "last row", "list", "attention weights between", "dropout"]
)
def test_a_correct_decode_passes_however_its_model_returns_logits_and_cache(how):
    change = lambda c: (c.train() if how == "dropout" else c).tolerance(1e-3).prefill(6).decode()  # noqa: E731
    case = cases_of(Variant(how), change, inputs=ids)["x (decode)"]
    assert case.status is PASS, case.errors
    assert verdict(case, "decode with the cache").code is VerdictCode.DECODE_AGREES


class LastRowIgnoresCache(TupleCacheModel):
    def forward(self, ids, past=None):
        logits, cache = super().forward(ids)
        earlier = cache if past is None else tuple(torch.cat(pair, dim=1) for pair in zip(past, cache, strict=True))
        return logits[:, -1:], earlier


def test_a_cache_that_agrees_does_not_hide_logits_that_differ():
    case = cases_of(LastRowIgnoresCache(), lambda c: c.tolerance(1e-3).prefill(6).decode(), inputs=ids)["x (decode)"]
    assert verdict(case, "decode with the cache").code is VerdictCode.DECODE_DIFFERS


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_cache_in_a_narrow_dtype_is_no_difference(dtype):
    torch.manual_seed(0)
    model = HUGGING_FACE["llama"]().eval().to(dtype)
    for parameter in model.parameters():
        parameter.data *= 3
    case = cases_of(model, lambda c: c.tolerance(1e-3).prefill(32).decode())["x (decode)"]
    assert verdict(case, "decode with the cache").status is PASS, case.errors


def test_the_cache_of_a_compiled_model():
    model = torch.compile(HUGGING_FACE["llama"]().eval(), backend="eager")
    case = cases_of(model, lambda c: c.tolerance(1e-3).prefill(6).decode())["x (decode)"]
    assert case.status is PASS, case.errors


def test_every_call_sees_the_calls_of_the_prefill():
    class Chunks(TupleCacheModel):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(8)

        def forward(self, ids, past=None):
            rows = [self.norm(self.embed(part)) for part in ids.split(4, dim=1)]
            logits, cache = super().forward(ids, past)
            return logits + self.head(torch.cat(rows, dim=1)), cache

    model = Chunks()
    case = cases_of(model, lambda c: c.every_call().prefill(6), model.norm, inputs=ids)["x (prefill)"]
    assert [trial.inputs for trial in case.trials] == ["1x4x8 float32", "1x2x8 float32"]
