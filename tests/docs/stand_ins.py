"""The models on which the examples of the documentation run; small enough to be fast at 4096 tokens."""

from __future__ import annotations

import torch
from torch import nn

DIM = 32


class Attention(nn.Module):
    """Two projections with the names that the examples use; linear in the sequence length, unlike real attention."""

    def __init__(self) -> None:
        super().__init__()
        self.key_proj, self.out_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.key_proj(x))


def language_model() -> nn.Module:
    """A causal language model of one layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 96, "hidden_size": DIM, "intermediate_size": DIM, "max_position_embeddings": 1024}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2))


class Model(nn.Module):
    """A transformer block whose norm is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(DIM), Attention()
        self.ffn = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.ffn(self.norm(x))
