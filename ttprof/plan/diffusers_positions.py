"""Where the tokens of images, videos, sound and text lie, as the diffusion transformers of diffusers take it."""

from __future__ import annotations

import math

import torch

from ttprof.plan.diffusers_model import POSITIONS, TOKEN_FRAMES, TOKEN_SIDE, VIDEO_GRID, Diffusion

ROTARY_AXES = 3
ROTARY_BASE = 10_000.0
"""The base of the wavelengths of rotary embeddings: https://arxiv.org/abs/2104.09864, section 3.2."""

ROTARY_FLAG = "use_rotary_positional_embeddings"

Rotary = tuple[torch.Tensor, torch.Tensor]


def of_image(request: Diffusion) -> torch.Tensor:
    """Positions of the tokens of an image, of shape (tokens, axes)."""
    return _grid(request, TOKEN_SIDE, TOKEN_SIDE)


def of_text(request: Diffusion) -> torch.Tensor:
    """Positions of the tokens of a text, of shape (tokens, axes): they all lie at the origin."""
    return torch.zeros_like(_grid(request, 1, request.text_length))


def image_shapes(request: Diffusion) -> list[list[tuple[int, int, int]]]:
    """For every sample the frames, height and width of its only image, in tokens."""
    return [[(1, TOKEN_SIDE, TOKEN_SIDE)]] * request.batch


def video_frames(request: Diffusion) -> int | None:
    """The frames of a video that comes as tokens."""
    return TOKEN_FRAMES if request.parameters.keys() >= VIDEO_GRID else None


def video_side(request: Diffusion) -> int | None:
    """The height, or the width, of a video that comes as tokens."""
    return TOKEN_SIDE if request.parameters.keys() >= VIDEO_GRID else None


def steps_are_shares(request: Diffusion) -> bool:
    """Whether time steps are shares of the training, as where tokens with positions are denoised: in Flux."""
    return not request.parameters.keys().isdisjoint(POSITIONS)


def video_axes(request: Diffusion) -> tuple[torch.Tensor, ...]:
    """The positions along the frames, the height and the width of a video in patches."""
    return tuple(torch.arange(count) for count in (request.latents[1], *request.grid()))


def text_axis(request: Diffusion) -> torch.Tensor:
    """The positions of the tokens of a text."""
    return torch.arange(request.text_length)


def rotary_of_latents(request: Diffusion) -> Rotary | torch.Tensor | None:
    """Cosines and sines for the patches of the latents, of shape (patches, width of a head), in float32.

    They are complex numbers of shape (height, width, half a head) where the forward requires them in one tensor. None
    if the model computes them itself, or uses none.
    """
    height, width = request.grid()
    if request.requires("image_rotary_emb"):
        heads = request.number("num_attention_heads") or 1
        cosines, sines = _rotary(height * width, (request.number("hidden_size") or heads) // heads)
        return torch.complex(cosines[:, ::2], sines[:, ::2]).view(height, width, -1)
    head = request.number("attention_head_dim")
    uses = request.config.get(ROTARY_FLAG, request.rotary and not hasattr(request.model, "rope"))
    if not uses or head is None:
        return None
    frames = request.latents[1] if len(request.latents) == 5 else 1
    return _rotary(math.ceil(frames / (request.number("patch_size_t") or 1)) * height * width, head)


def rotary_of_sound(request: Diffusion) -> Rotary | None:
    """Cosines and sines for the latents of sound and the state before them, which turn half of a head."""
    head = request.number("attention_head_dim")
    return None if head is None else _rotary(request.latents[-1] + 1, head // 2)


def _rotary(tokens: int, width: int) -> Rotary:
    angles = torch.arange(tokens)[:, None] * ROTARY_BASE ** (-torch.arange(0, width, 2) / width)
    pairs = angles.repeat_interleave(2, dim=1)
    return pairs.cos(), pairs.sin()


def _grid(request: Diffusion, rows: int, columns: int) -> torch.Tensor:
    """Positions of a grid of tokens, of shape (tokens, axes)."""
    rotary = request.config.get("axes_dims_rope")
    axes = len(rotary) if isinstance(rotary, (tuple, list)) else ROTARY_AXES
    grid = torch.zeros(rows, columns, axes)
    grid[..., -2] += torch.arange(rows)[:, None]
    grid[..., -1] += torch.arange(columns)
    return grid.flatten(0, 1)
