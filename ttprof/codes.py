"""Stable codes: every verdict, note and trace error carries one next to its message.

Programs decide on codes and never parse messages: a message may be reworded at any time, a code may not. Codes appear
in the JSON of results and in JUnit's ``type``.
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
    """The case as a whole: it runs, or the reason why not."""
    LIMIT = "limit"
    """A limit on a metric (``expect``)."""
    KERNELS = "kernels"
    """A kernel budget (``expect_kernel``)."""
    FINITE = "finite"
    """Every value of the output is finite."""
    TOLERANCE = "tolerance"
    """The numerical error of the output (``tolerance``, ``compare_with``)."""
    COMPARISON = "comparison"
    """The output and its reference can be compared at all: same structure, shapes and integer values."""
    INPUTS = "inputs"
    """The module leaves its inputs unchanged if the reference does."""
    GRADIENTS = "gradients"
    """The gradients of inputs and parameters (``backward``)."""
    DETERMINISM = "determinism"
    """The same inputs and seed give bitwise equal outputs (``deterministic``)."""
    SCALING = "scaling"
    """The growth of a metric over a sweep (``expect_scaling``)."""
    BASELINE = "baseline"
    """No metric is worse than in the baseline."""
    TRACE = "trace"
    """The trace is complete."""
    UNSTATED = "unstated"
    """Found in results written before kinds existed."""


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
    """No recorded kernel matches the glob of the budget."""

    # Numerics
    FINITE = "finite"
    """Every value of the output is finite."""
    CONSTANT_OUTPUT = "constant-output"
    """Finite, but every element has the same value, so a tolerance detects few errors."""
    NONFINITE = "nonfinite"
    """The output contains NaN or Inf."""
    NONFINITE_AFTER_TIMING = "nonfinite-after-timing"
    """The output was finite before the timed iterations and is not any more."""
    NONFINITE_AS_REFERENCE = "nonfinite-as-reference"
    """NaN and Inf are allowed, and occur exactly where the reference has them."""
    NONFINITE_UNLIKE_REFERENCE = "nonfinite-unlike-reference"
    """NaN and Inf are allowed, but not in these places: the reference has them elsewhere."""
    NONFINITE_WITHOUT_REFERENCE = "nonfinite-without-reference"
    """NaN and Inf are allowed, but there is no reference to compare their positions with."""
    WITHIN_TOLERANCE = "within-tolerance"
    """The error is within the tolerance."""
    WITHIN_RAISED_TOLERANCE = "within-raised-tolerance"
    """The error is within the tolerance after it was raised to the rounding floor or the reference's own error."""
    OUTSIDE_TOLERANCE = "outside-tolerance"
    """The error exceeds the tolerance."""
    REFERENCE_INACCURATE = "reference-inaccurate"
    """The reference's own error is too large to judge the module against it."""
    SAME_AS_REFERENCE = "same-as-reference"
    """The output is bitwise equal to the reference's in the module's dtype."""
    REFERENCE_NARROW = "reference-narrow"
    """The reference computes parts in a dtype too narrow to judge so small a tolerance."""
    REFERENCE_UNSTABLE = "reference-unstable"
    """Rounding moves the reference's own outcome as much as the module is off."""
    NO_REFERENCE = "no-reference"
    """The reference does not run."""
    OWN_REFERENCE = "own-reference"
    """The module is in float64 already, so its default reference would be itself."""
    STRUCTURE_DIFFERS = "structure-differs"
    """The output differs from its reference in structure, in shape, or in values that must be equal."""
    NOTHING_TO_COMPARE = "nothing-to-compare"
    """The output, or the set of gradients, contains no value to compare."""
    NOT_TRIED = "not-tried"
    """The check could not be run on scaled inputs."""
    DETERMINISTIC = "deterministic"
    """Every run gave bitwise equal outputs."""
    NOT_DETERMINISTIC = "not-deterministic"
    """Two runs with the same inputs and seed gave different outputs."""
    INPUTS_CHANGED = "inputs-changed"
    """The module modifies its inputs in place and its reference does not."""

    # Gradients
    GRADIENTS_FINITE = "gradients-finite"
    """The gradients are finite; there was no reference to compare them with."""
    GRADIENTS_NONFINITE = "gradients-nonfinite"
    """A gradient contains NaN or Inf."""
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
    """The rounds at one of the largest sizes differ too much."""
    TERMS_MIXED = "terms-mixed"
    """The linear and the quadratic term are of similar size."""
    NOT_SMOOTH = "not-smooth"
    """The exponent depends on a step that no smooth law explains."""
    OVERHEAD_DOMINATED = "overhead-dominated"
    """Most of the value at the largest size is constant overhead."""
    ROUNDS_DISAGREE = "rounds-disagree"
    """The odd rounds, the even rounds and all rounds together lead to different verdicts."""

    # Baselines
    NOT_WORSE = "not-worse"
    """The metric is not worse than in the baseline."""
    REGRESSED = "regressed"
    """The metric is worse than in the baseline."""
    DRIFTED = "drifted"
    """The metric has become worse since the oldest run, in steps too small to be regressions."""
    IMPROVED = "improved"
    """The metric is better than in the baseline."""
    TOO_FEW_SAMPLES = "too-few-samples"
    """There are too few samples to compare."""
    INPUTS_DIFFER = "inputs-differ"
    """The inputs differ from those of the baseline."""
    CPU_TIME_UNCHANGED = "cpu-time-unchanged"
    """The wall time is worse but the CPU time is not: the machine may have been busy."""
    MACHINE_OVERLOADED = "machine-overloaded"
    """A sampled metric is worse, but the machine's load exceeded its cores."""
    NO_LONGER_MEASURED = "no-longer-measured"
    """The metric is in the baseline but was not measured in this run."""
    STORED_DIFFERENTLY = "stored-differently"
    """The baseline stores the metric with another unit, direction or statistic."""
    NO_LONGER_RUN = "no-longer-run"
    """The case is in the baseline but did not run."""
    NOT_IN_BASELINE = "not-in-baseline"
    """The case or metric is not in the baseline."""
    NEVER_MEASURED = "never-measured"
    """Neither run measured the case."""
    NOTHING_IN_COMMON = "nothing-in-common"
    """The two runs have no metric in common."""
    UNLIKE_HARDWARE = "unlike-hardware"
    """The two runs were on different hardware."""

    # Traces
    ITERATIONS_MISSING = "iterations-missing"
    """The trace lacks recorded iterations."""
    TRACE_INCOMPLETE = "trace-incomplete"
    """Kernels, calls or records are missing from the trace."""
    NO_KERNELS = "no-kernels"
    """The trace of a GPU run contains no kernel at all."""

    # The case as a whole
    SKIPPED = "skipped"
    """The test was skipped with ``.skip(reason)``."""
    MODULE_MISSING = "module-missing"
    """The module is optional (``.if_exists()``) and the model does not have it."""
    NOT_CALLED = "not-called"
    """The model's forward does not call the module."""
    RAISED = "raised"
    """The module, its reference or the input factory raised an exception."""
    NO_INPUTS = "no-inputs"
    """Inputs could be neither captured nor synthesised."""
    TRACE_UNREADABLE = "trace-unreadable"
    """The recorded trace could not be read."""
    NSIGHT_FAILED = "nsight-failed"
    """An Nsight tool is missing, not permitted, or recorded nothing."""
    INTERRUPTED = "interrupted"
    """The run was interrupted before the case was finished."""
    REFUSED = "refused"
    """ttprof rejected the case with any other error of its own."""
    UNSTATED = "unstated"
    """Found in results written before codes existed."""


class NoteCode(Code):
    """What a note on a trial or a trace is about."""

    SEQ_LEN_SHORTENED = "seq-len-shortened"
    """The inferred inputs are shorter than the default sequence length."""
    INPUTS_GUESSED = "inputs-guessed"
    """The inputs were guessed: nothing says what the model takes, or the model does not run, or not this module."""
    INPUTS_LEFT_OUT = "inputs-left-out"
    """The model takes images beside a text, and the asked length leaves no room for one."""
    SEVERAL_CALLS = "several-calls"
    """The model's forward calls the module several times, and one of the calls is tested."""
    FORWARD_CALLED_DIRECTLY = "forward-called-directly"
    """The model runs the module's forward without calling the module."""
    CONTEXT_DIFFERS = "context-differs"
    """The model changes something around its call of the module, such as autocast, that the test lacks."""
    GRADIENTS_ENABLED = "gradients-enabled"
    """The forward runs only with gradients enabled, because it computes gradients itself."""
    MODEL_CHANGED = "model-changed"
    """The forward changes parameters or attributes of the model, which are restored."""
    INPUTS_CHANGED_IN_PLACE = "inputs-changed-in-place"
    """The module modifies its inputs in place, so each iteration gets a fresh copy."""
    WAITED = "waited"
    """Wall time is much longer than CPU time: the calls spent most of it waiting."""
    PEAKS_DISAGREE = "peaks-disagree"
    """The allocator and its events in the trace report different peaks."""
    DIFFERS_FROM_REFERENCE = "differs-from-reference"
    """Some kernels or ops run only in the module or only in its reference."""
    KERNEL_EXPLAINED = "kernel-explained"
    """Nsight Compute's analysis of a kernel."""
    NO_DEVICE_ACTIVITY = "no-device-activity"
    """The recording contains no kernel and no copy."""
    NO_CUDA_CALLS = "no-cuda-calls"
    """The recording contains device work but no CUDA call."""
    UNKNOWN_SCHEMA = "unknown-schema"
    """The export has a schema that ttprof does not know."""
    LAUNCHES_WITHOUT_KERNEL = "launches-without-kernel"
    """Incomplete trace: the kernels of some launches are missing."""
    GRAPH_LAUNCHES_WITHOUT_WORK = "graph-launches-without-work"
    """Incomplete trace: the work of some CUDA graph launches is missing."""
    STEPS_CUT = "steps-cut"
    """Incomplete trace: recording started or ended in the middle of an iteration."""
    RECORDS_DROPPED = "records-dropped"
    """Incomplete trace: the profiler reports that it dropped records."""
    PARTLY_UNREADABLE = "partly-unreadable"
    """Incomplete trace: the file is damaged, and only part of it could be read."""
    UNSTATED = "unstated"
    """Found in results written before codes existed."""


class TraceErrorCode(Code):
    """Why a trace could not be read or written."""

    UNREADABLE = "unreadable"
    """The operating system refused access to the file."""
    UNWRITABLE = "unwritable"
    """The target could not be written."""
    EMPTY = "empty"
    """The file is empty."""
    TRUNCATED = "truncated"
    """The file ends early."""
    CORRUPT = "corrupt"
    """The file is damaged."""
    NOT_A_TRACE = "not-a-trace"
    """The file is not a trace."""
    NO_EVENTS = "no-events"
    """The trace contains no events."""
    UNSUPPORTED = "unsupported"
    """ttprof does not support this format, schema or value."""
    IMPOSSIBLE_VALUES = "impossible-values"
    """The file contains impossible values, such as an end before its start."""
    LOCKED = "locked"
    """Another process is still writing the file."""
    NOT_FOUND = "not-found"
    """There is no such file, run or iteration."""
    NOT_RECORDED = "not-recorded"
    """No trace of the case was recorded."""
    OUTSIDE_LOG_DIRECTORY = "outside-log-directory"
    """The path of the trace is outside the log directory."""
    NOT_COMPARABLE = "not-comparable"
    """The other run has no such case."""
    READER_MISSING = "reader-missing"
    """The package that reads this format is not installed."""


class Note(msgspec.Struct, frozen=True):
    """A remark on a trial or a trace that applies whatever the verdict, with its code."""

    code: NoteCode
    text: str

    def __post_init__(self) -> None:
        make_visible(self, "text")

    def __str__(self) -> str:
        return self.text
