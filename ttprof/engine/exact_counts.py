"""Counts what the iterations of a case do once they have been timed: instructions and recompilations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from ttprof.observation import Observation
from ttprof.plan.compiled import has_compiled_parts
from ttprof.plan.process_state import threads
from ttprof.run.compilation import compilations
from ttprof.run.instructions import count_instructions, perf_counter
from ttprof.run.workload import RepeatableCall
from ttprof.trace.events import Int

COUNTED_CALLS = 10
"""Calls whose instructions are counted: a comparison with a baseline needs 10 samples."""


@dataclass
class Compilations:
    """The compilations of this process since the warm-up."""

    at_start: int = 0

    def warm(self) -> None:
        """Note that the warm-up is over."""
        self.at_start = compilations()

    def since(self) -> int:
        """The compilations since the warm-up; torch forgets earlier ones when the user resets its compiler."""
        return max(0, compilations() - self.at_start)


def counted(
    observations: Sequence[Observation], calls: Sequence[RepeatableCall], module: nn.Module, recompilations: int
) -> list[Observation]:
    """The *observations* of timed *calls* with their counts.

    Instructions of compiled code are not counted: torch compiles again for another number of threads.
    """
    compiled = has_compiled_parts(module)
    return [
        replace(
            observation,
            instructions=None if compiled else _instructions(observation, call),
            recompilations=recompilations if compiled else None,
        )
        for observation, call in zip(observations, calls, strict=True)
    ]


def _instructions(observation: Observation, call: RepeatableCall) -> Int | None:
    """The instructions of some iterations on one thread, the first not counted; None on other devices than CPUs."""
    if observation.device != "cpu":
        return None
    with perf_counter() as counter:
        if counter is None:
            return None
        with threads(1):
            call.reset()
            call()
            return count_instructions(call, call.reset, COUNTED_CALLS, counter)
