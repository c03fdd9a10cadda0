"""Images and videos for Hugging Face models: whole, in tiles or in flat patches, and the tokens that stand for them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ttprof.plan import candidates
from ttprof.plan.transformers_model import IMAGE_CONFIGS, IMAGE_TOKENS, HuggingFace
from ttprof.plan.transformers_text import embeddings

IMAGE_SIDE_NAMES = ("image_size", "crop_size", "input_size")
FIXED_COUNTS = (
    "image_seq_length",
    "mm_tokens_per_image",
    "image_seq_len",
    "num_image_tokens",
    "num_query_tokens",
    "latent_query_num",
)
"""Attributes with the tokens that an image takes, whatever its size."""

COMPANIONS = (
    "image_grid_thw",
    "image_sizes",
    "spatial_shapes",
    "pixel_attention_mask",
    "aspect_ratio_ids",
    "aspect_ratio_mask",
    "cross_attention_mask",
)
"""Arguments that describe the images."""

SIZED = ("image_grid_pinpoints", "spatial_merge_size")
"""Attributes of models that cut their images into tiles, or merge their patches: they take the images' sizes, too."""

VIDEO_FRAMES = 2
GRID_SIDES = (8, 2, 1)
"""Sides of an image in merged patches, the largest first: it must leave room for text."""

MAX_PATCHES = 2048
"""The flat patches of an image, by default in the image processor of Pix2Struct."""

REGIONS = 36
"""The objects that the detector in front of LXMERT and VisualBERT finds in an image."""

FLOW_CHANNELS = 27
"""The 3 × 3 neighbours of a pixel in three colours: https://huggingface.co/docs/transformers/model_doc/perceiver."""


def images(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Images of shape (batch, channels, height, width), with frames, images or tiles before that; or flat patches."""
    if "image_grid_thw" in request.parameters:
        yield _patches(request)[0]
        return
    if takes_flat_patches(request):
        yield from _rows_of_patches(request)
        return
    batch, channels = request.batch, _channels(request)
    if (tiles := _tiles(request)) is not None:
        side = _sides(request)[0]
        yield request.floats(batch, *tiles, channels, *side)
        return
    several = request.number("num_frames", config=request.image_config) or request.number("num_images")
    if several is None and request.image_token is not None and request.number(*IMAGE_TOKENS[:2]) is None:
        several = VIDEO_FRAMES  # a token for videos alone
    for side in _sides(request):
        if several is not None and several > 0:
            yield request.floats(batch, several, channels, *side)
        yield request.floats(batch, channels, *side)
        yield request.floats(batch, 1, channels, *side)
    yield from _rows_of_patches(request)


def takes_flat_patches(request: HuggingFace) -> bool:
    """Whether images are flat patches of shape (batch, patches, width), with their grid beside them."""
    return "spatial_shapes" in request.parameters


def patch_grids(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The height and width of each image in patches."""
    yield torch.tensor([_grid(request, _patch_side(request) or 1)] * request.batch)


def patch_mask(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A mask that lets every patch pass."""
    yield torch.ones(request.batch, math.prod(_grid(request, _patch_side(request) or 1)), dtype=torch.int64)


def patches_or_embeddings(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Flat patches if their grid comes beside them, else embeddings of the asked length."""
    return iter([_patches(request)[0]]) if "grid_thw" in request.parameters else embeddings(request)


def image_grid(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The grids (time, height, width) of flat patches."""
    yield _patches(request)[1]


def image_sizes(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The height and width of each image before it was cut into tiles."""
    size = _pinpoint(request) or _sides(request)[0]
    yield torch.tensor([size] * request.batch)


def aspect_ratios(request: HuggingFace) -> Iterator[torch.Tensor]:
    """For the only image of each sample, the number of the aspect ratio with one tile; 0 stands for padding."""
    yield torch.ones(request.batch, 1, dtype=torch.int64)


def aspect_ratio_mask(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A mask that lets the first tile of each image pass, of shape (batch, images, tiles)."""
    mask = torch.zeros(request.batch, 1, _max_tiles(request), dtype=torch.int64)
    mask[..., 0] = 1
    yield mask


def cross_attention_mask(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A mask that shows the first tile of each image to every token, of shape (batch, length, images, tiles)."""
    for mask in aspect_ratio_mask(request):
        yield mask[:, None].repeat(1, request.length, 1, 1)


def videos(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Videos of shape (batch, frames, channels, height, width)."""
    frames = request.number("frames_per_clip", "num_frames", config=request.image_config) or VIDEO_FRAMES
    for side in _sides(request):
        yield request.floats(request.batch, frames, _channels(request), *side)


def flattened_patches(request: HuggingFace) -> Iterator[torch.Tensor]:
    """A square of flat patches, of shape (batch, patches, 2 + width): each begins with its row and column, from 1."""
    width = request.number("patch_embed_hidden_size", config=request.image_config)
    positions = request.number("seq_len", config=request.image_config)
    if width is None or positions is None:
        return
    side = max(1, min(math.isqrt(min(positions, MAX_PATCHES)), positions - 1))
    patches = request.floats(request.batch, side, side, 2 + width)
    patches[..., 0] = torch.arange(1, side + 1)[:, None]
    patches[..., 1] = torch.arange(1, side + 1)
    yield patches.flatten(1, 2)


def regions(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The features of the objects that a detector found in each image."""
    if (width := request.number("visual_feat_dim", "visual_embedding_dim")) is not None:
        yield request.floats(request.batch, REGIONS, width)


def region_boxes(request: HuggingFace) -> Iterator[torch.Tensor]:
    """The boxes of those objects: left, top, right and bottom between 0 and 1."""
    width = request.number("visual_pos_dim") or 4
    yield torch.rand(request.batch, REGIONS, width).sort(dim=2).values.to(request.floats().dtype)


def masked_patches(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Which patches are masked, of shape (batch, patches): the second half of those of each image or video."""
    if (patch := _patch_side(request)) is None:
        return
    tubes = (request.number("num_frames") or 1) // (request.number("tubelet_size") or 1)
    patches = tubes * math.prod(_grid(request, patch))
    yield (torch.arange(patches) >= patches // 2).repeat(request.batch, 1)


def points(request: HuggingFace) -> Iterator[torch.Tensor]:
    """One point (x, y) in the middle of each image."""
    height, width = _sides(request)[0]
    yield torch.tensor([width / 2, height / 2]).expand(request.batch, 1, 1, 2).clone()


def of_any_kind(request: HuggingFace) -> Iterator[torch.Tensor]:
    """Embeddings as wide as the model's inputs, or for optical flow two frames with the neighbours of each pixel."""
    if (width := request.number("d_model")) is not None:
        yield request.floats(request.batch, request.length, width)
    side = getattr(request.config, "train_size", None)
    if isinstance(side, (tuple, list)):
        yield request.floats(request.batch, 2, FLOW_CHANNELS, *side)


def image_token_counts(request: HuggingFace, pixels: torch.Tensor) -> Iterator[int]:
    """The tokens that one image may take: as the config says, or its patches, with one for the class, or merged."""
    if "image_grid_thw" in request.parameters:
        yield _patches(request)[2]
        return
    if "cross_attention_mask" in request.parameters:  # the text attends to the image, which takes no place in it
        yield 1
        return
    frames = pixels.shape[1] if pixels.ndim == 5 else 1
    resampler = getattr(request.config, "perceiver_config", None)
    latents = request.number("resampler_n_latents", config=resampler) if resampler is not None else None
    fixed = (*(request.number(name) for name in FIXED_COUNTS), latents)
    yield from (frames * count for count in fixed if count is not None)
    if (patch := _patch_side(request)) is None:
        return
    patches = pixels.shape[1] if pixels.ndim == 3 else (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
    if (pinpoint := _pinpoint(request)) is not None:  # the image as a whole, and the rows of its tiles
        yield patches + (pinpoint[0] // patch) * (pinpoint[1] // patch + 1)
    yield from (patches, patches + 1)
    yield from (patches // scale**2 for scale in (2, 3, 4) if patches // scale**2)


def _rows_of_patches(request: HuggingFace) -> Iterator[torch.Tensor]:
    if (patch := _patch_side(request)) is not None:
        yield request.floats(request.batch, math.prod(_grid(request, patch)), _channels(request) * patch**2)


def _grid(request: HuggingFace, patch: int) -> tuple[int, int]:
    """Height and width of an image in patches of this side; a model for any number of them says how many it expects."""
    if takes_flat_patches(request) and (patches := request.number("num_patches", config=request.image_config)):
        return (math.isqrt(patches), math.isqrt(patches))
    height, width = _sides(request)[0]
    return (height // patch, width // patch)


def _patch_side(request: HuggingFace) -> int | None:
    """The pixels on the side of a patch: those that the last of several stages sees."""
    strides = getattr(request.image_config, "patch_stride", None)
    if isinstance(strides, (tuple, list)):
        return math.prod(strides)
    patch = getattr(request.image_config, "patch_size", None)
    patch = patch[0] if isinstance(patch, (tuple, list)) and patch else patch
    return patch if isinstance(patch, int) and patch > 0 else None


def _channels(request: HuggingFace) -> int:
    return request.number("num_channels", "in_channels", "in_chans", config=request.image_config) or 3


def _sides(request: HuggingFace) -> list[tuple[int, int]]:
    """Height and width of the model's images, or the usual ones if any will do."""
    for part in (request.image_config, *(getattr(request.config, name, None) for name in IMAGE_CONFIGS)):
        side = next((s for name in IMAGE_SIDE_NAMES if (s := getattr(part, name, None)) is not None), None)
        if isinstance(side, (tuple, list)) and len(side) == 2:
            return [(int(side[0]), int(side[1]))]
        if isinstance(side, int):
            return [(side, side)]
    return [(side, side) for side in candidates.IMAGE_SIDES]


def _pinpoint(request: HuggingFace) -> tuple[int, int] | None:
    """Height and width of the smallest image that is cut into tiles, or None for a model without tiles."""
    pinpoints = getattr(request.config, "image_grid_pinpoints", None)
    if not isinstance(pinpoints, (tuple, list)) or not pinpoints:
        return None
    height, width = min(pinpoints, key=math.prod)
    return (int(height), int(width))


def _tiles(request: HuggingFace) -> tuple[int, ...] | None:
    """The dimensions before the channels of an image in tiles, or None for a model without tiles."""
    if "aspect_ratio_ids" in request.parameters:
        return (1, _max_tiles(request))
    if (pinpoint := _pinpoint(request)) is None:
        return None
    height, width = _sides(request)[0]
    return (1 + (pinpoint[0] // height) * (pinpoint[1] // width),)


def _max_tiles(request: HuggingFace) -> int:
    return request.number("max_num_tiles", config=request.image_config) or 1


def _patches(request: HuggingFace) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Flat patches of one image per sample, their grid (time, height, width), and the tokens that one image takes."""
    config = request.image_config
    merge = request.number("spatial_merge_size", config=config) or 1
    patch, frames = (request.number(name, config=config) or 1 for name in ("patch_size", "temporal_patch_size"))
    cells = next((k for k in GRID_SIDES if k * k + 3 < request.length), 1)
    side, batch = merge * cells, request.batch
    pixels = request.floats(batch * side * side, _channels(request) * frames * patch * patch)
    return pixels, torch.tensor([[1, side, side]] * batch), cells * cells
