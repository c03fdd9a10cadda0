"""Small models with the defects that show only if a module is tested as its model runs it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY = 20
WIDTH = 16


class Residual(nn.Module):
    """Adds a ReLU of its input to the input, which the model passes twice."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect = defect

    def forward(self, x, residual):
        return (x.relu_() if self.defect else x.relu()) + residual  # in place, x changes the residual too


class PassesTwice(nn.Module):
    """Passes one tensor twice to its inner module."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.inner = Residual(defect)

    def forward(self, x):
        y = x * 2
        return self.inner(y, y)


class Attention(nn.Module):
    """Self-attention with a padding mask that hides every key, or all but one."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.hidden = 4 if defect else 3

    def forward(self, x):
        pad = torch.arange(4).expand(len(x), 4) < self.hidden
        return self.inner(x, x, x, key_padding_mask=pad, need_weights=False)[0].nan_to_num()


class CalledTwice(nn.Module):
    """Calls its inner module twice, the second time with other sizes, where the defect overflows."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.inner, self.factor = nn.Softplus(), torch.inf if defect else 1.0

    def forward(self, x):
        return self.inner(x), self.inner(x[:1] * self.factor).nan_to_num(0, 0, 0)


class Norm(nn.BatchNorm1d):
    """A batch norm whose output is right, but maybe not its running statistics."""

    def __init__(self, defect: str = "") -> None:
        super().__init__(WIDTH)
        self.defect = defect

    def forward(self, x):
        if not self.defect:
            return super().forward(x)
        y = F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        if self.defect == "a wrong running variance":
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(x.mean(0), self.momentum)
                self.running_var.lerp_(x.var(0, correction=0), self.momentum)
        return y


class Cache:
    """Keys and values that grow by a row in each step."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.keys, self.values = (torch.randn(5, WIDTH, generator=generator) for _ in range(2))


class Decoder(nn.Module):
    """One step of attention over a cache."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect, self.project = defect, nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x, past):
        query, key, value = self.project(x).chunk(3, -1)
        keys, values = torch.cat([past.keys, key]), torch.cat([past.values, value])
        if self.defect != "a dropped cache":
            past.keys, past.values = keys, (keys if self.defect == "a cache with keys for values" else values)
        return (query @ keys.T).softmax(-1) @ values


class Untrained(nn.Module):
    """Two layers, one of which may get no gradient."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect, self.first, self.second = defect, nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        weight = self.first.weight.detach() if self.defect else self.first.weight
        return self.second(F.linear(x, weight, self.first.bias))


class Sampler(nn.Module):
    """Draws noise in eval mode too; the defect draws more."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.scale = 1.1 if defect else 1.0

    def forward(self, x):
        return x + self.scale * torch.randn_like(x)


class Router(nn.Module):
    """Sends each row to an expert, another one now and then by rounding; the defect is 10 % in all of them."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.experts = nn.Linear(WIDTH, 8, bias=False), nn.Parameter(torch.randn(8, WIDTH))
        self.scale = 1.1 if defect else 1.0

    def forward(self, x):
        return x * self.experts[self.gate(x).argmax(-1)] * self.scale


@torch.library.custom_op("ttprofmutations::multiply", mutates_args=())
def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(a.numpy() @ b.numpy())


class Hidden(nn.Module):
    """A product; the defect adds another one, in an operator that nobody can count."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect, self.weight = defect, nn.Parameter(torch.ones(WIDTH, WIDTH))

    def forward(self, x):
        y = x @ self.weight
        return y + torch.ops.ttprofmutations.multiply(x, self.weight) if self.defect else y


class Depthwise(nn.Conv1d):
    """A depthwise convolution, or a dense one."""

    def __init__(self, defect: str = "") -> None:
        super().__init__(WIDTH, WIDTH, 3, groups=1 if defect else WIDTH, bias=False)


class LanguageModel(nn.Module):
    """Attention over embedded ids and positions, with a cache of the rows that it has seen."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.defect = defect
        self.embed, self.positions, self.head = (nn.Embedding(VOCABULARY, WIDTH) for _ in range(3))

    def forward(self, ids, past=None):
        earlier = 0 if past is None or self.defect == "a decode whose positions start again" else past.shape[1]
        rows = self.embed(ids) + self.positions.weight[earlier : earlier + ids.shape[1]]
        kept = rows if past is None else torch.cat([past, rows], dim=1)
        seen = rows if self.defect == "a decode that ignores its cache" else kept
        later = torch.ones(rows.shape[1], seen.shape[1]).triu(1 + seen.shape[1] - rows.shape[1]).bool()
        weights = (rows @ seen.mT / WIDTH).masked_fill(later, -torch.inf).softmax(-1)
        return weights @ seen @ self.head.weight.T, None if self.defect == "a model that returns no cache" else kept


class SetsUp(nn.Module):
    """A parent that sets an attribute of its child, and runs it under autocast; either may be too much for it."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect, self.inner = defect, Scaled()

    def forward(self, x):
        self.inner.factor = 1e39 if self.defect == "an overflow with an attribute of the parent" else 2.0
        overflows = self.defect == "an overflow under autocast of the parent"
        with torch.autocast("cpu", torch.float16 if overflows else torch.bfloat16):
            return self.inner(x)


class Scaled(nn.Module):
    """A product that leaves the range of float16, times an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.weight = 1.0, nn.Parameter(torch.full((WIDTH, WIDTH), 1e5))

    def forward(self, x):
        return (x.abs() @ self.weight).float() * self.factor


class Copies(nn.Module):
    """A linear layer; the defect copies its input first."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect, self.layer = defect, nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.layer(x.clone() if self.defect else x)


class Memory(nn.Module):
    """Adds its memory, which the model passes to it, and decays it; the defect decays it too early."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.defect = defect
        self.register_buffer("memory", torch.ones(WIDTH))

    def forward(self, x, memory):
        if self.defect:
            self.memory.mul_(0.5)
            return x + memory
        output = x + memory
        self.memory.mul_(0.5)
        return output


class PassesMemory(nn.Module):
    """Passes its inner module's own buffer to it."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.inner = Memory(defect)

    def forward(self, x):
        return self.inner(x, self.inner.memory)


def _backend(factor: float):
    """A backend of torch.compile whose kernels multiply by a factor."""
    return lambda graph, inputs: lambda *args: [factor * value for value in graph(*args)]


class Compiled(nn.Module):
    """Calls a compiled function, whose kernel may be wrong."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.activation = torch.compile(F.silu, backend=_backend(1.02 if defect else 1.0))

    def forward(self, x):
        return self.activation(self.linear(x))


class DoublesGradient(torch.autograd.Function):
    """The identity, with a wrong gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class AlikeKeys(nn.Module):
    """Attention over keys that are much alike, so that their gradient nearly cancels; the defect doubles it."""

    def __init__(self, defect: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.defect = defect

    def forward(self, x):
        key = self.key(x[:1] + 1e-3 * x)
        key = DoublesGradient.apply(key) if self.defect else key
        return (x @ key.T).softmax(-1) @ self.value(x)
