"""Inputs of Hugging Face models beyond ids and images: modules with the signatures and configs of theirs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from library_models import HuggingFace, inferred, shapes
from torch import nn

from ttprof.errors import InputsError
from ttprof.plan import model_inputs
from ttprof.plan.inputs import Size

DEFAULT = Size(1, 2048, explicit=False)
TOKEN = 7


class Speaking(HuggingFace):
    def forward(self, input_ids, decoder_input_values=None, speaker_embeddings=None):
        return self.words(input_ids).sum() + decoder_input_values.sum() + speaker_embeddings.sum()


def test_a_decoder_of_speech_gets_a_spectrogram_and_a_speaker():
    inputs = inferred(Speaking(is_encoder_decoder=True, num_mel_bins=3, speaker_embedding_dim=5))
    assert shapes(inputs) == {
        "input_ids": (2, 8),
        "decoder_input_values": (2, 8, 3),
        "speaker_embeddings": (2, 5),
    }


class Vocoder(HuggingFace):
    main_input_name = "spectrogram"

    def forward(self, spectrogram):
        return spectrogram.sum()


def test_a_vocoder_gets_a_spectrogram_of_the_asked_length():
    assert shapes(inferred(Vocoder(model_in_dim=3))) == {"spectrogram": (2, 8, 3)}


class Agent(HuggingFace):
    main_input_name = "states"

    def forward(self, states=None, actions=None, rewards=None, returns_to_go=None, timesteps=None):
        return states.sum() + actions.sum() + returns_to_go.sum() + self.words(timesteps)


def test_an_episode_starts_again_where_it_would_be_too_long():
    inputs = inferred(Agent(state_dim=5, act_dim=3, max_ep_len=6))
    assert shapes(inputs) == {
        "states": (2, 8, 5),
        "actions": (2, 8, 3),
        "rewards": (2, 8, 1),
        "returns_to_go": (2, 8, 1),
        "timesteps": (2, 8),
    }
    assert inputs.kwargs["timesteps"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1]] * 2


class Forecast(HuggingFace):
    main_input_name = "past_values"

    def forward(
        self,
        past_values,
        past_time_features,
        past_observed_mask,
        static_categorical_features=None,
        static_real_features=None,
        future_values=None,
        future_time_features=None,
    ):
        return (past_values * past_observed_mask).sum() + self.words(static_categorical_features)


def test_a_series_has_the_past_that_its_lags_look_back_to_and_features_of_every_moment():
    config = {"context_length": 4, "lags_sequence": [1, 3], "prediction_length": 2, "num_time_features": 5}
    statics = {"num_static_categorical_features": 2, "cardinality": [3, 1], "num_static_real_features": 1}
    inputs = inferred(Forecast(**config, **statics, num_dynamic_real_features=1))
    assert shapes(inputs) == {
        "past_values": (2, 7),
        "past_time_features": (2, 7, 6),
        "past_observed_mask": (2, 7),
        "static_categorical_features": (2, 2),
        "static_real_features": (2, 1),
        "future_values": (2, 2),
        "future_time_features": (2, 2, 6),
    }
    assert inputs.kwargs["static_categorical_features"][:, 1].eq(0).all()
    assert inputs.kwargs["past_observed_mask"].eq(1).all()
    assert shapes(inferred(Forecast(**config, **statics, input_size=3)))["past_values"] == (2, 7, 3)


class Listening(HuggingFace):
    def forward(self, input_ids=None, input_features=None, feature_attention_mask=None):
        assert feature_attention_mask.shape[1] == input_features.shape[-1] == 12
        assert (input_ids == TOKEN).sum(1).eq(3).all()
        return self.words(input_ids)


def test_ids_beside_sound_hold_a_token_for_every_fourth_frame():
    audio = SimpleNamespace(num_mel_bins=5, max_source_positions=6)
    inputs = inferred(Listening(audio_config=audio, audio_token_index=TOKEN))
    assert shapes(inputs) == {"input_ids": (2, 8), "input_features": (2, 5, 12), "feature_attention_mask": (2, 12)}


class Perceiver(HuggingFace):
    main_input_name = "inputs"

    def __init__(self, **config):
        super().__init__(d_model=6, **config)

    def forward(self, inputs):
        return inputs.sum()


class PerceiverText(Perceiver):
    def forward(self, inputs=None, attention_mask=None, input_ids=None):
        return self.words(inputs if input_ids is None else input_ids)


class PerceiverFlow(Perceiver):
    def forward(self, inputs):
        return inputs.view(2, 2, 27, 4, 5)


def test_an_input_of_any_kind_comes_under_the_name_of_its_kind_or_as_wide_as_the_model():
    assert shapes(inferred(PerceiverText())) == {"input_ids": (2, 8)}
    assert shapes(inferred(Perceiver())) == {"inputs": (2, 8, 6)}
    assert shapes(inferred(PerceiverFlow(train_size=[4, 5]))) == {"inputs": (2, 2, 27, 4, 5)}


class Codebooks(HuggingFace):
    main_input_name = "codebook_idx"

    def forward(self, codebook_idx, input_ids=None):
        return self.words(input_ids)[:, :, : codebook_idx + 1].sum(2)


def test_tokens_of_several_codes_come_with_the_first_codebook_to_predict():
    inputs = inferred(Codebooks(n_codes_total=4, n_codes_given=2, input_vocab_size=20))
    assert shapes(inputs) == {"codebook_idx": 2, "input_ids": (2, 8, 4)}
    assert inputs.kwargs["input_ids"].max() < 20


class Instructed(HuggingFace):
    main_input_name = "pixel_values"

    def forward(self, pixel_values, qformer_input_ids):
        return self.words(qformer_input_ids)


def test_an_instruction_has_ids_of_its_own_vocabulary_and_no_more_than_it_allows():
    qformer = SimpleNamespace(vocab_size=3, max_position_embeddings=5)
    inputs = inferred(Instructed(image_size=4, qformer_config=qformer))
    ids = inputs.kwargs["qformer_input_ids"]
    assert ids.shape == (2, 5) and ids.max() < 3


class Translation(HuggingFace):
    def forward(self, input_ids=None, decoder_input_ids=None):
        ends = input_ids.eq(self.config.eos_token_id)
        assert ends.sum(1).eq(1).all() and ends[:, -1].all(), "a text without its end"
        return self.words(input_ids) + self.words(decoder_input_ids)


def test_a_text_for_an_encoder_ends_once():
    inputs = inferred(Translation(vocab_size=4, is_encoder_decoder=True, eos_token_id=2))
    assert not inputs.kwargs["decoder_input_ids"].eq(2).any()


class BertForMultipleChoice(HuggingFace):
    def forward(self, input_ids):
        assert input_ids.ndim == 3
        return self.words(input_ids)


def test_a_choice_is_between_two_texts():
    assert shapes(inferred(BertForMultipleChoice())) == {"input_ids": (2, 2, 8)}


class Answering(HuggingFace):
    def forward(self, input_ids, attention_mask=None, decoder_input_ids=None):
        return self.words(input_ids) + self.words(decoder_input_ids)


def test_arguments_that_many_models_do_without_are_added_for_one_that_raises_without_them():
    assert shapes(inferred(Answering())) == {
        "input_ids": (2, 8),
        "attention_mask": (2, 8),
        "decoder_input_ids": (2, 8),
    }


class Positions(nn.Module):
    def __init__(self, padding):
        super().__init__()
        self.padding_idx = padding
        self.position_embeddings = nn.Embedding(20, 4, padding_idx=padding)


class Roberta(HuggingFace):
    """Counts positions from the one after the padding's."""

    def __init__(self, **config):
        super().__init__(max_position_embeddings=20, pad_token_id=1, **config)
        self.embeddings = Positions(1)

    @property
    def dummy_inputs(self):
        return {"input_ids": torch.ones(3, 5, dtype=torch.int64)}

    def forward(self, input_ids, attention_mask=None):
        kept = input_ids.ne(1).int()
        return self.words(input_ids) + self.embeddings.position_embeddings(kept.cumsum(1) * kept + 1)


def test_positions_after_the_padding_leave_less_room_than_the_config_says():
    inputs = inferred(Roberta(), DEFAULT)
    assert shapes(inputs) == {"input_ids": (1, 18)} and not inputs.kwargs["input_ids"].eq(1).any()
    assert model_inputs.length_limit(Vocoder(max_position_embeddings=20)) == 20


def test_dummy_ids_do_not_hide_that_a_model_fails_on_ids():
    with pytest.raises(InputsError, match=r"after 2 guesses .*index out of range"):
        inferred(Roberta(), Size(2, 19))


class Parts(nn.Module):
    main_input_name = "input_ids"

    def __init__(self):
        super().__init__()
        self.config, self.part = SimpleNamespace(vocab_size=50), nn.Linear(2, 2)


def test_a_model_without_a_forward_is_an_error_that_says_so():
    with pytest.raises(InputsError, match=r"Parts has no forward; test its parts as models of their own"):
        inferred(Parts())


class Prompted(HuggingFace):
    def forward(self, input_ids, prompt_masks):
        return self.words(input_ids)


def test_an_argument_of_unknown_shape_is_an_error_that_names_it():
    with pytest.raises(InputsError, match=r"Prompted takes prompt_masks, and nothing .* TestSuite\(inputs=\.\.\.\)"):
        inferred(Prompted())
