"""Guesses the inputs of a module that the model's own forward does not reveal, the most likely first.

A candidate proves itself only by a successful forward: an attribute such as ``hidden_dim`` is often internal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

WIDTHS = (
    "hidden_size",
    "hidden_dim",
    "d_model",
    "embed_dim",
    "in_features",
    "n_embd",
    "dim",
    "model_dim",
    "input_size",
    "embedding_dim",
    "width",
    "in_channels",
    "num_features",
)
"""Attributes that usually hold the width of a module's input, the most likely first."""

IMAGE_SIDE_NAMES = ("img_size", "image_size")
"""Attributes with the height and width of the images that a model was built for."""

IMAGE_SIDES = (224, 64, 32, 28)
SMALL_SIDE = 16
ID_NAMES = ("ids", "idx", "token")
ID_SUFFIXES = ("_ids", "_idx", "tokens", "indices")
MASK_DTYPES = (torch.bool, torch.int64)
MAX_IMAGE_CHANNELS = 4
ANY_WIDTH = 64

Shape = tuple[int, ...]


def of_module(module: nn.Module, size: Size) -> Iterator[Inputs]:
    """Candidate inputs of *module*, from its type, its integer attributes, its leaves and its parameters.

    Each has the batch size; at an explicit length each has that, too, if the kind of module has one.
    """
    synthesise = _Synthesiser(module)
    for shapes in _shapes_by_type(module, size):
        yield synthesise.tensors(shapes)
    id_shape = (size.batch_size, size.seq_len)
    vocabularies = dict.fromkeys(leaf.num_embeddings for leaf in _leaves(module) if isinstance(leaf, nn.Embedding))
    ids = [inputs for vocabulary in vocabularies for inputs in synthesise.arguments(id_shape, id_shape, vocabulary)]
    starts_with_ids = takes_ids(module)
    yield from ids if starts_with_ids else ()
    for shape in dict.fromkeys(_shapes_by_width(module, size)):
        yield from synthesise.arguments(shape, id_shape)
    yield from () if starts_with_ids else ids


def takes_ids(module: nn.Module) -> bool:
    """Whether the first leaf of *module* is an embedding, so that its input is most likely token ids."""
    return isinstance(next(iter(_leaves(module)), None), nn.Embedding)


def of_shape(module: nn.Module, shape: Shape) -> Inputs:
    """Inputs of *shape* in the module's dtype, or ids if the module, or its first leaf, is an embedding."""
    synthesise = _Synthesiser(module)
    first = next(iter(_leaves(module)), module)
    vocabulary = None
    if isinstance(first, (nn.Embedding, nn.EmbeddingBag)) and (first is module or len(shape) <= 2):
        vocabulary = first.num_embeddings
    return next(synthesise.arguments(shape, shape[:2], vocabulary))


def takes_images(module: nn.Module) -> bool:
    """Whether the first leaf of *module* is a convolution in two or three dimensions."""
    return isinstance(next(iter(_leaves(module)), module), (nn.Conv2d, nn.Conv3d))


def image_side(module: nn.Module) -> tuple[int, int] | None:
    """Height and width of the images that *module* or a part of it was built for, or None if it does not say."""
    for part in module.modules():
        for name in IMAGE_SIDE_NAMES:
            side = getattr(part, name, None)
            side = (side, side) if _is_width(side) else side
            if isinstance(side, (tuple, list)) and len(side) == 2 and all(_is_width(n) for n in side):
                return (side[0], side[1])
    return None


def image_channels(module: nn.Module) -> int | None:
    """The channels of the images that *module* takes, if its first leaf is a convolution in two dimensions."""
    first = next(iter(_leaves(module)), module)
    return first.in_channels if isinstance(first, nn.Conv2d) else None


def parameters_of(module: nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of the module's forward by name; empty for a forward without a signature."""
    try:
        return dict(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return {}


def annotation_of(parameter: inspect.Parameter) -> str:
    """The name of the parameter's type without its module, written as a type or as text; empty without one."""
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return ""
    return (annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")).rpartition(".")[2]


class _Synthesiser:
    """Makes random tensors for one module: floats in its dtype, or ids."""

    def __init__(self, module: nn.Module) -> None:
        self._dtype = dtype_of(module)
        self._required = _required_arguments(module)

    def tensors(self, shapes: list[Shape | tuple[Shape, int]]) -> Inputs:
        """One tensor per shape; a pair (shape, vocabulary) makes ids."""
        args = tuple(self._ids(*s) if isinstance(s[0], tuple) else self._floats(s) for s in shapes)
        return Inputs("synthesised", args=args)

    def arguments(self, shape: Shape, id_shape: Shape, vocabulary: int | None = None) -> Iterator[Inputs]:
        """One tensor per required argument of the forward: of *shape*, or for ids below *vocabulary* of *id_shape*.

        Arguments with the name or the type of ids are ids in either case. Those with the name of a mask are None, or
        else let everything pass: as a bool, then as an integer.
        """
        masked = any(_kind(p) == "mask" for p in self._required)
        masks = [None, *(torch.ones(id_shape, dtype=dtype) for dtype in MASK_DTYPES)] if masked else [None]
        for mask in masks:
            args = [self._argument(_kind(p), mask, shape, id_shape, vocabulary) for p in self._required]
            yield Inputs("synthesised", args=tuple(args or [self._argument("", None, shape, id_shape, vocabulary)]))

    def _argument(
        self, kind: str, mask: torch.Tensor | None, shape: Shape, id_shape: Shape, vocabulary: int | None
    ) -> torch.Tensor | None:
        if kind == "mask":
            return mask
        if kind == "ids" or (kind != "floats" and vocabulary is not None):
            return self._ids(id_shape, vocabulary or 2)
        return self._floats(shape)

    def _floats(self, shape: Shape) -> torch.Tensor:
        return torch.randn(shape).to(self._dtype)

    def _ids(self, shape: Shape, vocabulary: int) -> torch.Tensor:
        return torch.randint(0, vocabulary, shape)


def _required_arguments(module: nn.Module) -> list[inspect.Parameter]:
    """The positional arguments of the module's forward that have no default."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = parameters_of(module).values()
    return [p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]


def _kind(parameter: inspect.Parameter) -> str:
    """The values that an argument takes, by its type or else its name: ``mask``, ``ids``, ``floats`` or unknown."""
    name, annotation = parameter.name, annotation_of(parameter)
    if "mask" in name:
        return "mask"
    kind = {"LongTensor": "ids", "IntTensor": "ids", "FloatTensor": "floats", "BoolTensor": "mask"}.get(annotation, "")
    return kind or ("ids" if name in ID_NAMES or name.endswith(ID_SUFFIXES) else "")


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The submodules without children, in order of registration."""
    return (m for m in module.modules() if next(m.children(), None) is None and m is not module)


def _shapes_by_type(module: nn.Module, size: Size) -> Iterator[list[Any]]:
    """Input shapes of the modules of torch.nn, as documented."""
    for kinds, shapes in _TYPES:
        if isinstance(module, kinds):
            yield from shapes(module, size)
            return


def _sequence(size: Size, width: int, batch_first: bool) -> Shape:
    return (size.batch_size, size.seq_len, width) if batch_first else (size.seq_len, size.batch_size, width)


def _convolution(module: Any, size: Size) -> Iterator[list[Shape]]:
    dims = len(module.kernel_size)
    if dims == 1:
        yield [(size.batch_size, module.in_channels, size.seq_len)]
    for side in (IMAGE_SIDES if dims == 2 else (SMALL_SIDE,)) if dims > 1 else ():
        yield [(size.batch_size, module.in_channels, *(side,) * dims)]


def _norm(module: Any, size: Size) -> Iterator[list[Shape]]:
    yield [(size.batch_size, size.seq_len, *module.normalized_shape)]


def _channels(module: Any, size: Size) -> Iterator[list[Shape]]:
    channels = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
    if size.explicit and isinstance(module, nn.GroupNorm):  # it takes both, and an image has no length
        yield [(size.batch_size, channels, size.seq_len)]
    yield [(size.batch_size, channels, SMALL_SIDE, SMALL_SIDE)]
    yield [(size.batch_size, channels, size.seq_len)]
    yield [(size.batch_size, channels, SMALL_SIDE, SMALL_SIDE, SMALL_SIDE)]


def _recurrent(module: Any, size: Size) -> Iterator[list[Shape]]:
    yield [_sequence(size, module.input_size, module.batch_first)]


def _attention(module: Any, size: Size) -> Iterator[list[Shape]]:
    query = _sequence(size, module.embed_dim, module.batch_first)
    yield [query, (*query[:2], module.kdim), (*query[:2], module.vdim)]


def _transformer(module: Any, size: Size) -> Iterator[list[Shape]]:
    inner = next(m for m in module.modules() if isinstance(m, nn.MultiheadAttention))
    shape = _sequence(size, inner.embed_dim, inner.batch_first)
    decoding = isinstance(module, (nn.Transformer, nn.TransformerDecoder, nn.TransformerDecoderLayer))
    yield [shape, shape] if decoding else [shape]


_TYPES: tuple[tuple[tuple[type, ...], Callable[[Any, Size], Iterator[list[Any]]]], ...] = (
    (
        (nn.Embedding, nn.EmbeddingBag),
        lambda m, s: iter([[((s.batch_size, s.seq_len), m.num_embeddings)]]),
    ),
    ((nn.Bilinear,), lambda m, s: iter([[(s.batch_size, m.in1_features), (s.batch_size, m.in2_features)]])),
    ((nn.Linear,), lambda m, s: iter([[(s.batch_size, s.seq_len, m.in_features)]])),
    ((nn.modules.conv._ConvNd,), _convolution),
    ((nn.LayerNorm, nn.RMSNorm), _norm),
    ((nn.GroupNorm, nn.modules.batchnorm._NormBase), _channels),
    ((nn.RNNBase,), _recurrent),
    ((nn.RNNCellBase,), lambda m, s: iter([[(s.batch_size, m.input_size)]])),
    ((nn.MultiheadAttention,), _attention),
    (
        (
            nn.Transformer,
            nn.TransformerEncoder,
            nn.TransformerEncoderLayer,
            nn.TransformerDecoder,
            nn.TransformerDecoderLayer,
        ),
        _transformer,
    ),
)


def _shapes_by_width(module: nn.Module, size: Size) -> Iterator[Shape]:
    """Input shapes of a module of unknown type, from its attributes, its leaves and its parameters.

    At an explicit length they all have it, unless the module takes images.
    """
    any_length = not size.explicit or takes_images(module)
    side, channels = image_side(module), image_channels(module)
    if side is not None and channels is not None:
        yield (size.batch_size, channels, *side)
    likely: list[Any] = [getattr(module, name, None) for name in WIDTHS]
    widths: list[int] = [width for width in likely if _is_width(width)]
    if not type(module).__module__.startswith("torch.nn."):  # their other integers are kernel sizes and strides
        widths += [v for v in vars(module).values() if _is_width(v)]
    for leaf in _leaves(module):
        if isinstance(leaf, nn.modules.conv._ConvNd):
            widths.append(leaf.in_channels)
            if leaf.in_channels > MAX_IMAGE_CHANNELS:
                continue
        for shape in _shapes_of_leaf(leaf, size):
            widths.append(shape[-1])
            if any_length or shape not in _shapes_of_leaf(leaf, replace(size, seq_len=size.seq_len + 1)):
                yield shape
        if isinstance(leaf, nn.Linear) and any_length:
            yield (size.batch_size, leaf.in_features)
    widths += [n for p in module.parameters() for n in reversed(p.shape) if n > 1]
    for width in dict.fromkeys([*widths[:24], ANY_WIDTH]):
        yield (size.batch_size, size.seq_len, width)
        if any_length:
            yield (size.batch_size, width)
            yield (size.batch_size, width, SMALL_SIDE, SMALL_SIDE)


def _shapes_of_leaf(leaf: nn.Module, size: Size) -> list[Shape]:
    """The shapes that a leaf takes as its only input."""
    return [
        shapes[0] for shapes in _shapes_by_type(leaf, size) if len(shapes) == 1 and not isinstance(shapes[0][0], tuple)
    ]


def _is_width(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1
