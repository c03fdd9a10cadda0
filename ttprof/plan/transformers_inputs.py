"""Inputs of Hugging Face models, from their config and the names that their processors give to arguments.

Source: https://huggingface.co/docs/transformers/main_classes/model (``main_input_name``, ``dummy_inputs``) and the
``model_input_names`` of its tokenizers, image processors and feature extractors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from ttprof.codes import Note, NoteCode
from ttprof.errors import InputsError, ModuleRaised, user_code
from ttprof.plan import transformers_images as image
from ttprof.plan import transformers_signals as signal
from ttprof.plan import transformers_text as text
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.transformers_model import IMAGE_TOKENS, HuggingFace, text_config

LENGTH_LIMITS = ("max_position_embeddings", "n_positions", "max_target_positions", "max_text_positions", "block_size")
"""Attributes of a config with the longest sequence that it allows."""


def recognises(model: nn.Module) -> bool:
    """Whether *model* names its main input, and has a config, as those of Hugging Face do."""
    return hasattr(model, "config") and isinstance(getattr(model, "main_input_name", None), (str, list))


def length_limit(model: nn.Module) -> int | None:
    """The longest sequence that the model's config allows, or None if it sets no limit.

    Positions that are counted from the one after the padding's, as in RoBERTa, are fewer than the config says.
    """
    config = text_config(model)
    limits = [getattr(config, name, None) for name in LENGTH_LIMITS]
    for module in model.modules():
        table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
        if isinstance(table, nn.Embedding) and isinstance(padding, int):
            limits.append(table.num_embeddings - padding - 1)
    return min((n for n in limits if isinstance(n, int) and n > 0), default=None)


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """The main input with those that go beside it, the same with more arguments, and the model's own dummy inputs.

    An image or a sound that takes more tokens than the asked length has is left out, with a note.

    Raises:
        InputsError: The model has no forward, nothing says of which shape an argument is that it needs, or its images
            take more tokens than the asked length has.
    """
    request = HuggingFace(model, size)
    if getattr(type(model), "forward", None) is nn.Module.forward:
        raise InputsError(f"{type(model).__name__} has no forward; test its parts as models of their own")
    main = _main(request)
    beside = [name for name in _ARGUMENTS if name != main and _needs(request, name)]
    further = [name for name in _FURTHER if name in request.parameters and name not in (main, *beside)]
    missing = [name for name in dict.fromkeys((main, *request.required)) if not _values(request, name)]
    rounds = [beside, *([[*beside, *further]] if further else [])]
    for names in rounds if not missing else ():
        for value in _values(request, main):
            yield from _combined(request, {main: value}, names)
    tried = set() if missing else {main, *beside, *further}
    dummy = _dummy_inputs(request, {main, *beside, *request.required}, tried)
    yield from [_without_cache(request, dummy)] if dummy else []
    if missing and not dummy:
        raise InputsError(
            f"{type(model).__name__} takes {', '.join(missing)}, and nothing in its config says of which shape; "
            f"pass {'it' if len(missing) == 1 else 'them'} with TestSuite(inputs=...)"
        )


def _main(request: HuggingFace) -> str:
    """The main input, or if that may be of any kind the first argument whose kind is known."""
    if request.main in request.required:
        return request.main
    names = [name for name in (request.main, *request.parameters) if name in request.parameters]
    known = [name for name in names if name in _ARGUMENTS and name not in _FURTHER]
    return min(known, key=_OF_ANY_KIND.__eq__, default=request.main)


def _needs(request: HuggingFace, name: str) -> bool:
    """Whether the argument *name* goes beside the main one: the config says so, or it has no default."""
    if name not in request.parameters:
        return False
    return name in request.required or (name in _BESIDE and _BESIDE[name](request))


def _values(request: HuggingFace, name: str) -> list[Any]:
    """The values that the argument *name* may have, the most likely first; none if nothing says of which shape."""
    return list(_ARGUMENTS[name](request)) if name in _ARGUMENTS else []


def _combined(request: HuggingFace, main: dict[str, Any], names: list[str]) -> Iterator[Inputs]:
    """Inputs with the first value of each of *names*, and images of each shape that they may have."""
    beside = {name: values[0] for name in names if name != "pixel_values" and (values := _values(request, name))}
    pictures = _values(request, "pixel_values") if "pixel_values" in names else []
    counts: set[int] = set()
    for picture in [{"pixel_values": value} for value in pictures] or [{}]:
        kwargs = {**main, **picture, **beside}
        medium = next((medium for medium in _MEDIA if medium.marked(request) and medium.argument in kwargs), None)
        if medium is None or "input_ids" not in kwargs:
            yield _without_cache(request, kwargs)
            continue
        possible = list(dict.fromkeys(medium.counts(request, kwargs[medium.argument])))
        yield from (_with_placeholders(request, kwargs, medium, count) for count in possible if _fits(request, count))
        counts.update(possible)
    crowded = request.size.explicit and not all(_fits(request, count) for count in counts)
    if medium is not None and "input_ids" in kwargs and (crowded or not counts):
        yield from _without(request, kwargs, medium, counts)


def _fits(request: HuggingFace, count: int) -> bool:
    """Whether the asked length has room for as many placeholders, with text before and after them."""
    return count + 2 < request.length


def _with_placeholders(request: HuggingFace, kwargs: dict[str, Any], medium: _Medium, count: int) -> Inputs:
    """Inputs in whose ids the token that stands for a part of an image or a sound is repeated *count* times."""
    ids = kwargs["input_ids"].clone()
    places = torch.zeros_like(ids, dtype=torch.bool)
    places[:, 1 : count + 1] = True
    if (token := request.number(*medium.tokens)) is not None:
        ids[places] = token
    if (start := request.number("vision_start_token_id")) is not None:
        ids[:, 0] = start
    marks = {name: places.to(dtype) for name, dtype in _PLACES.items() if name in request.parameters}
    return _without_cache(request, {**kwargs, "input_ids": ids, **marks})


def _without(request: HuggingFace, kwargs: dict[str, Any], medium: _Medium, counts: set[int]) -> Iterator[Inputs]:
    """Inputs of text alone, with a note; an error if the model takes none and no others fit.

    Raises:
        InputsError: The forward has no default for the medium, which takes more tokens than the asked length has, or
            nothing says how many.
    """
    reason = f"for which seq_len={request.length} leaves no room"
    if not counts:
        reason = "since nothing in its config says how many tokens that takes"
    if medium.argument in request.required:
        if any(_fits(request, count) for count in counts):
            return
        remedy = "choose a larger seq_len" if counts else "pass its inputs with TestSuite(inputs=...)"
        raise InputsError(f"{type(request.model).__name__} can't be tested with {medium.name}, {reason}; {remedy}")
    rest = {name: value for name, value in kwargs.items() if name not in (medium.argument, *medium.companions)}
    note = Note(NoteCode.INPUTS_LEFT_OUT, f"tested without {medium.name}, {reason}")
    yield replace(_without_cache(request, rest), notes=(note,))


def _without_cache(request: HuggingFace, kwargs: dict[str, Any]) -> Inputs:
    """Inputs without a cache, which would grow from call to call."""
    cache = {"use_cache": False} if "use_cache" in request.parameters else {}
    return Inputs("synthesised", kwargs={**kwargs, **cache})


def _dummy_inputs(request: HuggingFace, needed: set[str], tried: set[str]) -> dict[str, Any]:
    """The model's ``dummy_inputs``, repeated up to the asked sizes.

    Empty if they lack one of the *needed* arguments, since those of text alone, which every model has, must not hide
    that it fails on images; or if all of them were *tried*.
    """
    try:
        with user_code("its dummy_inputs"):
            dummy = getattr(request.model, "dummy_inputs", None)
    except ModuleRaised:  # those of some models need a config with a padding token
        return {}
    if not isinstance(dummy, Mapping) or not needed <= dummy.keys() or dummy.keys() <= tried:
        return {}
    return {name: _repeated(value, request.size) for name, value in dummy.items() if name in request.parameters}


def _repeated(value: Any, size: Size) -> Any:
    """A tensor with the asked batch size, and if it has one entry per token with the asked length."""
    if not isinstance(value, torch.Tensor) or not value.ndim:
        return value
    sizes = [size.batch_size, size.seq_len] if value.ndim == 2 and not value.is_floating_point() else [size.batch_size]
    for dimension, wanted in enumerate(sizes):
        repeats = [1] * value.ndim
        repeats[dimension] = -(-wanted // value.shape[dimension])
        value = value.repeat(repeats).narrow(dimension, 0, wanted)
    return value


class _Medium(NamedTuple):
    """A medium beside the text: the argument for it, and those that go with that one alone.

    ``tokens`` are the attributes of the config with the token that stands for a part of it, and ``counts`` the numbers
    of these tokens that it may take.
    """

    name: str
    argument: str
    companions: tuple[str, ...]
    tokens: tuple[str, ...]
    counts: Callable[[HuggingFace, torch.Tensor], Iterator[int]]

    def marked(self, request: HuggingFace) -> bool:
        """Whether the text has a place for the medium."""
        return request.number(*self.tokens) is not None or not _PLACES.keys().isdisjoint(request.parameters)


_MEDIA = (
    _Medium(
        "an image",
        "pixel_values",
        image.COMPANIONS,
        IMAGE_TOKENS,
        image.image_token_counts,
    ),
    _Medium(
        "sound",
        "input_features",
        ("feature_attention_mask", "input_features_mask"),
        ("audio_token_id", "audio_token_index"),
        signal.audio_token_counts,
    ),
)

_PLACES = {"mm_token_type_ids": torch.int32, "image_embeds_position_mask": torch.int64}
"""Arguments that mark the tokens that stand for a part of an image, and their dtypes."""

_OF_ANY_KIND = "inputs"
"""An argument for text, images or anything else, which some models also take under the name of its kind."""

_ARGUMENTS: dict[str, Callable[[HuggingFace], Iterator[Any]]] = {
    "input_ids": text.ids,
    "decoder_input_ids": text.decoder_ids,
    "qformer_input_ids": text.query_ids,
    "codebook_idx": text.codebook,
    "task_inputs": text.task_ids,
    "inputs_embeds": text.embeddings,
    "query_embeds": text.embeddings,
    "encoder_hidden_states": text.encoder_states,
    "bbox": text.boxes,
    "attention_mask": text.mask,
    "inputs": image.of_any_kind,
    "hidden_states": image.patches_or_embeddings,
    "grid_thw": image.image_grid,
    "pixel_values": image.images,
    "pixel_values_videos": image.videos,
    "image_grid_thw": image.image_grid,
    "image_sizes": image.image_sizes,
    "aspect_ratio_ids": image.aspect_ratios,
    "aspect_ratio_mask": image.aspect_ratio_mask,
    "cross_attention_mask": image.cross_attention_mask,
    "flattened_patches": image.flattened_patches,
    "visual_feats": image.regions,
    "visual_embeds": image.regions,
    "visual_pos": image.region_boxes,
    "spatial_shapes": image.patch_grids,
    "pixel_attention_mask": image.patch_mask,
    "bool_masked_pos": image.masked_patches,
    "input_points": image.points,
    "input_features": signal.features,
    "feature_attention_mask": signal.features_mask,
    "input_features_mask": signal.features_mask,
    "input_values": signal.sound,
    "decoder_input_values": signal.spectrograms,
    "spectrogram": signal.spectrograms,
    "speaker_embeddings": signal.speakers,
    "is_longer": signal.longer,
    "past_values": signal.past_values,
    "past_observed_mask": signal.past_observed_mask,
    "past_time_features": signal.past_time_features,
    "future_values": signal.future_values,
    "future_time_features": signal.future_time_features,
    "static_categorical_features": signal.static_categories,
    "static_real_features": signal.static_features,
    "states": signal.states,
    "actions": signal.actions,
    "rewards": signal.rewards,
    "returns_to_go": signal.rewards,
    "timesteps": signal.timesteps,
}
"""The values that an argument may have, by its name, the most likely first."""


def _always(request: HuggingFace) -> bool:
    return True


def _describes_images(request: HuggingFace) -> bool:
    """Whether the config has a part for images, or for text with an image beside it."""
    parts = any(hasattr(request.config, name) for name in ("vision_config", "image_config"))
    sides = any(hasattr(request.config, name) for name in image.IMAGE_SIDE_NAMES)
    return parts or request.image_token is not None or (request.main == "input_ids" and sides)


def _describes_sound(request: HuggingFace) -> bool:
    """Whether the config has a part for sound, and none for images: both together would leave little room for text."""
    images = "pixel_values" in request.parameters and _describes_images(request)
    return hasattr(request.config, "audio_config") and not images


def _has_future(request: HuggingFace) -> bool:
    """Whether the model learns from the past of a series with features of each moment what comes after it."""
    return "past_time_features" in request.parameters


def _is_agent(request: HuggingFace) -> bool:
    return request.main == "states"


_BESIDE: dict[str, Callable[[HuggingFace], bool]] = {
    "decoder_input_ids": lambda request: request.encodes_and_decodes,
    "decoder_input_values": lambda request: request.encodes_and_decodes,
    "speaker_embeddings": _always,
    "input_ids": lambda request: not request.encodes_and_decodes or request.image_token is not None,
    "encoder_hidden_states": lambda request: hasattr(request.config, "cross_attention_frequency"),  # of a Q-Former
    "pixel_values": _describes_images,
    "image_grid_thw": _describes_images,
    "image_sizes": lambda request: any(hasattr(request.config, name) for name in image.SIZED),
    "spatial_shapes": image.takes_flat_patches,
    "pixel_attention_mask": image.takes_flat_patches,
    "aspect_ratio_ids": _always,
    "aspect_ratio_mask": _always,
    "cross_attention_mask": lambda request: "aspect_ratio_ids" in request.parameters,
    "visual_feats": _always,
    "visual_embeds": _always,
    "visual_pos": _always,
    "input_features": _describes_sound,
    "feature_attention_mask": _describes_sound,
    "input_features_mask": _describes_sound,
    "is_longer": _always,
    "bbox": _always,
    "input_points": _always,
    "task_inputs": _always,
    "future_values": _has_future,
    "future_time_features": _has_future,
    "static_categorical_features": _has_future,
    "static_real_features": _has_future,
    "actions": _is_agent,
    "rewards": _is_agent,
    "returns_to_go": _is_agent,
    "timesteps": _is_agent,
}
"""The arguments that go beside the main one, and when."""

_FURTHER = ("attention_mask", "decoder_input_ids", "input_features_mask")
"""Arguments that many models do without: they are added for those that raise without them."""
