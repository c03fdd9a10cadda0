"""Inputs of the models of diffusers, from their config and the names of the arguments of their forward.

``seq_len`` is the length of the text that conditions the model. Source: https://huggingface.co/docs/diffusers/api/models
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan import candidates
from ttprof.plan import diffusers_positions as positions
from ttprof.plan.diffusers_model import TEXT_LENGTH, Diffusion
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

TEXT_WIDTHS = (
    "encoder_hid_dim",
    "caption_channels",
    "joint_attention_dim",
    "text_embed_dim",
    "text_dim",
    "in_text_dim",
    "context_in_dim",
    "cap_feat_dim",
    "cross_attention_input_dim",
    "cross_attention_dim",
    "embedding_dim",
)
"""Config entries with the width of the text's embeddings, those before a projection first."""

TRAIN_STEPS = 1000
TIME_IDS = 6
"""Original height and width, top and left of the crop, and target height and width."""
IMAGE_TOKENS = 257
"""The tokens in which CLIP's image encoder describes an image: 16 × 16 patches and the class."""
OFFSET = 2.0
"""The motion that CogVideoX 1.5 is given beside an image."""


def recognises(model: nn.Module) -> bool:
    """Whether *model* has a dict as config, and a forward that takes a sample, or hidden states at a time step."""
    names = candidates.parameters_of(model).keys()
    is_config = isinstance(getattr(model, "config", None), Mapping)
    return is_config and ("sample" in names or {"hidden_states", "timestep"} <= names)


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """One candidate per shape that the latents may have, with the other arguments that the config asks for.

    Then the same with time steps in the model's dtype and with every mask, and without rotary embeddings.

    Raises:
        InputsError: Nothing says of which shape an argument is that the forward has no default for.
    """
    request = Diffusion(model, size)
    required = [
        name for name, p in request.parameters.items() if request.requires(name) and p.kind is not p.VAR_KEYWORD
    ]
    if missing := [name for name in required if name != request.main and name not in _ARGUMENTS]:
        raise InputsError(
            f"{type(model).__name__} takes {', '.join(missing)}, and nothing in its config says of which shape; "
            f"pass {'it' if len(missing) == 1 else 'them'} with TestSuite(inputs=...)"
        )
    tried = set()
    for variant in (request, replace(request, full=True), replace(request, rotary=False)):
        for shape in request.latent_shapes():
            inputs = _inputs(replace(variant, latents=shape))
            if inputs.signature() not in tried:
                yield inputs
            tried.add(inputs.signature())


def _inputs(request: Diffusion) -> Inputs:
    kwargs: dict[str, Any] = {request.main: request.floats(*request.latents)}
    for name in request.parameters:
        value = _ARGUMENTS[name](request) if name in _ARGUMENTS else None
        if value is not None or (name in _ARGUMENTS and request.requires(name)):
            kwargs[name] = value
    return Inputs("synthesised", kwargs=kwargs)


def _text(request: Diffusion, name: str = "encoder_hidden_states") -> torch.Tensor | None:
    """Embeddings of a text; none if images take its place, or if the model's attention looks at nothing else.

    A model with a module for motion takes them once per frame.
    """
    width = request.number(*TEXT_WIDTHS)
    if request.config.get("encoder_hid_dim_type") == "image_proj":
        return None
    if width is None and not request.requires(name):
        return None
    frames = request.latents[2] if "motion_max_seq_length" in request.config and len(request.latents) == 5 else 1
    return request.floats(request.batch * frames, request.text_length, width or candidates.ANY_WIDTH)


def _mask(name: str) -> Callable[[Diffusion], torch.Tensor | None]:
    """A mask that lets the whole text pass, where the forward requires one, or all masks are given."""

    def make(request: Diffusion) -> torch.Tensor | None:
        if not request.requires(name) and not request.full:
            return None
        return torch.ones(request.batch, request.text_length, dtype=torch.int64)

    return make


def _second_text(request: Diffusion) -> torch.Tensor | None:
    """Embeddings of the text by a second encoder, as long as the config fixes it."""
    return request.sequence(request.number("text_len_t5") or request.text_length, "cross_attention_dim_t5")


def _second_mask(request: Diffusion) -> torch.Tensor | None:
    length = request.number("text_len_t5")
    return None if length is None else torch.ones(request.batch, length, dtype=torch.int64)


def _class_labels(request: Diffusion) -> torch.Tensor | None:
    """Labels of the classes of images, or the vectors that the config asks for in their place."""
    config, kind = request.config, request.config.get("class_embed_type")
    if kind in ("projection", "simple_projection"):
        return request.floats(request.batch, request.number("projection_class_embeddings_input_dim") or 1)
    if kind == "timestep":
        return request.integers(TRAIN_STEPS, request.batch)
    classes = request.number("num_class_embeds")
    if classes is None and config.get("norm_type") == "ada_norm_zero":
        classes = request.number("num_embeds_ada_norm")
    return None if classes is None else request.integers(classes, request.batch)


def _added_conditions(request: Diffusion) -> dict[str, torch.Tensor] | None:
    """What SDXL, Kandinsky and PixArt add to the embedding of the time step."""
    config, batch = request.config, request.batch
    kinds = f"{config.get('addition_embed_type')} {config.get('encoder_hid_dim_type')}"
    added: dict[str, torch.Tensor] = {}
    if "text_time" in kinds:
        times = TIME_IDS * (request.number("addition_time_embed_dim") or 0)
        width = (request.number("projection_class_embeddings_input_dim") or times) - times
        added = {"text_embeds": request.floats(batch, width), "time_ids": request.floats(batch, TIME_IDS)}
    if "image" in kinds:
        width = request.number("encoder_hid_dim", "cross_attention_dim") or candidates.ANY_WIDTH
        added["image_embeds"] = request.floats(batch, width)
    if request.number("caption_channels") is not None:
        added = {"resolution": request.floats(batch, 2), "aspect_ratio": request.floats(batch, 1)}
    return added or None


def _condition_image(request: Diffusion) -> torch.Tensor:
    """The image that steers a ControlNet, which its embedding shrinks to the size of the latents."""
    strides = request.config.get("conditioning_embedding_out_channels") or ()
    scale = 2 ** max(0, len(strides) - 1)
    height, width = request.side()
    channels = request.number("conditioning_channels") or 3
    return request.floats(request.batch, channels, height * scale, width * scale)


def _condition_video(request: Diffusion) -> torch.Tensor | None:
    """The latents of a video that steers another one, with more channels."""
    channels = request.number("vace_in_channels")
    return None if channels is None else request.floats(request.batch, channels, *request.latents[2:])


def _semantic_image(request: Diffusion) -> torch.Tensor | None:
    """The features of a small image from which Stable Cascade decodes a large one."""
    channels = request.number("effnet_in_channels")
    return None if channels is None else request.floats(request.batch, channels, *request.side())


def _meta_size(request: Diffusion) -> torch.Tensor | None:
    """Original and target height and width of the image, and the top and left of its crop."""
    if not request.config.get("use_style_cond_and_image_meta_size", True):
        return None
    height, width = request.side()
    return torch.tensor([height, width, height, width, 0, 0]).repeat(request.batch, 1).to(dtype_of(request.model))


def _style(request: Diffusion) -> torch.Tensor | None:
    """The first style for every image."""
    styled = request.config.get("use_style_cond_and_image_meta_size", True)
    return torch.zeros(request.batch, dtype=torch.int64) if styled else None


def _padding(request: Diffusion) -> torch.Tensor | None:
    """A mask of the pixels that are padding, which are none."""
    padded = request.config.get("concat_padding_mask")
    return torch.zeros(1, 1, *request.side()).to(dtype_of(request.model)) if padded else None


def _steps(request: Diffusion) -> torch.Tensor:
    """Time steps of the training, or their share of it where tokens with positions are denoised."""
    if positions.steps_are_shares(request):
        return torch.rand(request.batch).to(dtype_of(request.model))
    steps = request.integers(request.number("num_embeds_ada_norm") or TRAIN_STEPS, request.batch)
    return steps.to(dtype_of(request.model)) if request.full else steps


def _added_time_ids(request: Diffusion) -> torch.Tensor | None:
    total, width = request.number("projection_class_embeddings_input_dim"), request.number("addition_time_embed_dim")
    return request.floats(request.batch, total // width) if total and width else None


_ARGUMENTS: dict[str, Callable[[Diffusion], Any]] = {
    "timestep": _steps,
    "timesteps": _steps,
    "timestep_r": lambda r: _steps(r) if r.requires("timestep_r") else None,
    "timestep_ratio": lambda r: torch.rand(r.batch).to(dtype_of(r.model)),
    "encoder_hidden_states": _text,
    "encoder_attention_mask": _mask("encoder_attention_mask"),
    "encoder_hidden_states_mask": _mask("encoder_hidden_states_mask"),
    "encoder_mask": _mask("encoder_mask"),
    "text_embedding_mask": lambda r: torch.ones(r.batch, r.text_length, dtype=torch.int64),
    "encoder_hidden_states_t5": _second_text,
    "text_embedding_mask_t5": _second_mask,
    "encoder_hidden_states_image": lambda r: r.sequence(IMAGE_TOKENS, "image_dim"),
    "global_hidden_states": lambda r: r.sequence(1, "global_states_input_dim"),
    "clip_text_pooled": lambda r: r.sequence(1, "clip_text_pooled_in_channels"),
    "clip_text": lambda r: r.sequence(TEXT_LENGTH, "clip_text_in_channels"),
    "clip_img": lambda r: r.sequence(1, "clip_image_in_channels"),
    "effnet": _semantic_image,
    "class_labels": _class_labels,
    "added_cond_kwargs": _added_conditions,
    "pooled_projections": lambda r: r.vectors("pooled_projection_dim", "in_text_dim2"),
    "proj_embedding": lambda r: r.vectors("embedding_proj_dim", "embedding_dim"),
    "added_time_ids": _added_time_ids,
    "controlnet_cond": _condition_image,
    "control_hidden_states": _condition_video,
    "guidance": lambda r: torch.rand(r.batch) if r.config.get("guidance_embeds") else None,
    "ofs": lambda r: torch.full((1,), OFFSET) if r.number("ofs_embed_dim") is not None else None,
    "img_ids": positions.of_image,
    "txt_ids": positions.of_text,
    "img_shapes": positions.image_shapes,
    "num_frames": positions.video_frames,
    "height": positions.video_side,
    "width": positions.video_side,
    "visual_rope_pos": positions.video_axes,
    "text_rope_pos": positions.text_axis,
    "image_rotary_emb": positions.rotary_of_latents,
    "rotary_embedding": positions.rotary_of_sound,
    "image_meta_size": _meta_size,
    "style": _style,
    "padding_mask": _padding,
    "cross_attention_kwargs": lambda r: {} if r.full else None,
    "original_size": lambda r: torch.full((r.batch, 2), float(r.side()[0])),
    "target_size": lambda r: torch.full((r.batch, 2), float(r.side()[0])),
    "crop_coords": lambda r: torch.zeros(r.batch, 2),
}
"""How to make each argument beside the latents; None leaves it out."""
