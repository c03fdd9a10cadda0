"""Images for Hugging Face models: regions, flat patches, tiles, and the places that a text has for them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from library_models import HuggingFace, inferred, shapes

from ttprof.codes import NoteCode
from ttprof.errors import InputsError
from ttprof.plan.inputs import Size

DEFAULT = Size(1, 2048, explicit=False)
TOKEN = 7


class Lxmert(HuggingFace):
    def forward(self, input_ids=None, visual_feats=None, visual_pos=None, attention_mask=None):
        assert attention_mask is None
        return self.words(input_ids).sum() + visual_feats.sum() + visual_pos.sum()


def test_regions_of_an_image_have_features_and_boxes_between_0_and_1():
    inputs = inferred(Lxmert(visual_feat_dim=6, visual_pos_dim=4))
    assert shapes(inputs) == {"input_ids": (2, 8), "visual_feats": (2, 36, 6), "visual_pos": (2, 36, 4)}
    left, top, right, bottom = inputs.kwargs["visual_pos"].unbind(-1)
    assert ((left >= 0) & (left <= right)).all() and ((top <= bottom) & (bottom <= 1)).all()


class FlatPatches(HuggingFace):
    main_input_name = "flattened_patches"

    def forward(self, flattened_patches=None, decoder_input_ids=None):
        return flattened_patches.sum() + self.words(decoder_input_ids)


def test_flat_patches_begin_with_their_row_and_column_within_the_positions_of_the_config():
    vision = SimpleNamespace(patch_embed_hidden_size=3, seq_len=11)
    inputs = inferred(FlatPatches(vision_config=vision, is_encoder_decoder=True))
    assert shapes(inputs) == {"flattened_patches": (2, 9, 5), "decoder_input_ids": (2, 8)}
    rows, columns = inputs.kwargs["flattened_patches"][0, :, :2].T.tolist()
    assert rows == [1, 1, 1, 2, 2, 2, 3, 3, 3] and columns == [1, 2, 3] * 3


class Queries(HuggingFace):
    """BLIP-2: an image is required, and becomes a fixed number of tokens."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values, input_ids, image_embeds_position_mask=None):
        assert (input_ids == TOKEN).sum(1).eq(3).all(), "tokens and queries differ"
        return self.words(input_ids) + pixel_values.sum()


def blip(**config):
    vision = SimpleNamespace(image_size=4, patch_size=2, num_channels=3)
    return Queries(vision_config=vision, image_token_id=TOKEN, num_query_tokens=3, **config)


def test_ids_beside_an_image_hold_the_tokens_that_the_config_fixes_and_a_mask_marks_them():
    inputs = inferred(blip())
    assert inputs.kwargs["input_ids"].eq(TOKEN).tolist() == [[False] + [True] * 3 + [False] * 4] * 2
    assert torch.equal(inputs.kwargs["image_embeds_position_mask"], inputs.kwargs["input_ids"].eq(TOKEN).long())


def test_an_image_that_is_required_but_leaves_no_room_is_an_error_that_says_so():
    with pytest.raises(
        InputsError, match=r"Queries can't be tested with an image, for which seq_len=3 leaves no room; "
    ):
        inferred(blip(), Size(2, 3))


class Marked(HuggingFace):
    """Kosmos-2: no token stands for an image, but a mask says where it goes."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values=None, input_ids=None, image_embeds_position_mask=None):
        x = self.words(input_ids)
        return x if pixel_values is None else x[image_embeds_position_mask.bool()].view(2, 2, 4)


def test_the_place_of_an_image_may_be_given_by_a_mask_alone():
    model = Marked(vision_config=SimpleNamespace(image_size=4), latent_query_num=2)
    mask = inferred(model).kwargs["image_embeds_position_mask"]
    assert mask.tolist() == [[0, 1, 1, 0, 0, 0, 0, 0]] * 2 and mask.dtype is torch.int64
    without = inferred(model, Size(2, 4))
    assert shapes(without) == {"input_ids": (2, 4)}
    assert [note.code for note in without.notes] == [NoteCode.INPUTS_LEFT_OUT]


class Tiled(HuggingFace):
    def forward(self, input_ids=None, pixel_values=None, image_sizes=None):
        tokens = 0 if pixel_values is None else 1 + 2 * 2  # the whole image, and two rows of a patch and their end
        assert (input_ids == TOKEN).sum(1).eq(tokens).all()
        return self.words(input_ids)


def test_an_image_in_tiles_is_the_smallest_of_the_config_and_comes_with_its_size():
    vision = SimpleNamespace(image_size=4, patch_size=4)
    model = Tiled(vision_config=vision, image_token_id=TOKEN, image_grid_pinpoints=[[8, 8], [8, 4]])
    inputs = inferred(model)
    assert shapes(inputs) == {"input_ids": (2, 8), "pixel_values": (2, 3, 3, 4, 4), "image_sizes": (2, 2)}
    assert inputs.kwargs["image_sizes"].tolist() == [[8, 4]] * 2
    assert shapes(inferred(model, Size(2, 3))) == {"input_ids": (2, 3)}


class Crossed(HuggingFace):
    def forward(
        self,
        input_ids=None,
        pixel_values=None,
        aspect_ratio_ids=None,
        aspect_ratio_mask=None,
        cross_attention_mask=None,
    ):
        return self.words(input_ids) + pixel_values.sum()


def test_a_text_that_attends_to_an_image_has_one_token_for_it_and_masks_of_its_tiles():
    model = Crossed(vision_config=SimpleNamespace(image_size=4, max_num_tiles=3), image_token_id=TOKEN)
    inputs = inferred(model)
    assert inputs.kwargs["input_ids"].eq(TOKEN).sum(1).tolist() == [1, 1]
    assert inputs.kwargs["pixel_values"].shape == (2, 1, 3, 3, 4, 4)
    assert inputs.kwargs["aspect_ratio_ids"].tolist() == [[1], [1]]
    assert inputs.kwargs["aspect_ratio_mask"].tolist() == [[[1, 0, 0]]] * 2
    assert inputs.kwargs["cross_attention_mask"].tolist() == [[[[1, 0, 0]]] * 8] * 2


class Gridded(HuggingFace):
    main_input_name = "pixel_values"

    def forward(self, pixel_values, pixel_attention_mask, spatial_shapes):
        return pixel_values[pixel_attention_mask.bool()]


def test_flat_patches_come_with_their_grid_and_a_mask():
    inputs = inferred(Gridded(num_patches=9, patch_size=2, num_channels=3))
    assert shapes(inputs) == {"pixel_values": (2, 9, 12), "pixel_attention_mask": (2, 9), "spatial_shapes": (2, 2)}
    assert inputs.kwargs["spatial_shapes"].tolist() == [[3, 3]] * 2


class MaskedVideo(HuggingFace):
    main_input_name = "pixel_values"

    def forward(self, pixel_values, bool_masked_pos):
        return pixel_values.sum() * bool_masked_pos


def test_half_of_the_patches_are_masked_where_the_forward_requires_a_mask():
    inputs = inferred(MaskedVideo(image_size=4, patch_size=2, num_frames=4, tubelet_size=2))
    assert inputs.kwargs["pixel_values"].shape == (2, 4, 3, 4, 4)
    assert inputs.kwargs["bool_masked_pos"].tolist() == [[False] * 4 + [True] * 4] * 2


def test_dummy_inputs_of_text_alone_do_not_hide_that_a_model_fails_on_regions():
    model = Lxmert(visual_feat_dim=6)
    model.dummy_inputs = {name: torch.ones(3, 5, dtype=torch.int64) for name in ("input_ids", "token_type_ids")}
    model.forward = lambda input_ids, token_type_ids=None, visual_feats=None: without_regions(visual_feats)
    with pytest.raises(InputsError, match=r"visual_feats=2x36x6 float32 it raised ValueError: no regions"):
        inferred(model)


def without_regions(visual_feats):
    if visual_feats is not None:
        raise ValueError("no regions")
    return torch.zeros(1)
