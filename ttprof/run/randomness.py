"""Makes random ops return the same numbers in every dtype and on every device.

With dropout, a module and its reference then drop the same values. Each random op draws from the CPU's seeded generator
in float64 and rounds the result to its dtype. The seed alone is not enough: on a GPU, and for ``torch.rand_like`` on a
CPU too, torch draws different numbers for each dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ttprof.plan.compiled import TransparentMode

Tensor = torch.Tensor


def _draw(like: Tensor, fill: Callable[[Tensor], Any]) -> Tensor:
    """A tensor like *like* with the values that *fill* writes into a float64 tensor on the CPU."""
    values = torch.empty(like.shape, dtype=torch.complex128 if like.is_complex() else torch.float64)
    fill(values)
    return values.to(like.dtype).to(like.device)  # in this order: some devices have no float64


def _like(fill: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    """A random op that makes a tensor of the size of another one, in its dtype and on its device or in given ones."""

    def make(like: Tensor, *, dtype: torch.dtype | None = None, device: Any = None, **_: Any) -> Tensor:
        return _draw(torch.empty_like(like, dtype=dtype or like.dtype, device=device or like.device), fill)

    return make


def _factory(fill: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    """A random op that makes a tensor of a given size."""

    def make(size: Any, *, dtype: torch.dtype | None = None, device: Any = None, **_: Any) -> Tensor:
        like = torch.empty(size, dtype=dtype or torch.get_default_dtype(), device=device or "cpu")
        return _draw(like, fill)

    return make


def _dropout(values: Tensor, p: float, train: bool | None = True) -> tuple[Tensor, Tensor]:
    """Like aten::native_dropout: the output, and the mask of the values that are not dropped."""
    if train is False:
        return values.clone(), torch.ones_like(values, dtype=torch.bool)
    mask = _draw(values, lambda t: t.bernoulli_(1 - p))
    return values * mask * (0.0 if p == 1 else 1 / (1 - p)), mask.bool()


def _bernoulli(probabilities: Tensor, *_: Any, **__: Any) -> Tensor:
    p = probabilities.detach().cpu().double()
    return _draw(probabilities, lambda t: t.copy_(torch.rand(p.shape, dtype=torch.float64) < p))


def _normal(mean: Any, std: Any, *_: Any, **__: Any) -> Tensor:
    """Like aten::normal with a tensor for the mean, the standard deviation or both."""
    like = (
        mean + std
        if isinstance(mean, Tensor) and isinstance(std, Tensor)
        else mean
        if isinstance(mean, Tensor)
        else std
    )
    drawn: Tensor = _draw(like, lambda values: values.normal_()) * std + mean
    return drawn


def _normal_of_size(mean: float, std: float, size: Any, **options: Any) -> Tensor:
    options.pop("generator", None)
    return _factory(lambda values: values.normal_(mean, std))(size, **options)


def _bernoulli_in_place(tensor: Tensor, probabilities: Tensor, **_: Any) -> Tensor:
    return tensor.copy_(_bernoulli(probabilities.expand(tensor.shape)))


def _multinomial(weights: Tensor, count: int, replacement: bool = False, **_: Any) -> Tensor:
    drawn = torch.multinomial(weights.detach().cpu().double(), count, replacement)
    return drawn.to(weights.device)


_aten = torch.ops.aten
_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    _aten.native_dropout.default: _dropout,
    _aten.bernoulli.default: _bernoulli,
    _aten.bernoulli.p: lambda like, p, **_: _draw(like, lambda values: values.bernoulli_(p)),
    _aten.bernoulli_.Tensor: _bernoulli_in_place,
    _aten.bernoulli_.float: lambda t, p=0.5, **_: t.copy_(_draw(t, lambda values: values.bernoulli_(p))),
    _aten.uniform_.default: lambda t, low=0.0, high=1.0, **_: t.copy_(
        _draw(t, lambda values: values.uniform_(low, high))
    ),
    _aten.normal_.default: lambda t, mean=0.0, std=1.0, **_: t.copy_(
        _draw(t, lambda values: values.normal_(mean, std))
    ),
    _aten.rand.default: _factory(lambda values: values.uniform_()),
    _aten.randn.default: _factory(lambda values: values.normal_()),
    _aten.exponential_.default: lambda t, rate=1.0, **_: t.copy_(_draw(t, lambda values: values.exponential_(rate))),
    _aten.normal.Tensor_Tensor: _normal,
    _aten.normal.Tensor_float: lambda mean, std=1.0, **_: _normal(mean, std),
    _aten.normal.float_Tensor: _normal,
    _aten.normal.float_float: _normal_of_size,
    _aten.multinomial.default: _multinomial,
    _aten.log_normal_.default: lambda t, mean=1.0, std=2.0, **_: t.copy_(
        _draw(t, lambda values: values.log_normal_(mean, std))
    ),
    _aten.cauchy_.default: lambda t, median=0.0, sigma=1.0, **_: t.copy_(
        _draw(t, lambda values: values.cauchy_(median, sigma))
    ),
    _aten.geometric_.default: lambda t, p, **_: t.copy_(_draw(t, lambda values: values.geometric_(p))),
    _aten.rand_like.default: _like(lambda values: values.uniform_()),
    _aten.randn_like.default: _like(lambda values: values.normal_()),
}


for _name in ("rand", "randn", "rand_like", "randn_like"):
    if hasattr(getattr(_aten, _name), "generator"):
        _REPLACEMENTS[getattr(_aten, _name).generator] = _REPLACEMENTS[getattr(_aten, _name).default]


@functools.cache
def _position_of_dropout(func: Any) -> int | None:
    """The position of the argument by which a fused kernel drops values; None without one."""
    arguments = getattr(getattr(func, "_schema", None), "arguments", ())
    return next((position for position, a in enumerate(arguments) if a.name == "dropout_p"), None)


def _drops_nothing(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether this is a dropout that keeps every value."""
    if func is not _aten.native_dropout.default:
        return False
    probability, train = (*args, *kwargs.values())[1:3]
    return probability == 0 or train is False


def _drops_inside(func: Any, args: Any, kwargs: Any) -> bool:
    position = _position_of_dropout(func)
    if position is None:
        return False
    probability = args[position] if position < len(args) else kwargs.get("dropout_p", 0.0)
    return bool(probability)


@contextmanager
def _drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """Let the default generator continue the numbers of *generator*, if given, which then continues after them."""
    if generator is None:
        yield
        return
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


class SharedRandomNumbers(TransparentMode):
    """A mode in which random ops of any dtype and device draw from the CPU's default generator, in float64.

    Those with a generator of their own draw from that, unless it is on another device: then torch draws.

    Attributes:
        draws: Whether a random op has drawn from the default generator.
        unshared: Whether one has drawn by itself: an attention kernel with dropout, or a generator on another device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws = self.unshared = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, replacement = kwargs or {}, _REPLACEMENTS.get(func)
        generator = kwargs.get("generator")
        elsewhere = generator is not None and generator.device.type != "cpu"
        self.draws |= replacement is not None and generator is None and not _drops_nothing(func, args, kwargs)
        self.unshared |= elsewhere or _drops_inside(func, args, kwargs)
        if replacement is None or elsewhere:
            return func(*args, **kwargs)
        with _drawing_from(generator):
            return replacement(*args, **kwargs)
