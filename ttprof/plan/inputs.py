"""The inputs of one call: its arguments, where they came from, and how to clone, cast and describe them.

Tensors are never shared with the model: each use works on clones.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from ttprof.codes import Note
from ttprof.errors import InputsError, user_code
from ttprof.plan import tree
from ttprof.plan.aliases import Aliases, aliases_of, bound
from ttprof.plan.copies import Memory
from ttprof.plan.state import cast, for_float64
from ttprof.plan.surroundings import NO_CONTEXT, Context

InputSource = Literal["given", "captured", "synthesised"]


@dataclass(frozen=True)
class Size:
    """The sizes that inputs are made for.

    ``explicit``: the user chose the sequence length. ``named``: further sizes, which only the user's factory or shape
    can follow. ``cached``: the tokens that the model's cache holds already, or None for a call without a cache.
    """

    batch_size: int
    seq_len: int
    explicit: bool = True
    named: tuple[tuple[str, int], ...] = ()
    cached: int | None = None

    @property
    def by_name(self) -> dict[str, int]:
        """All sizes by name."""
        return {"batch_size": self.batch_size, "seq_len": self.seq_len, **dict(self.named)}


@dataclass(frozen=True, eq=False)
class Inputs:
    """Positional and keyword arguments of one call of a module, and the ``notes`` that the trial has to show.

    ``context`` is what the model changes around a captured call. ``aliases`` are the tensors that share memory with
    what the module holds: in copies that are bound to a module they are its tensors.
    """

    source: InputSource
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    context: Context = NO_CONTEXT
    aliases: Aliases = field(default_factory=dict)

    def map(
        self, change: Callable[[torch.Tensor], torch.Tensor], replacements: Mapping[int, Any] = MappingProxyType({})
    ) -> Inputs:
        """Copy the arguments with *change* applied to the elements of every tensor, however deeply nested.

        Tensors that are one object, or share memory, still do so in the copy, and keep their strides and
        ``requires_grad``; the objects that hold them are copied too. Objects whose ids are keys of *replacements*
        become the values there.

        Raises:
            InputsError: An argument holds an object that can't be copied.
        """
        args, kwargs = Memory.of((self.args, self.kwargs)).map(change, replacements)
        return replace(self, args=args, kwargs=kwargs)

    def cloned(self, module: Any = None) -> Inputs:
        """Copies that share no memory with these, bound to *module*.

        Raises:
            InputsError: An argument can't be copied.
        """
        return self.map(torch.clone, bound((self.args, self.kwargs), self.aliases, module))

    def given_to(self, module: nn.Module) -> Inputs:
        """These inputs with those that share memory with what *module* holds as ``aliases``."""
        return replace(self, aliases=aliases_of(module, (self.args, self.kwargs))[0])

    def floating(self, dtype: torch.dtype) -> Inputs:
        """Cast every floating-point tensor to *dtype*, and complex ones to its complex counterpart.

        An argument that is itself a dtype, and that of a tensor here, is cast with the tensors.
        """
        dtypes = {t.dtype for t in self.tensors() if t.is_floating_point()}
        return self.map(lambda t: cast(t, dtype), {id(narrow): dtype for narrow in dtypes})

    def scaled(self, factor: float) -> Inputs:
        """Multiply every floating-point tensor by *factor*."""
        return self.map(lambda t: t * factor if t.is_floating_point() else t.clone())

    def jittered(self, seed: int, relative: float = 0.1) -> Inputs:
        """Add Gaussian noise to every floating-point tensor: *relative* times its standard deviation."""
        generator = torch.Generator().manual_seed(seed)

        def add_noise(t: torch.Tensor) -> torch.Tensor:
            if not t.is_floating_point() or not t.numel() or t.layout is not torch.strided:
                return t.clone()
            noise = torch.randn(t.shape, dtype=torch.float64, generator=generator).to(t.dtype).to(t.device)
            deviation = for_float64(t).double().std(correction=0).to(t.dtype).to(t.device)
            return t + relative * deviation * noise

        return self.map(add_noise)

    def as_activations(self) -> Inputs:
        """Copies whose floating-point tensors require gradients, as those that layers pass to each other do."""
        inputs = self.cloned()
        for tensor in inputs.tensors():
            tensor.requires_grad_(tensor.is_floating_point())
        return inputs

    def variables(self, require: bool | None = None, module: Any = None) -> Variables:
        """Copies to differentiate by, bound to *module*.

        Tensors require gradients as they do here, or all or none if *require* is given; those of the module are no
        variables.

        Raises:
            InputsError: An argument can't be copied.
        """
        memory = Memory.of((self.args, self.kwargs))
        ties = bound((self.args, self.kwargs), self.aliases, module)
        contents = []
        for block in memory.blocks:
            wanted = block.requires_grad if require is None else require
            wanted = wanted and not all(id(tensor) in ties for tensor in block.tensors)
            content = block.content.clone()
            contents.append(content.requires_grad_(wanted and (content.is_floating_point() or content.is_complex())))
        return Variables(self, memory, tuple(contents), module)

    def tensors(self) -> list[torch.Tensor]:
        """The distinct tensors, in the order of the arguments."""
        return tree.tensors((self.args, self.kwargs))

    def leaves(self) -> list[tree.Leaf]:
        """All values in the arguments with their paths; positional arguments are ``[0]``, keywords ``.name``."""
        keywords = {name: tree.leaves(value) for name, value in self.kwargs.items()}
        named = [leaf._replace(path=f".{name}{leaf.path}") for name, values in keywords.items() for leaf in values]
        return [*tree.leaves(self.args), *named]

    def signature(self) -> str:
        """The shapes, strides and dtypes of all tensors and the values of all other arguments: equal for like calls."""
        return "; ".join(f"{leaf.path}={_signature(leaf.value)}" for leaf in self.leaves())

    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every distinct tensor, in the order of the arguments."""
        return [shape_of(t) for t in self.tensors()]

    def describe(self) -> str:
        """The tensors on one line, for example ``2x512x64 float32, attention_mask=2x512 int64``."""
        parts = [_describe(arg) for arg in self.args if tree.tensors(arg)]
        parts += [f"{name}={_describe(value)}" for name, value in self.kwargs.items() if tree.tensors(value)]
        return ", ".join(parts) or "no tensor"


@dataclass(frozen=True, eq=False)
class Variables:
    """Inputs to differentiate by: ``leaves`` has one tensor for each block of memory that the tensors share.

    One tensor that is passed three times is one variable, whose gradient is the sum over its uses.
    """

    inputs: Inputs
    memory: Memory
    leaves: tuple[torch.Tensor, ...]
    module: Any = None

    def names(self) -> list[str]:
        """For each leaf the path of the first argument that uses it: ``0``, ``0[1]``, or ``hidden_states``."""
        paths: dict[int, str] = {}
        for leaf in self.inputs.leaves():
            paths.setdefault(id(leaf.value), leaf.path)
        return [_argument_name(paths[id(block.tensors[0])]) for block in self.memory.blocks]

    @property
    def are_views(self) -> bool:
        """Whether tensors that require gradients are views of a leaf or of the module's, needed anew for each call."""
        if self.inputs.aliases:
            return True
        blocks = zip(self.memory.blocks, self.leaves, strict=True)
        return any(block.flat and leaf.requires_grad for block, leaf in blocks)

    def originals(self) -> Inputs:
        """Inputs that are the leaves, or views of them. Raises InputsError if an argument can't be copied."""
        return self._over(self.leaves)

    def copies(self) -> Inputs:
        """Inputs computed from the leaves, as activations are in a model: gradients flow back to the leaves.

        Raises:
            InputsError: An argument can't be copied.
        """
        return self._over([leaf.clone() for leaf in self.leaves])

    def _over(self, contents: Sequence[torch.Tensor]) -> Inputs:
        ties = bound((self.inputs.args, self.inputs.kwargs), self.inputs.aliases, self.module)
        args, kwargs = self.memory.over(contents, ties)
        return replace(self.inputs, args=args, kwargs=kwargs)


def shape_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The shape of a tensor; of a nested one its length and the shapes of its parts."""
    if tensor.is_nested and tensor.layout is torch.strided:
        return (tensor.size(0), *(tuple(part.shape) for part in tensor.unbind()))
    return tuple(tensor.shape)


def _argument_name(path: str) -> str:
    """The path of a leaf without the brackets around a position, or the dot before a keyword."""
    position, bracket, rest = path.partition("]")
    return position.removeprefix("[") + rest if bracket and position.startswith("[") else path.removeprefix(".")


def _signature(value: Any) -> str:
    if isinstance(value, torch.Tensor) and value.is_nested and value.layout is torch.strided:
        return f"{value.dtype}{[tuple(part.shape) for part in value.unbind()]}"
    if isinstance(value, torch.Tensor):
        strides = value.stride() if value.layout is torch.strided else ""
        return f"{value.dtype}{tuple(value.shape)}{strides}"
    return repr(value) if isinstance(value, tree.PRIMITIVES) else type(value).__name__


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        shape = "x".join(map(str, shape_of(value))) or "scalar"
        return f"{shape} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _describe_fields(value, {name: getattr(value, name) for name in value._fields})
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(_describe(v) for v in value) + ")"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_describe(v)}" for k, v in value.items()) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _describe_fields(value, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if tensors := tree.tensors(value):
        more = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
        return f"{type(value).__name__} of {_describe(tensors[0])}{more}"
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else type(value).__name__


def _describe_fields(value: Any, fields: Mapping[str, Any]) -> str:
    """The fields of a named tuple or dataclass that hold tensors."""
    shown = ", ".join(f"{name}={_describe(item)}" for name, item in fields.items() if tree.tensors(item))
    return f"{type(value).__name__}({shown})"


def as_inputs(value: Any) -> Inputs:
    """Interpret a user's inputs: a tensor, a tuple of arguments, a dict of keywords, or a pair (args, kwargs)."""
    if isinstance(value, Inputs):
        return value
    if isinstance(value, Mapping):
        return Inputs("given", kwargs=dict(value))
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple) and isinstance(value[1], dict):
        return Inputs("given", args=value[0], kwargs=dict(value[1]))
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return Inputs("given", args=tuple(value))
    return Inputs("given", args=(value,))


def is_factory(value: Any) -> bool:
    """Whether *value* makes inputs: it can be called, and is not an input that holds tensors, such as a graph batch."""
    return callable(value) and not tree.tensors(value)


def from_factory(factory: Callable[..., Any], size: Size) -> Inputs:
    """Call *factory* with the sizes that it has parameters for: ``batch_size``, ``seq_len`` and those of sweeps.

    Raises:
        ModuleRaised: the factory raised.
        InputsError: the factory returned None.
    """
    with user_code(f"the input factory {getattr(factory, '__name__', factory)!r}"):
        parameters = inspect.signature(factory).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        value = factory(**{name: number for name, number in size.by_name.items() if takes_any or name in parameters})
    if value is None:
        raise InputsError(f"the input factory {getattr(factory, '__name__', factory)!r} returned None")
    return as_inputs(value)


def follows_sizes(factory: Callable[..., Any], axis: str) -> bool:
    """Whether *factory* has a parameter for the size called *axis*."""
    parameters = inspect.signature(factory).parameters
    return axis in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
