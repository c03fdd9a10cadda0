"""A transformer block in which any part can be broken, and a few smaller modules; their weights have a fixed seed."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

DIM, HEADS = 32, 4


class Block(nn.Module):
    """Norm, attention with rotary positions, feed-forward; with at most one defect."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect = defect
        self.norm = nn.Parameter(1 + 0.1 * torch.randn(DIM))
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.up, self.down = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)

    def has(self, defect: str) -> bool:
        return self.defect == defect

    def forward(self, x):
        y = x + self.attention(self.normalised(x))
        return self.finish(y if not self.has("missing residual") else y - x)

    def normalised(self, x):
        eps = 1e-2 if self.has("wrong eps") else 1e-6
        mean = x.mean(0, keepdim=True) if self.has("statistics across the batch") else x
        return x * torch.rsqrt(mean.pow(2).mean(-1, keepdim=True) + eps) * self.norm

    def attention(self, x):
        if self.has("dtype drop"):
            x = x.to(torch.bfloat16).to(x.dtype)
        q, k, v = (self.heads(part) for part in self.qkv(x).chunk(3, -1))
        q, k = self.rotated(q, int(self.has("RoPE off by one"))), self.rotated(k, 0)
        if self.has("swapped keys and values"):
            k, v = v, k
        width = DIM // HEADS
        scores = q @ k.transpose(-1, -2) / (width if self.has("wrong scale") else math.sqrt(width))
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril(int(self.has("mask off by one")))
        if not self.has("missing mask"):
            scores = scores.masked_fill(~mask, -math.inf)
        weights = scores.softmax(-2 if self.has("softmax over the wrong dimension") else -1)
        if self.has("softmax over the wrong dimension"):
            weights = weights.nan_to_num()
        mixed = weights @ v
        order = mixed.transpose(1, 2) if not self.has("transposed heads") else mixed.transpose(1, 2).transpose(-1, -2)
        return self.out(order.flatten(-2))

    def heads(self, x):
        return x.unflatten(-1, (HEADS, DIM // HEADS)).transpose(1, 2)

    def rotated(self, x, shift):
        half = x.shape[-1] // 2
        position = torch.arange(x.shape[-2], device=x.device, dtype=x.dtype)[:, None] + shift
        angle = position * 10000.0 ** (-torch.arange(half, device=x.device, dtype=x.dtype) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)

    def finish(self, y):
        inner = F.gelu(self.up(y), approximate="tanh" if self.has("another GELU") else "none")
        if self.has("dropout left on"):
            inner = F.dropout(inner, 0.1, training=True)
        if self.has("a detached branch"):
            inner = inner.detach()
        y = y + (F.linear(inner, self.down.weight) if self.has("missing bias") else self.down(inner))
        if self.has("NaN in one element"):
            y = y.clone()
            y.flatten()[5] = math.nan
        if self.has("infinite"):
            y = y * 1e38 * 10
        if self.has("positions rolled by one"):
            y = y.roll(1, dims=1)
        if self.has("wrong sign in one row"):
            y = torch.cat((-y[:1], y[1:]))
        return y


class TwoOutputs(nn.Module):
    """A sum and a product, and the position of the largest value."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect = defect
        self.weight = nn.Parameter(torch.randn(DIM))

    def forward(self, x):
        outputs = [x + self.weight, x * self.weight]
        best = (x * self.weight).argmax(-1)
        if self.defect == "swapped outputs":
            outputs.reverse()
        if self.defect == "index off by one":
            best = best + 1
        if self.defect == "in-place change of the input":
            x.add_(1)
        if self.defect == "one output fewer":
            return outputs[0], best
        return (*outputs, best)


class StaleCache(nn.Module):
    """Caches a table for the first length; the healthy one rebuilds it for another length."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect, self.table = defect, None

    def forward(self, x):
        length = x.shape[1]
        if self.table is None or (not self.defect and self.table.shape[0] != length):
            self.table = torch.arange(length, dtype=x.dtype)[:, None]
        return x + self.table[:length].to(x)


class FeedForward(nn.Module):
    """A feed-forward network; its defects add time, memory, a leak or state."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect, self.leaked = defect, []
        self.up, self.down = nn.Linear(DIM, 4 * DIM), nn.Linear(4 * DIM, DIM)
        self.calls = 0

    def forward(self, x):
        hidden = F.relu(self.up(x))
        if self.defect == "a kept intermediate":
            hidden = hidden + 0 * torch.exp(hidden)
        y = self.down(hidden)
        if self.defect == "a quadratic term":
            y = y + 1e-6 * ((x @ x.transpose(-1, -2)) @ x)
        if self.defect == "a second pass":
            y = self.down(F.relu(self.up(y)))
        if self.defect == "a leak":
            self.leaked.append(torch.empty(1024))
        if self.defect == "a large intermediate":
            torch.empty(2**20, dtype=torch.uint8)
        if self.defect == "memory of earlier calls":
            self.calls += 1
            y = y + 1e-4 * (self.calls > 2)
        return y


class Squared(torch.autograd.Function):
    """x², with a backward that is 2 % off."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2.04 * x * gradient


class Power(nn.Module):
    """(W x)², with the backward of torch or a wrong one."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect, self.linear = defect, nn.Linear(DIM, DIM)

    def forward(self, x):
        y = self.linear(x)
        return Squared.apply(y) if self.defect else y**2


class SmallNorm(nn.Module):
    """A norm whose epsilon has no effect at the usual scale of inputs."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.eps = 1e-5 if defect else 1e-6

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


class Dropped(nn.Module):
    """A layer with dropout; the defect is another rate."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.rate = nn.Linear(DIM, DIM), 0.2 if defect else 0.1

    def forward(self, x):
        return F.dropout(self.linear(x), self.rate, self.training)


class Growing(nn.Module):
    """Takes a time that grows with the length of its input, on a fake clock."""

    def __init__(self, clock, defect: str = "") -> None:
        super().__init__()
        self.clock, self.defect = clock, defect

    def forward(self, x):
        length = x.shape[1]
        self.clock.now += 10_000 * length + (100 * length**2 if self.defect else 0)
        return x


class Timed(nn.Module):
    """Takes *ns* nanoseconds on a fake clock."""

    def __init__(self, clock, ns: int) -> None:
        super().__init__()
        self.clock, self.ns = clock, ns

    def forward(self, x):
        self.clock.now += self.ns
        return x
