"""Modules whose work one can count by hand: kernels, copies, synchronisations, bytes and time."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

Tensor = torch.Tensor


def _spin(cycles: int) -> None:
    """Launch one kernel that spins for *cycles* of the device's clock."""
    torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]


class Adds(nn.Module):
    """*count* additions, each one kernel."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.count):
            x = x + 1
        return x


class Sleeps(nn.Module):
    """A kernel that spins for *cycles* of the device's clock, times the length of the input if *scaled*."""

    def __init__(self, cycles: int, scaled: bool = False) -> None:
        super().__init__()
        self.cycles, self.scaled = cycles, scaled

    def forward(self, x: Tensor) -> Tensor:
        _spin(self.cycles * (x.shape[1] if self.scaled else 1))
        return x + 1


class SleepsOnTwoStreams(nn.Module):
    """Two spinning kernels side by side."""

    def __init__(self, cycles: int) -> None:
        super().__init__()
        self.cycles = cycles

    def forward(self, x: Tensor) -> Tensor:
        side = _side_stream()
        side.wait_stream(torch.cuda.current_stream())
        _spin(self.cycles)
        with torch.cuda.stream(side):
            _spin(self.cycles)
        torch.cuda.current_stream().wait_stream(side)
        return x + 1


_STREAMS: list[torch.cuda.Stream] = []


def _side_stream() -> torch.cuda.Stream:
    """One side stream for the process: a module that holds a stream can't be copied."""
    if not _STREAMS:
        _STREAMS.append(torch.cuda.Stream())  # type: ignore[no-untyped-call]
    return _STREAMS[0]


class Pauses(nn.Module):
    """Two spinning kernels, between which the host waits for the device and then sleeps."""

    def __init__(self, cycles: int, seconds: float) -> None:
        super().__init__()
        self.cycles, self.seconds = cycles, seconds

    def forward(self, x: Tensor) -> Tensor:
        _spin(self.cycles)
        torch.cuda.synchronize()
        time.sleep(self.seconds)
        _spin(self.cycles)
        return x


class TwoBuffers(nn.Module):
    """Allocates two tensors of the size of the input at once, then frees one: a peak of twice the input."""

    def forward(self, x: Tensor) -> Tensor:
        first = x + 1
        second = first + 1
        del first
        return second


class Watched(nn.Module):
    """Runs a module, and appends the allocator's peaks after it, allocated and reserved bytes, to *seen*."""

    def __init__(self, module: nn.Module, seen: list[tuple[int, int]]) -> None:
        super().__init__()
        self.module, self.append = module, seen.append

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.module(x)
        self.append((torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()))
        return result


class Leaks(nn.Module):
    """Keeps a tensor of *size* bytes from every call in *kept*, a list outside the module."""

    def __init__(self, kept: list[Tensor], size: int) -> None:
        super().__init__()
        self.keep: Callable[[Tensor], None] = kept.append
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        self.keep(torch.ones(self.size, dtype=torch.uint8, device=x.device))
        return x + 1


class Synchronises(nn.Module):
    """Waits for the device *count* times, as code does that reads a value."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.count):
            x = x + x.sum().item()
        return x


class CopiesToHost(nn.Module):
    """One copy of the input to the host, and one back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cpu().to(x.device)


class Replays(nn.Module):
    """Replays a CUDA graph of *count* additions; the copies around it are no kernels."""

    def __init__(self, x: Tensor, count: int) -> None:
        super().__init__()
        self.replay = _captured(x, count)

    def forward(self, x: Tensor) -> Tensor:
        replayed: Tensor = self.replay(x)
        return replayed


def _captured(x: Tensor, count: int) -> Callable[[Tensor], Tensor]:
    """A function that replays the graph: in a closure, because a graph can't be copied."""
    static, adds = x.clone(), Adds(count)
    warming = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    warming.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warming), torch.no_grad():
        adds(static)
    torch.cuda.current_stream().wait_stream(warming)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.no_grad():
        result: Tensor = adds(static)

    def replay(x: Tensor) -> Tensor:
        static.copy_(x)
        graph.replay()
        return result.clone()

    return replay


class FeedForward(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(nn.functional.gelu(self.up(x)))
        return result
