"""Tells the iterations that ran undisturbed from those in which other processes took the CPU.

Other processes only add time: a limit that holds in spite of them holds, and one that is exceeded because of them is
not the module's fault.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttprof.observation import Interference, Observation, Timing

WAITED = 0.02
"""An iteration is disturbed if its threads together waited for a CPU for more than this fraction of its time.

Measured on 2 CPUs beside three to four busy processes, with 1 and 2 threads: of modules that take 0.02 to 0.1 ms, 80 to
98 % of the iterations have a fraction below 0.0005 (their median is 1.03 to 1.55 times the fastest 5 %), nearly all
others one above 0.05 (3 to 450 times). Of modules that take 10 ms and more, no iteration was undisturbed. CPU time
tells nothing: threads that spin at a barrier use it while they wait (300-fold for a layer norm).
"""

QUIET = 0.02
"""CPUs that other processes and machines use of a quiet machine; threads that wait there wait for each other.

The more threads wait at once, the more of their own there are, so the bound grows with them: of eight threads on two
CPUs six wait, whatever else runs.
"""


def disturbed(timing: Timing) -> NDArray[np.bool_]:
    """Whether each iteration was disturbed. Without the time that threads waited, any involuntary switch counts.

    Of iterations that were counted together, any may have been, so all of them are marked.
    """
    interference = timing.interference
    if interference is None or _is_quiet(interference, timing):
        return np.zeros(len(timing.latency_ns), dtype=bool)
    if interference.waited_ns is None:
        return interference.switches > 0
    return interference.waited_ns > WAITED * timing.host_ns


def _is_quiet(interference: Interference, timing: Timing) -> bool:
    others, stolen, waited = interference.others, interference.stolen, interference.waited_ns
    if others is None or stolen is None:
        return False
    together = 1 if interference.together is None else interference.together
    waiting = 0.0 if waited is None else float((waited / together).sum() / max(1, int(timing.host_ns.sum())))
    return others + stolen < QUIET * max(1.0, waiting)


def disturbed_pairs(observation: Observation) -> NDArray[np.bool_]:
    """Whether each iteration was disturbed, or that of the reference which was timed beside it."""
    if observation.timing is None:
        return np.zeros(0, dtype=bool)
    marks, reference = disturbed(observation.timing), observation.reference
    if reference is not None and reference.timing is not None and len(reference.timing.latency_ns) == len(marks):
        marks = marks | disturbed(reference.timing)
    return marks


def waited_shares(observation: Observation) -> NDArray[np.float64] | None:
    """How long all threads together waited for a CPU in each iteration, as a part of its time; None if not known.

    Of iterations that were counted together, each may have waited that long: it is the most.
    """
    timing = observation.timing
    if timing is None or timing.interference is None or timing.interference.waited_ns is None:
        return None
    return timing.interference.waited_ns / np.maximum(1, timing.host_ns)


def own_shares(observation: Observation) -> NDArray[np.float64] | None:
    """The part of each iteration that the module may have needed itself; None if not known.

    That is what its threads did not wait, and at least the CPU time of the calling thread, and that of all threads
    spread over the CPUs. Threads that spin while another one waits make it too large, never too small. Which of the
    iterations that were counted together waited is not known, so that each may have needed all of its time.
    """
    timing, waited = observation.timing, waited_shares(observation)
    if timing is None or timing.interference is None or waited is None:
        return None
    host = np.maximum(1, timing.host_ns)
    spread = timing.interference.process_ns / timing.interference.cpus
    own: NDArray[np.float64] = np.maximum(np.maximum(1 - waited, timing.cpu_ns / host), spread / host)
    if timing.interference.together is not None:
        own = np.where(timing.interference.together > 1, 1.0, own)
    return np.clip(own, 0.0, 1.0)
