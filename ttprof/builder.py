"""The builders that ``suite.test`` returns: each method replaces the frozen spec and returns the builder."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch

from ttprof import arguments
from ttprof.errors import SpecError, nearest
from ttprof.expectations import Expectations
from ttprof.registry import CaseRegistry
from ttprof.spec import PREFILL, TOKENS, CaseSpec, GivenInputs, Schedule, Sweep, integer

Self = TypeVar("Self", bound="_Builder")


class _Builder(Expectations):
    """The methods that ``CaseBuilder`` and ``GroupBuilder`` share."""

    def __init__(self, registry: CaseRegistry, keys: Sequence[int]) -> None:
        super().__init__(registry, keys)
        self._before_prefill: dict[int, CaseSpec] = {}

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Do nothing: ``suite.test`` has already registered the case."""

    def input_shape(self: Self, shape: Sequence[int | str]) -> Self:
        """Test with one random input of a shape, in the module's dtype (token ids for an embedding).

        Args:
            shape: sizes, or names of swept axes. A swept axis that the shape does not name replaces dimension 0
                (batch_size) or 1 (seq_len).

        Raises:
            SpecError: *shape* is not a tuple of positive integers and names.

        ```python
        suite.test(model.norm).input_shape((2, 16, "width", 32)).with_sweep(width=[1, 2, 4])
        ```
        """
        return self._set(given=GivenInputs(shape=arguments.dimensions(shape)))

    def inputs(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Test with these arguments of the module's ``forward``; they are cloned before each use.

        Raises:
            SpecError: there are no arguments, or the test has a sweep, which fixed inputs can't follow.

        ```python
        suite.test(model.attention).inputs(torch.randn(2, 128, 32))
        ```
        """
        if not args and not kwargs:
            raise SpecError("inputs() needs the arguments of the module's forward, for example inputs(x, mask=mask)")
        return self._set(given=GivenInputs(args=args, kwargs=kwargs))

    def input_factory(self: Self, fn: Callable[..., Any]) -> Self:
        """Test with the inputs that a function returns.

        Args:
            fn: called with those sizes that its parameters name: ``batch_size``, ``seq_len`` and swept axes. It
                returns a tensor, a tuple of arguments, a dict of keyword arguments, or a pair (tuple, dict).

        Raises:
            SpecError: *fn* is not callable.

        ```python
        suite.test(model.attention).input_factory(lambda batch_size, seq_len: torch.randn(batch_size, seq_len, 32))
        ```
        """
        if not callable(fn):
            raise SpecError(f"input_factory needs a function of batch_size and seq_len, got {fn!r}")
        return self._set(given=GivenInputs(factory=fn))

    def with_seq_lengths(self: Self, lengths: Iterable[int]) -> Self:
        """Run one trial at each of these sequence lengths.

        ```python
        suite.test(model.ffn).with_seq_lengths([512, 1024, 2048])
        ```
        """
        return self.with_sweep(seq_len=lengths)

    def with_batch_sizes(self: Self, sizes: Iterable[int]) -> Self:
        """Run one trial at each of these batch sizes; with a second sweep, at each combination.

        ```python
        suite.test(model.ffn).with_batch_sizes([1, 8])
        ```
        """
        return self.with_sweep(batch_size=sizes)

    def with_sweep(self: Self, **sizes: Iterable[int]) -> Self:
        """Run one trial at each size of axes that ``input_factory`` or ``input_shape`` names.

        Args:
            sizes: a list of distinct positive integers for each axis.

        Raises:
            SpecError: a list is missing, empty, or contains anything else.

        ```python
        suite.test(model.ffn).input_shape((1, "tokens", 32)).with_sweep(tokens=[32, 64, 128])
        ```
        """
        if not sizes:
            raise SpecError("with_sweep() needs an axis and its sizes, for example with_sweep(side=[32, 64, 128])")
        for axis, values in sizes.items():
            self._sweep(arguments.sweep(axis, values))
        return self

    def _sweep(self, sweep: Sweep) -> None:
        """Add a sweep, in place of an earlier one over the same axis."""
        self._edit(lambda spec: replace(spec, sweeps=(*(s for s in spec.sweeps if s.axis != sweep.axis), sweep)))

    def prefill(self: Self, tokens: int | Iterable[int]) -> Self:
        """Test at the prefill of a language model: a forward over a prompt that fills the model's empty cache.

        A submodule gets the inputs that it gets in that forward, with the cache as it is then. The name of the test
        gets the suffix ``(prefill)``. Methods before ``prefill`` apply to the decode too, those after it only to the
        prefill.

        Args:
            tokens: length of the prompt, or several lengths, for one trial each.

        Raises:
            SpecError: *tokens* is not positive, or the test has a prefill or a sweep over seq_len already.

        ```python
        suite.test(llm).prefill(512).expect(latency_ms=80).decode(tokens=1).expect(latency_ms=6)
        ```
        """
        if self._before_prefill:
            raise SpecError("prefill(...) was called already; for several lengths pass a list: prefill([512, 1024])")
        before = dict(zip(self._keys, self.specs, strict=True))
        self._sweep(arguments.one_or_more(PREFILL, tokens))
        self._before_prefill = before
        for key, spec in before.items():
            self._registry.rename(key, f"{spec.name} (prefill)")
        return self

    def decode(self: Self, tokens: int | Iterable[int] = 1) -> Self:
        """Test also at the decode that follows the prefill: a forward over further tokens with the filled cache.

        This registers a second test, with the suffix ``(decode)``, to which the methods after ``decode`` apply. The
        cache that the prefill filled is copied before each iteration.

        Args:
            tokens: number of tokens decoded in one forward, or several numbers, for one trial each.

        Raises:
            SpecError: *tokens* is not positive, or no ``prefill`` came before.

        ```python
        attention = suite.test(llm.model.layers[0].self_attn).prefill([128, 256, 512]).decode()
        attention.expect_scaling("linear", metric="flops")
        ```
        """
        if any(key not in self._before_prefill for key in self._keys):
            raise SpecError("decode(...) needs a prefill before it, for example prefill(512).decode(tokens=1)")
        added = arguments.one_or_more(TOKENS, tokens)
        prefills = [next(s for s in spec.sweeps if s.axis == PREFILL) for spec in self.specs]
        before = [self._before_prefill[key] for key in self._keys]
        variants = [replace(b, sweeps=(*b.sweeps, prefill, added)) for b, prefill in zip(before, prefills, strict=True)]
        self._keys = [self._registry.register_variant(spec, f"{spec.name} (decode)") for spec in variants]
        return self

    def profile(self: Self, warmup: int = 10, iterations: int = 100, *, trace_iterations: int | None = None) -> Self:
        """Fix the number of calls: time exactly *iterations*, and record as many with the profiler.

        Args:
            warmup: minimum number of warm-up calls before timing, and ``warmup`` of the profiler's schedule.
            iterations: number of timed calls, and ``active`` of ``schedule(wait=0, warmup=…, active=…, repeat=1)``.
            trace_iterations: record only this many, for smaller traces.

        Raises:
            SpecError: a number is negative or zero, or *trace_iterations* exceeds *iterations*.

        ```python
        suite.test(model.norm).profile(warmup=10, iterations=100, trace_iterations=5)
        ```
        """
        recorded = iterations if trace_iterations is None else trace_iterations
        return self._set(schedule=Schedule(warmup, iterations, recorded, exact=True))

    def backward(self: Self, *, inputs: bool | None = None) -> Self:
        """Run a forward and the backward of the sum of its outputs in each iteration.

        Args:
            inputs: whether the floating-point inputs require gradients. By default they do where they do in the
                model: activations do, the data that the model itself gets does not.

        Raises:
            SpecError: *inputs* is not a bool.

        ```python
        suite.test(model.ffn).backward().tolerance(1e-3)
        ```
        """
        if inputs not in (None, True, False):
            raise SpecError(f"backward(inputs=...) must be True or False, got {inputs!r}")
        return self._set(backward=True, gradients_of_inputs=inputs)

    def train(self: Self) -> Self:
        """Test in train mode, with dropout and batch statistics; the mode is restored afterwards.

        When outputs or gradients are compared, both sides draw the same random numbers, in any dtype.

        ```python
        suite.test(model.ffn).train().backward()
        ```
        """
        return self._set(train=True)

    def autocast(self: Self, dt: torch.dtype) -> Self:
        """Run each iteration under ``torch.autocast``; the default reference is the module in float64.

        Args:
            dt: ``torch.bfloat16`` or ``torch.float16``.

        Raises:
            SpecError: *dt* is anything else.

        ```python
        suite.test(model.ffn).autocast(torch.bfloat16).tolerance(1e-2)
        ```
        """
        if dt not in (torch.bfloat16, torch.float16):
            raise SpecError(f"autocast needs torch.bfloat16 or torch.float16, got {dt!r}")
        return self._set(autocast=dt)

    def dtype(self: Self, dt: torch.dtype) -> Self:
        """Test a copy of the module in another dtype; the default reference is the original module in float64.

        Args:
            dt: a floating-point dtype.

        Raises:
            SpecError: *dt* is anything else.

        ```python
        suite.test(model.ffn).dtype(torch.bfloat16).tolerance(2e-2)
        ```
        """
        return self._set(dtype=arguments.floating_dtype(dt))

    def call(self: Self, k: int) -> Self:
        """Choose which call's inputs to capture when the model's forward calls the module several times.

        Args:
            k: index of the call, from 0 (the default).

        Raises:
            SpecError: *k* is negative, or the test has inputs of its own, so that none are captured.

        ```python
        suite.test(model.norm).call(1)
        ```
        """
        return self._set(call=integer("call", k, 0))

    def every_call(self: Self) -> Self:
        """Test the module at each kind of call that the model's forward makes of it: one trial per distinct signature.

        Calls are alike if their tensors have the same shapes, strides and dtypes, and their other arguments are equal.
        The first of them is tested, at the point ``call=k``.

        Raises:
            SpecError: the test has inputs of its own, so that none are captured.

        ```python
        suite.test(model.norm).every_call().tolerance(1e-3)
        ```
        """
        return self._set(every_call=True)

    def cache(self: Self, state: Literal["warm", "cold"]) -> Self:
        """Choose whether iterations find the last-level cache (L2 on a GPU) warm, as by default, or cold.

        Args:
            state: ``"cold"`` overwrites the cache before each timed iteration.

        Raises:
            SpecError: *state* is neither ``"warm"`` nor ``"cold"``.

        ```python
        suite.test(model.norm).cache("cold")
        ```
        """
        if state not in ("warm", "cold"):
            raise SpecError(f"cache must be 'warm' or 'cold', got {state!r}")
        return self._set(cache=state)

    def if_exists(self: Self) -> Self:
        """SKIP the test if the model has no such module, instead of raising. Must directly follow ``suite.test``.

        ```python
        suite.test("moe").if_exists().tolerance(1e-3)
        ```
        """
        for key in self._keys:
            self._registry.accept_missing(key)
        return self

    def on(self: Self, *types: str) -> Self:
        """Run the test only on these types of device; on any other it is SKIP, with the reason.

        For single limits there is ``expect(on="cuda", ...)``.

        Args:
            types: as torch names them: ``"cpu"``, ``"cuda"`` (ROCm too), ``"mps"``, ``"xpu"``, ...

        Raises:
            UnknownNameError: there is no such type of device.
            SpecError: there are no types, or one has an index.

        ```python
        suite.test(model.attention).on("cuda").expect(kernel_time_ms=1.0).no_sync()
        ```
        """
        if not types:
            raise SpecError("on() needs a type of device, for example on('cuda')")
        return self._set(on=arguments.device_types(types))

    def skip(self: Self, reason: str) -> Self:
        """Do not run the test; report it as SKIP.

        Args:
            reason: shown in every report.

        Raises:
            SpecError: *reason* is empty.

        ```python
        suite.test(model.attention).skip("needs flash-attn")
        ```
        """
        if not isinstance(reason, str) or not reason.strip():
            raise SpecError("skip needs a reason, for example skip('needs flash-attn')")
        return self._set(skip_reason=reason)


class CaseBuilder(_Builder):
    """Configures the test of one module.

    ```python
    suite.test(model.attention).tolerance(1e-3).expect(latency_ms=5.0, memory_mb=512)
    ```
    """


class GroupBuilder(_Builder):
    """Configures the tests of several modules; every method applies to each of them. Its length is their number.

    ```python
    suite.test_all_modules().tolerance(1e-3).no_leak()
    ```
    """

    def matching(self, glob: str, exclude: str | None = None) -> GroupBuilder:
        """Keep only the modules whose dotted name matches a glob; the others are not tested.

        Args:
            glob: pattern for dotted names; ``*`` matches dots too.
            exclude: pattern for names to leave out.

        Raises:
            SpecError: no module is left; the message lists the closest names.

        ```python
        suite.test_all_modules().matching("*attention*", exclude="*key_proj").tolerance(1e-3)
        ```
        """
        for pattern in (glob, exclude):
            if pattern is not None and not isinstance(pattern, str):
                raise SpecError(f"matching needs a glob such as '*attention*', got {pattern!r}")
        names = {key: self._registry.spec(key).path or "" for key in self._keys}
        keys = [key for key, name in names.items() if fnmatch.fnmatchcase(name, glob)]
        keys = [key for key in keys if exclude is None or not fnmatch.fnmatchcase(names[key], exclude)]
        if not keys:
            without = f" without {exclude!r}" if exclude is not None else ""
            raise SpecError(f"{glob!r}{without} matches no module; {nearest(glob.strip('*'), names.values())}")
        for key in set(self._keys) - set(keys):
            self._registry.remove(key)
        self._keys = keys
        return self

    def __len__(self) -> int:
        return len(self._keys)
