"""Stable codes for verdicts, notes and trace errors, next to the messages that people read.

Program logic depends on these codes and never on the wording of a message, which may change at any time. The values
are part of the JSON of results and of JUnit's ``type``, so they must not change.
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
    """The subject of an expectation."""

    RUN = "run"
    """The case as a whole: whether it ran, or why it did not."""
    LIMIT = "limit"
    """A limit on a metric (``expect``)."""
    KERNELS = "kernels"
    """A kernel budget (``expect_kernel``)."""
    FINITE = "finite"
    """The output holds no NaN or Inf, or only those that ``allow_nonfinite`` accepts."""
    TOLERANCE = "tolerance"
    """The error of the output relative to its reference (``tolerance``)."""
    COMPARISON = "comparison"
    """The output can be compared with its reference at all."""
    INPUTS = "inputs"
    """The module leaves its inputs unmodified if the reference does."""
    GRADIENTS = "gradients"
    """The gradients of a backward pass are finite and within tolerance."""
    DETERMINISM = "determinism"
    """Repeated runs give bitwise identical outputs (``deterministic``)."""
    SCALING = "scaling"
    """A metric follows a growth law over a sweep (``expect_scaling``)."""
    BASELINE = "baseline"
    """The metrics have not regressed from a stored run."""
    TRACE = "trace"
    """The trace is complete: it holds everything that was recorded."""
    UNSTATED = "unstated"
    """The result was written before kinds existed."""


class VerdictCode(Code):
    """The reason for the status of a verdict."""

    # Limits and kernel budgets
    WITHIN_LIMIT = "within-limit"
    """The metric is within its limit."""
    OUTSIDE_LIMIT = "outside-limit"
    """The metric is outside its limit."""
    LIMIT_UNDECIDED = "limit-undecided"
    """The confidence interval of the metric spans the limit."""
    NOT_MEASURED = "not-measured"
    """The metric, or the kernels of a budget, could not be measured on this device."""
    NO_KERNEL_MATCHES = "no-kernel-matches"
    """The glob of a kernel budget matches no kernel of the trace."""

    # Numerics
    FINITE = "finite"
    """Every output value is finite."""
    CONSTANT_OUTPUT = "constant-output"
    """The output is finite but constant, so a tolerance check proves little."""
    NONFINITE = "nonfinite"
    """The output holds NaN or Inf."""
    NONFINITE_AFTER_TIMING = "nonfinite-after-timing"
    """The output was finite before the timed iterations but is not after them."""
    NONFINITE_AS_REFERENCE = "nonfinite-as-reference"
    """The output has NaN and Inf exactly where the reference has them, which the test allows."""
    NONFINITE_UNLIKE_REFERENCE = "nonfinite-unlike-reference"
    """The output has NaN or Inf, but not in the same places as the reference."""
    NONFINITE_WITHOUT_REFERENCE = "nonfinite-without-reference"
    """NaN and Inf are allowed, but the test has no reference that says where."""
    WITHIN_TOLERANCE = "within-tolerance"
    """The error is within the tolerance."""
    WITHIN_RAISED_TOLERANCE = "within-raised-tolerance"
    """The error is within a tolerance that was raised to the dtype's rounding or the reference's own error."""
    OUTSIDE_TOLERANCE = "outside-tolerance"
    """The error exceeds the tolerance."""
    REFERENCE_INACCURATE = "reference-inaccurate"
    """The reference's own error is too large, or its gradients are not finite, so it can't judge the module."""
    NO_REFERENCE = "no-reference"
    """The reference could not be run."""
    OWN_REFERENCE = "own-reference"
    """A float64 module would be compared with itself."""
    STRUCTURE_DIFFERS = "structure-differs"
    """The output and its reference differ in structure."""
    NOTHING_TO_COMPARE = "nothing-to-compare"
    """The output, or the set of gradients, has no values that can be compared with the reference."""
    NOT_TRIED = "not-tried"
    """The check was skipped because something that it needs could not be run."""
    DETERMINISTIC = "deterministic"
    """Repeated runs gave bitwise identical outputs."""
    NOT_DETERMINISTIC = "not-deterministic"
    """Repeated runs on the same inputs with the same seed gave different outputs."""
    INPUTS_CHANGED = "inputs-changed"
    """The module modifies an input in place and the reference does not."""

    # Gradients
    GRADIENTS_FINITE = "gradients-finite"
    """Every gradient is finite, and there was no reference to compare them with."""
    GRADIENTS_NONFINITE = "gradients-nonfinite"
    """A gradient holds NaN or Inf."""
    GRADIENTS_ZERO = "gradients-zero"
    """All gradients are zero, in the reference too."""
    NO_GRADIENT = "no-gradient"
    """The module or its reference yields no gradient to compare."""

    # Scaling
    FOLLOWS_LAW = "follows-law"
    """The metric follows the expected law."""
    BREAKS_LAW = "breaks-law"
    """The metric follows another law than the expected one."""
    ROUNDS_NOISY = "rounds-noisy"
    """The rounds at some sizes vary too much to decide."""
    TERMS_MIXED = "terms-mixed"
    """The linear and the quadratic term are of similar size."""
    NOT_SMOOTH = "not-smooth"
    """The growth is not smooth: the exponent varies too much from one size to the next."""
    OVERHEAD_DOMINATED = "overhead-dominated"
    """Constant overhead hides the growth, so larger sizes are needed."""
    ROUNDS_DISAGREE = "rounds-disagree"
    """The rounds support different laws."""

    # Baselines
    NOT_WORSE = "not-worse"
    """The metric is not worse than in the baseline."""
    REGRESSED = "regressed"
    """The metric is worse than in the baseline."""
    DRIFTED = "drifted"
    """The metric is worse than in the oldest of a series of runs."""
    IMPROVED = "improved"
    """The metric is better than in the baseline."""
    TOO_FEW_SAMPLES = "too-few-samples"
    """There are too few samples for a statistical test."""
    INPUTS_DIFFER = "inputs-differ"
    """The trial ran on different inputs in the baseline."""
    CPU_TIME_UNCHANGED = "cpu-time-unchanged"
    """Wall time got worse but CPU time did not: the machine may have been busy."""
    MACHINE_OVERLOADED = "machine-overloaded"
    """A sampled metric got worse on a machine that had more work than cores."""
    NO_LONGER_MEASURED = "no-longer-measured"
    """The baseline has a value, but this run could not measure it."""
    STORED_DIFFERENTLY = "stored-differently"
    """The unit, direction or statistic of the metric has changed since the baseline was saved."""
    NO_LONGER_RUN = "no-longer-run"
    """The trial is in the baseline but was not run."""
    NOT_IN_BASELINE = "not-in-baseline"
    """The trial was measured now but has no measurement in the baseline."""
    NEVER_MEASURED = "never-measured"
    """Neither the baseline nor this run measured the trial."""
    NOTHING_IN_COMMON = "nothing-in-common"
    """The two runs share no measurement."""
    UNLIKE_HARDWARE = "unlike-hardware"
    """The baseline was recorded on different hardware."""

    # Traces
    ITERATIONS_MISSING = "iterations-missing"
    """The trace does not hold every recorded iteration."""
    TRACE_INCOMPLETE = "trace-incomplete"
    """Part of the trace is missing or damaged; the reason lists what."""
    NO_KERNELS = "no-kernels"
    """The trace of a GPU run holds no kernel."""

    # The case as a whole
    SKIPPED = "skipped"
    """The user skipped the case (``skip``)."""
    MODULE_MISSING = "module-missing"
    """The model does not have the module, and the test is optional (``if_exists``)."""
    NOT_CALLED = "not-called"
    """The model's forward does not call the module."""
    RAISED = "raised"
    """The user's code raised an exception."""
    NO_INPUTS = "no-inputs"
    """The module's inputs could not be captured or synthesised."""
    TRACE_UNREADABLE = "trace-unreadable"
    """The trace of the case could not be read or written."""
    NSIGHT_FAILED = "nsight-failed"
    """An Nsight tool is missing, not permitted, or failed."""
    INTERRUPTED = "interrupted"
    """The run was interrupted before the case was finished."""
    REFUSED = "refused"
    """ttprof raised any other error of its own."""
    UNSTATED = "unstated"
    """The result was written before codes existed."""


class NoteCode(Code):
    """The subject of a note on a trial or a trace."""

    SEQ_LEN_SHORTENED = "seq-len-shortened"
    """Inferred inputs use a shorter sequence, because the model does not take the default one."""
    INPUTS_GUESSED = "inputs-guessed"
    """The inputs were synthesised because none could be captured."""
    INPUTS_CHANGED_IN_PLACE = "inputs-changed-in-place"
    """The module modifies its inputs in place."""
    WAITED = "waited"
    """Wall time is much longer than CPU time."""
    PEAKS_DISAGREE = "peaks-disagree"
    """Two measurements of peak memory differ."""
    DIFFERS_FROM_REFERENCE = "differs-from-reference"
    """The module and its reference do not run alike."""
    KERNEL_EXPLAINED = "kernel-explained"
    """Nsight Compute's explanation of a kernel's speed."""
    NO_DEVICE_ACTIVITY = "no-device-activity"
    """The Nsight Systems export holds no kernel and no copy."""
    NO_CUDA_CALLS = "no-cuda-calls"
    """The Nsight Systems export holds no CUDA API call, so kernels can't be attributed."""
    UNKNOWN_SCHEMA = "unknown-schema"
    """The Nsight Systems export has a schema version that ttprof was not tested with."""
    LAUNCHES_WITHOUT_KERNEL = "launches-without-kernel"
    """Incomplete trace: some kernel launches have no kernel."""
    GRAPH_LAUNCHES_WITHOUT_WORK = "graph-launches-without-work"
    """Incomplete trace: some CUDA graph launches have no device work."""
    STEPS_CUT = "steps-cut"
    """Incomplete trace: recording began or ended within an iteration."""
    RECORDS_DROPPED = "records-dropped"
    """Incomplete trace: the profiler reported that it dropped records."""
    PARTLY_UNREADABLE = "partly-unreadable"
    """Incomplete trace: the file is damaged, and only part of it could be read."""
    UNSTATED = "unstated"
    """The result was written before codes existed, or the code is not one of these."""


class TraceErrorCode(Code):
    """Why a trace could not be read or written."""

    UNREADABLE = "unreadable"
    """The operating system, or a process that reads the file, failed to read it."""
    UNWRITABLE = "unwritable"
    """The file could not be written."""
    EMPTY = "empty"
    """The file has no bytes."""
    TRUNCATED = "truncated"
    """The file ends too early."""
    CORRUPT = "corrupt"
    """The file is damaged: its content can't be decoded."""
    NOT_A_TRACE = "not-a-trace"
    """The file is intact but is not a trace."""
    NO_EVENTS = "no-events"
    """The trace does not hold a single event."""
    UNSUPPORTED = "unsupported"
    """The file uses a format, schema or value that ttprof does not support."""
    IMPOSSIBLE_VALUES = "impossible-values"
    """A value in the trace is not possible, such as a time that is not a number."""
    LOCKED = "locked"
    """Another process is still writing the file."""
    NOT_FOUND = "not-found"
    """No file, or no trace in a folder, exists at the path."""
    NOT_RECORDED = "not-recorded"
    """No trace of the case was recorded."""
    OUTSIDE_LOG_DIRECTORY = "outside-log-directory"
    """The trace of a run is outside the dashboard's log directory."""
    NOT_COMPARABLE = "not-comparable"
    """The base run has no trial to compare the trace with."""
    READER_MISSING = "reader-missing"
    """The package that reads this format is not installed."""


class Note(msgspec.Struct, frozen=True):
    """A message that matters regardless of the verdict, with its code."""

    code: NoteCode
    text: str

    def __post_init__(self) -> None:
        make_visible(self, "text")

    def __str__(self) -> str:
        return self.text
