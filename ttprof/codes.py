"""Stable codes beside the sentences for people: every verdict, note and trace error carries one.

Code decides on these values, and on nothing that is written in a sentence: a sentence may be reworded at any time, a
code may not. They are in the JSON of results and in JUnit's ``type``.
"""

from __future__ import annotations

import enum

import msgspec

from ttprof.system.escape import make_visible


class Code(str, enum.Enum):
    """A str enum that prints as its value."""

    def __str__(self) -> str:
        return str(self.value)


class Kind(Code):
    """What an expectation is about."""

    RUN = "run"
    """The case as a whole: that it runs, or why it does not."""
    LIMIT = "limit"
    KERNELS = "kernels"
    """A kernel budget (``expect_kernel``)."""
    FINITE = "finite"
    TOLERANCE = "tolerance"
    COMPARISON = "comparison"
    """That an output can be compared with its reference at all."""
    INPUTS = "inputs"
    """That inputs are left alone where the reference leaves them alone."""
    GRADIENTS = "gradients"
    DETERMINISM = "determinism"
    SCALING = "scaling"
    BASELINE = "baseline"
    TRACE = "trace"
    """That the trace holds everything that was recorded."""
    UNSTATED = "unstated"
    """In results written before kinds existed."""


class VerdictCode(Code):
    """Why an expectation ended as it did."""

    # Limits and kernel budgets
    WITHIN_LIMIT = "within-limit"
    OUTSIDE_LIMIT = "outside-limit"
    LIMIT_UNDECIDED = "limit-undecided"
    """The confidence interval spans the limit."""
    NOT_MEASURED = "not-measured"
    NO_KERNEL_MATCHES = "no-kernel-matches"

    # Numerics
    FINITE = "finite"
    CONSTANT_OUTPUT = "constant-output"
    """Finite, but one value throughout, so that a tolerance sees little."""
    NONFINITE = "nonfinite"
    NONFINITE_AFTER_TIMING = "nonfinite-after-timing"
    NONFINITE_AS_REFERENCE = "nonfinite-as-reference"
    NONFINITE_UNLIKE_REFERENCE = "nonfinite-unlike-reference"
    NONFINITE_WITHOUT_REFERENCE = "nonfinite-without-reference"
    WITHIN_TOLERANCE = "within-tolerance"
    WITHIN_RAISED_TOLERANCE = "within-raised-tolerance"
    """The tolerance was below what rounding in the dtype, or the reference's own error, allows."""
    OUTSIDE_TOLERANCE = "outside-tolerance"
    REFERENCE_INACCURATE = "reference-inaccurate"
    """The reference's own error is too large to judge anything by it."""
    NO_REFERENCE = "no-reference"
    """The reference does not run."""
    OWN_REFERENCE = "own-reference"
    """A float64 module would be compared with itself."""
    STRUCTURE_DIFFERS = "structure-differs"
    NOTHING_TO_COMPARE = "nothing-to-compare"
    NOT_TRIED = "not-tried"
    DETERMINISTIC = "deterministic"
    NOT_DETERMINISTIC = "not-deterministic"
    INPUTS_CHANGED = "inputs-changed"

    # Gradients
    GRADIENTS_FINITE = "gradients-finite"
    GRADIENTS_NONFINITE = "gradients-nonfinite"
    GRADIENTS_ZERO = "gradients-zero"
    NO_GRADIENT = "no-gradient"

    # Scaling
    FOLLOWS_LAW = "follows-law"
    BREAKS_LAW = "breaks-law"
    ROUNDS_NOISY = "rounds-noisy"
    TERMS_MIXED = "terms-mixed"
    """The linear and the quadratic term are of like size."""
    NOT_SMOOTH = "not-smooth"
    OVERHEAD_DOMINATED = "overhead-dominated"
    ROUNDS_DISAGREE = "rounds-disagree"

    # Baselines
    NOT_WORSE = "not-worse"
    REGRESSED = "regressed"
    DRIFTED = "drifted"
    IMPROVED = "improved"
    TOO_FEW_SAMPLES = "too-few-samples"
    INPUTS_DIFFER = "inputs-differ"
    CPU_TIME_UNCHANGED = "cpu-time-unchanged"
    """A wall time is worse and its CPU time is not: the machine may have been busy."""
    MACHINE_OVERLOADED = "machine-overloaded"
    NO_LONGER_MEASURED = "no-longer-measured"
    STORED_DIFFERENTLY = "stored-differently"
    NO_LONGER_RUN = "no-longer-run"
    NOT_IN_BASELINE = "not-in-baseline"
    NEVER_MEASURED = "never-measured"
    NOTHING_IN_COMMON = "nothing-in-common"
    UNLIKE_HARDWARE = "unlike-hardware"

    # Traces
    ITERATIONS_MISSING = "iterations-missing"
    TRACE_INCOMPLETE = "trace-incomplete"
    NO_KERNELS = "no-kernels"

    # The case as a whole
    SKIPPED = "skipped"
    MODULE_MISSING = "module-missing"
    NOT_CALLED = "not-called"
    """The model's forward does not call the module."""
    RAISED = "raised"
    """The user's code raised an exception."""
    NO_INPUTS = "no-inputs"
    TRACE_UNREADABLE = "trace-unreadable"
    NSIGHT_FAILED = "nsight-failed"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    """Any other error that ttprof raised on purpose."""
    UNSTATED = "unstated"
    """In results written before codes existed."""


class NoteCode(Code):
    """What a note on a trial, or on a trace, is about."""

    SEQ_LEN_SHORTENED = "seq-len-shortened"
    INPUTS_GUESSED = "inputs-guessed"
    INPUTS_CHANGED_IN_PLACE = "inputs-changed-in-place"
    WAITED = "waited"
    """Wall time is much longer than CPU time."""
    PEAKS_DISAGREE = "peaks-disagree"
    DIFFERS_FROM_REFERENCE = "differs-from-reference"
    KERNEL_EXPLAINED = "kernel-explained"
    NO_DEVICE_ACTIVITY = "no-device-activity"
    NO_CUDA_CALLS = "no-cuda-calls"
    UNKNOWN_SCHEMA = "unknown-schema"
    LAUNCHES_WITHOUT_KERNEL = "launches-without-kernel"
    """Incomplete trace: the kernels of some launches are missing."""
    GRAPH_LAUNCHES_WITHOUT_WORK = "graph-launches-without-work"
    """Incomplete trace: nothing that some CUDA graph launches started was recorded."""
    STEPS_CUT = "steps-cut"
    """Incomplete trace: recording began or ended within an iteration."""
    RECORDS_DROPPED = "records-dropped"
    """Incomplete trace: the profiler reports that it dropped records."""
    PARTLY_UNREADABLE = "partly-unreadable"
    """Incomplete trace: a damaged file was salvaged, and the rest of it is lost."""
    UNSTATED = "unstated"
    """In results written before codes existed."""


class TraceErrorCode(Code):
    """Why a trace could not be read or written."""

    UNREADABLE = "unreadable"
    """The operating system refused."""
    UNWRITABLE = "unwritable"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    NOT_A_TRACE = "not-a-trace"
    NO_EVENTS = "no-events"
    UNSUPPORTED = "unsupported"
    """A format, a schema or a value that ttprof does not know."""
    IMPOSSIBLE_VALUES = "impossible-values"
    LOCKED = "locked"
    """Another process is still writing the file."""
    NOT_FOUND = "not-found"
    NOT_RECORDED = "not-recorded"
    OUTSIDE_LOG_DIRECTORY = "outside-log-directory"
    NOT_COMPARABLE = "not-comparable"
    READER_MISSING = "reader-missing"
    """The package that reads this format is not installed."""


class Note(msgspec.Struct, frozen=True):
    """A sentence that a reader should know, whatever the verdict, with its code."""

    code: NoteCode
    text: str

    def __post_init__(self) -> None:
        make_visible(self, "text")

    def __str__(self) -> str:
        return self.text
