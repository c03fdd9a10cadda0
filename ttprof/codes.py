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
    """A limit on a metric (``expect``)."""
    KERNELS = "kernels"
    """A kernel budget (``expect_kernel``)."""
    FINITE = "finite"
    """That every value of the output is finite."""
    TOLERANCE = "tolerance"
    """The numerical error of the output (``tolerance``, ``compare_with``)."""
    COMPARISON = "comparison"
    """That an output can be compared with its reference at all."""
    INPUTS = "inputs"
    """That inputs are left alone where the reference leaves them alone."""
    GRADIENTS = "gradients"
    """The gradients of inputs and parameters (``backward``)."""
    DETERMINISM = "determinism"
    """That the same inputs and seed give the same bits (``deterministic``)."""
    SCALING = "scaling"
    """The law that a metric follows over a sweep (``expect_scaling``)."""
    BASELINE = "baseline"
    """That nothing is worse than in an earlier run."""
    TRACE = "trace"
    """That the trace holds everything that was recorded."""
    UNSTATED = "unstated"
    """In results written before kinds existed."""


class VerdictCode(Code):
    """Why an expectation ended as it did."""

    # Limits and kernel budgets
    WITHIN_LIMIT = "within-limit"
    """The whole confidence interval, or the exact value, is within the limit."""
    OUTSIDE_LIMIT = "outside-limit"
    """The whole confidence interval, or the exact value, is outside the limit."""
    LIMIT_UNDECIDED = "limit-undecided"
    """The confidence interval spans the limit."""
    NOT_MEASURED = "not-measured"
    """The metric, or the kernels of a budget, were not measured."""
    NO_KERNEL_MATCHES = "no-kernel-matches"
    """No recorded kernel has a name that matches the budget's glob."""

    # Numerics
    FINITE = "finite"
    """Every value of the output is finite."""
    CONSTANT_OUTPUT = "constant-output"
    """Finite, but one value throughout, so that a tolerance sees little."""
    NONFINITE = "nonfinite"
    """The output holds NaN or Inf."""
    NONFINITE_AFTER_TIMING = "nonfinite-after-timing"
    """The output was finite before the timed iterations and is not after them."""
    NONFINITE_AS_REFERENCE = "nonfinite-as-reference"
    """NaN and Inf are allowed, and are where the reference has them."""
    NONFINITE_UNLIKE_REFERENCE = "nonfinite-unlike-reference"
    """NaN and Inf are allowed, but are not where the reference has them."""
    NONFINITE_WITHOUT_REFERENCE = "nonfinite-without-reference"
    """NaN and Inf are allowed, but nothing says where they belong."""
    WITHIN_TOLERANCE = "within-tolerance"
    """The error is within the tolerance."""
    WITHIN_RAISED_TOLERANCE = "within-raised-tolerance"
    """The tolerance was below what rounding in the dtype, or the reference's own error, allows."""
    OUTSIDE_TOLERANCE = "outside-tolerance"
    """The error exceeds the tolerance."""
    REFERENCE_INACCURATE = "reference-inaccurate"
    """The reference's own error is too large to judge anything by it."""
    NO_REFERENCE = "no-reference"
    """The reference does not run."""
    OWN_REFERENCE = "own-reference"
    """A float64 module would be compared with itself."""
    STRUCTURE_DIFFERS = "structure-differs"
    """The output and its reference differ in structure, shape, or in values that must be equal."""
    NOTHING_TO_COMPARE = "nothing-to-compare"
    """The output, or the gradients, hold no value to compare."""
    NOT_TRIED = "not-tried"
    """The check could not be tried on the scaled inputs."""
    DETERMINISTIC = "deterministic"
    """Every run gave the same bits."""
    NOT_DETERMINISTIC = "not-deterministic"
    """Two runs with the same inputs and seed differ."""
    INPUTS_CHANGED = "inputs-changed"
    """The module changes its inputs in place and its reference does not."""

    # Gradients
    GRADIENTS_FINITE = "gradients-finite"
    """The gradients are finite; there was nothing to compare them with."""
    GRADIENTS_NONFINITE = "gradients-nonfinite"
    """A gradient holds NaN or Inf."""
    GRADIENTS_ZERO = "gradients-zero"
    """Every gradient is zero, as in the reference."""
    NO_GRADIENT = "no-gradient"
    """There is no gradient to compare."""

    # Scaling
    FOLLOWS_LAW = "follows-law"
    """The metric follows the expected law."""
    BREAKS_LAW = "breaks-law"
    """The metric follows another law."""
    ROUNDS_NOISY = "rounds-noisy"
    """The rounds at a large size differ too much."""
    TERMS_MIXED = "terms-mixed"
    """The linear and the quadratic term are of like size."""
    NOT_SMOOTH = "not-smooth"
    """A step that no smooth law explains decides the exponent."""
    OVERHEAD_DOMINATED = "overhead-dominated"
    """Most of the largest value does not grow with the size."""
    ROUNDS_DISAGREE = "rounds-disagree"
    """Odd, even and all rounds lead to different verdicts."""

    # Baselines
    NOT_WORSE = "not-worse"
    """The metric is not worse than in the baseline."""
    REGRESSED = "regressed"
    """The metric is worse than in the baseline."""
    DRIFTED = "drifted"
    """The metric got worse in small steps since the oldest run."""
    IMPROVED = "improved"
    """The metric is better than in the baseline."""
    TOO_FEW_SAMPLES = "too-few-samples"
    """There are too few samples to compare."""
    INPUTS_DIFFER = "inputs-differ"
    """The inputs are not those of the baseline."""
    CPU_TIME_UNCHANGED = "cpu-time-unchanged"
    """A wall time is worse and its CPU time is not: the machine may have been busy."""
    MACHINE_OVERLOADED = "machine-overloaded"
    """A sampled metric is worse, but the machine had more work than cores."""
    NO_LONGER_MEASURED = "no-longer-measured"
    """The baseline measured it and this run did not."""
    STORED_DIFFERENTLY = "stored-differently"
    """The baseline stores it with another unit, direction or statistic."""
    NO_LONGER_RUN = "no-longer-run"
    """The case is in the baseline and did not run."""
    NOT_IN_BASELINE = "not-in-baseline"
    """The baseline does not have it."""
    NEVER_MEASURED = "never-measured"
    """Neither run measured it."""
    NOTHING_IN_COMMON = "nothing-in-common"
    """The two runs have no metric in common."""
    UNLIKE_HARDWARE = "unlike-hardware"
    """The two runs were made on different hardware."""

    # Traces
    ITERATIONS_MISSING = "iterations-missing"
    """The trace lacks recorded iterations."""
    TRACE_INCOMPLETE = "trace-incomplete"
    """The trace lost kernels, calls or records."""
    NO_KERNELS = "no-kernels"
    """A trace of a GPU holds no kernel at all."""

    # The case as a whole
    SKIPPED = "skipped"
    """The test says ``.skip(reason)``."""
    MODULE_MISSING = "module-missing"
    """The model does not have the optional module (``.if_exists()``)."""
    NOT_CALLED = "not-called"
    """The model's forward does not call the module."""
    RAISED = "raised"
    """The user's code raised an exception."""
    NO_INPUTS = "no-inputs"
    """No inputs could be captured or guessed."""
    TRACE_UNREADABLE = "trace-unreadable"
    """The recorded trace could not be read."""
    NSIGHT_FAILED = "nsight-failed"
    """An Nsight tool is missing, not permitted, or recorded nothing."""
    INTERRUPTED = "interrupted"
    """The run was interrupted before the case was finished."""
    REFUSED = "refused"
    """Any other error that ttprof raised on purpose."""
    UNSTATED = "unstated"
    """In results written before codes existed."""


class NoteCode(Code):
    """What a note on a trial, or on a trace, is about."""

    SEQ_LEN_SHORTENED = "seq-len-shortened"
    """Inferred inputs are shorter than the default length."""
    INPUTS_GUESSED = "inputs-guessed"
    """The model does not run, so the inputs of the module are a guess."""
    INPUTS_CHANGED_IN_PLACE = "inputs-changed-in-place"
    """The module changes its inputs, so each iteration gets a fresh copy."""
    WAITED = "waited"
    """Wall time is much longer than CPU time."""
    PEAKS_DISAGREE = "peaks-disagree"
    """The allocator and its events in the trace report different peaks."""
    DIFFERS_FROM_REFERENCE = "differs-from-reference"
    """Kernels or ops that only the module or only its reference runs."""
    KERNEL_EXPLAINED = "kernel-explained"
    """Nsight Compute's explanation of a kernel."""
    NO_DEVICE_ACTIVITY = "no-device-activity"
    """The recording holds no kernel and no copy."""
    NO_CUDA_CALLS = "no-cuda-calls"
    """The recording holds device work but no CUDA call."""
    UNKNOWN_SCHEMA = "unknown-schema"
    """The export has a schema that ttprof does not know."""
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
    """The target could not be written."""
    EMPTY = "empty"
    """The file is empty."""
    TRUNCATED = "truncated"
    """The file breaks off."""
    CORRUPT = "corrupt"
    """The file is damaged."""
    NOT_A_TRACE = "not-a-trace"
    """The file is something else."""
    NO_EVENTS = "no-events"
    """The file is a trace without a single event."""
    UNSUPPORTED = "unsupported"
    """A format, a schema or a value that ttprof does not know."""
    IMPOSSIBLE_VALUES = "impossible-values"
    """A value in the file is impossible, such as an end before its start."""
    LOCKED = "locked"
    """Another process is still writing the file."""
    NOT_FOUND = "not-found"
    """There is no such file, run or iteration."""
    NOT_RECORDED = "not-recorded"
    """No trace of the case was recorded."""
    OUTSIDE_LOG_DIRECTORY = "outside-log-directory"
    """The path of the trace leaves the log directory."""
    NOT_COMPARABLE = "not-comparable"
    """The other run has no such case."""
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
