"""A Llama-style decoder block in plain PyTorch, tested module by module.

Run ``python examples/quickstart.py`` or ``ttprof run examples/quickstart.py``, then ``ttprof view`` for the dashboard.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from ttprof import TestSuite

DIM, HEADS, VOCABULARY = 256, 8, 1000


class Attention(nn.Module):
    """Causal self-attention with rotary position embeddings."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(dim, dim, bias=False)
        self.key_proj = nn.Linear(dim, dim, bias=False)
        self.value_proj = nn.Linear(dim, dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        batch, length, dim = x.shape
        query, key, value = (
            proj(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for proj in (self.query_proj, self.key_proj, self.value_proj)
        )
        attended = self.attend(rotate(query, angles), rotate(key, angles), value)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, length, dim))

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(query, key, value, is_causal=True)


class ReferenceAttention(Attention):
    """The same attention written out step by step, as the reference for the fused one."""

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(future, float("-inf")).softmax(-1) @ value


class FeedForward(nn.Module):
    """Llama's gated feed-forward network."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden_dim, bias=False)
        self.up = nn.Linear(dim, hidden_dim, bias=False)
        self.down = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(silu(self.gate(x)) * self.up(x))


class Decoder(nn.Module):
    """An embedding, one decoder block and the language-model head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        self.norm = nn.RMSNorm(DIM)
        self.attention = Attention(DIM, HEADS)
        self.ffn = FeedForward(DIM, 4 * DIM)
        self.head = nn.Linear(DIM, VOCABULARY, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        x = x + self.attention(self.norm(x), rotary_angles(ids.shape[1], DIM // HEADS, x.device))
        x = x + self.ffn(self.norm(x))
        return self.head(x)


def rotary_angles(length: int, dim: int, device: torch.device) -> torch.Tensor:
    """The rotation angles, of shape (length, dim / 2), by position and pair of channels."""
    frequencies = 10_000.0 ** (-torch.arange(0, dim, 2, device=device) / dim)
    return torch.outer(torch.arange(length, device=device), frequencies)


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs of channels of *x*, of shape (batch, heads, length, dim), by the angles of their positions."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def main() -> None:
    torch.manual_seed(0)
    model = Decoder()
    reference = ReferenceAttention(DIM, HEADS)
    reference.load_state_dict(model.attention.state_dict())

    with TestSuite(model, batch_size=2, seq_len=512) as suite:
        suite.test(model.attention).tolerance(1e-3).expect(latency_ms=500, memory_mb=64)
        suite.test(model.ffn).with_seq_lengths([256, 512, 1024, 2048]).expect_scaling("linear")
        suite.test(model.norm).profile(warmup=10, iterations=100)
        suite.test(model.attention, name="attention vs plain").compare_with(reference).expect(memory_ratio=1.0)
        suite.test(model.ffn, name="ffn in bfloat16").dtype(torch.bfloat16).tolerance(1e-3)
        suite.test(model, name="training step").backward().expect(leak_mb=0)
        suite.test_all_modules().matching("attention.*").tolerance(1e-3)


if __name__ == "__main__":
    main()
