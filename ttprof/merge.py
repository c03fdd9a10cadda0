"""Makes one result of the shards of a suite, as ``ttprof merge`` does; refuses shards that don't belong together.

Must not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ttprof.codes import Kind, VerdictCode
from ttprof.errors import ResultFileError, SpecError, TtprofError
from ttprof.judge import environments
from ttprof.measurement import LooksMade
from ttprof.result import JOURNAL_FILE, RESULT_FILE, CaseResult, Environment, SuiteResult, TrialResult
from ttprof.result_file import load_all, moved
from ttprof.shards import Shard
from ttprof.verdict import Status, Verdict


class UnlikeShards(TtprofError):
    """Raised for shards that are incomplete or of unlike runs; ``differences`` holds one clause per difference."""

    def __init__(self, suite: str, differences: list[str]) -> None:
        super().__init__(suite, differences)
        self.suite = suite
        self.differences = differences

    def __str__(self) -> str:
        return f"{self.suite}: {'; '.join(self.differences)} (pass --force to merge them anyway)"


def read(path: Path) -> list[SuiteResult]:
    """The results of a run folder or a file, with absolute paths of their traces.

    Beside a file of several results, the folders of the runs are looked for where they were beside it in the run.

    Raises:
        ResultFileError: the file is missing or is not a result.
    """
    if (path / JOURNAL_FILE).exists() and not (path / RESULT_FILE).exists():
        raise ResultFileError("this run did not end, so it has no result: ttprof run --resume measures the rest", path)
    folder = path if path.is_dir() else path.parent
    results = load_all(path / RESULT_FILE if path.is_dir() else path)
    moves = [moved(result, folder / result.run_dir) if _lies_in(folder, result) else result for result in results]
    return [_absolute(result) for result in moves]


def merge(results: Sequence[SuiteResult], *, force: bool = False) -> list[SuiteResult]:
    """Make one result of the shards of each suite, in the order in which the suites first occur.

    Args:
        results: the results of all shards, in any order.
        force: merge unlike or incomplete shards too; ``merged_despite`` of the merged result lists the differences.

    Raises:
        UnlikeShards: a shard is missing, or they differ in commit, machine, software or options.
        ResultFileError: a result is not a shard, a shard or a case is there twice, or the shards are of runs in
            different numbers of parts.
    """
    suites: dict[str, list[SuiteResult]] = {}
    for result in results:
        suites.setdefault(result.name, []).append(result)
    return [_merge_suite(shards, force) for shards in suites.values()]


def overlooked(differences: Sequence[str]) -> str:
    """What ``--force`` merged in spite of, as a sentence; empty without differences."""
    return f"merged with --force although {'; '.join(differences)}" if differences else ""


def _merge_suite(results: list[SuiteResult], force: bool) -> SuiteResult:
    shards = _in_order(results)
    first = shards[0]
    differences = [*_missing(shards), *_unlike(shards)]
    if differences and not force:
        raise UnlikeShards(first.name, differences)
    return msgspec.structs.replace(
        first,
        started=min(shard.started for shard in shards),
        environment=_environment(shards, differences),
        cases=_cases(shards),
        strict=any(shard.strict for shard in shards),
        interrupted=any(shard.interrupted for shard in shards),
        seconds=dict(sum((Counter(shard.seconds) for shard in shards), Counter[str]())),
        shard="",
        suite_cases=[],
        merged_despite=differences,
        looks=_looks(shards),
    )


def _looks(shards: Sequence[SuiteResult]) -> LooksMade | None:
    made = [shard.looks for shard in shards if shard.looks is not None]
    if not made:
        return None
    return LooksMade(
        cases=sum(looks.cases for looks in made),
        seconds=sum(looks.seconds for looks in made),
        budget_s=sum(looks.budget_s for looks in made),
    )


def _in_order(results: list[SuiteResult]) -> list[SuiteResult]:
    """The shards of a suite by number. Raises ResultFileError if no merged result could be made of them."""
    name = results[0].name
    if any(not result.shard for result in results):
        raise ResultFileError(f"{name} is not a shard: ttprof merge takes the results of ttprof run --shard")
    try:
        shards = {id(result): Shard.parse(result.shard) for result in results}
    except SpecError as error:
        raise ResultFileError(f"{name}: {error}") from error
    if len(counts := sorted({shard.count for shard in shards.values()})) > 1:
        divided = " and ".join(map(str, counts))
        raise ResultFileError(f"{name}: these are shards of a run in {divided} parts: merge those of one run")
    for what, values in (
        ("shard", [result.shard for result in results]),
        ("case", [case.module_name for result in results for case in result]),
    ):
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            raise ResultFileError(f"{name}: {what} {', '.join(twice)} is there twice")
    return sorted(results, key=lambda result: shards[id(result)].index)


def _missing(shards: Sequence[SuiteResult]) -> Iterator[str]:
    """Describe the shards that are missing, and cases that no shard ran."""
    count = Shard.parse(shards[0].shard).count
    absent = {f"{index}/{count}" for index in range(1, count + 1)} - {shard.shard for shard in shards}
    ran = {case.module_name for shard in shards for case in shard}
    left = [name for name in shards[0].suite_cases if name not in ran]
    if absent:
        missing = ", ".join(sorted(absent, key=lambda text: Shard.parse(text).index))
        yield f"shard {missing} is missing, and with it {len(left)} of {len(shards[0].suite_cases)} cases"
    elif left:
        yield f"no shard ran {', '.join(left)}"


def _unlike(shards: Sequence[SuiteResult]) -> Iterator[str]:
    """Describe how each shard differs from the first one."""
    for shard in shards[1:]:
        if differences := [*_differences(shards[0], shard)]:
            yield f"shard {shard.shard} is unlike {shards[0].shard}: {', '.join(differences)}"


def _differences(base: SuiteResult, new: SuiteResult) -> Iterator[str]:
    fields: dict[str, Callable[[SuiteResult], object]] = {
        "commit": lambda result: result.environment.git_commit,
        "backend": lambda result: result.backend,
        "strict": lambda result: result.strict,
        "format": lambda result: result.version,
    }
    for name, value in fields.items():
        if value(base) != value(new):
            yield f"{name} was {value(base)!r}, now {value(new)!r}"
    if base.suite_cases != new.suite_cases:
        yield "the suite has other cases"
    yield from environments.hardware_differences(base.environment, new.environment)
    yield from environments.software_differences(base.environment, new.environment)


def _environment(shards: Sequence[SuiteResult], differences: Sequence[str]) -> Environment:
    """The environment of the first shard, with the names of all hosts, the highest load, and a commit that all share.

    Every report shows ``experimental``, so it also says what ``--force`` overlooked.
    """
    machines = [shard.environment for shard in shards]
    loads = [machine.load_average for machine in machines if machine.load_average is not None]
    commits = {machine.git_commit for machine in machines}
    return msgspec.structs.replace(
        machines[0],
        hostname=", ".join(dict.fromkeys(machine.hostname for machine in machines)),
        load_average=max(loads, default=None),
        git_commit=commits.pop() if len(commits) == 1 else None,
        experimental="; ".join(filter(None, (machines[0].experimental, overlooked(differences)))),
    )


def _cases(shards: Sequence[SuiteResult]) -> list[CaseResult]:
    """The cases in registration order, then those that only a baseline has. A case that no shard ran is an ERROR."""
    order = {name: index for index, name in enumerate(shards[0].suite_cases)}
    cases = [case for shard in shards for case in shard]
    cases += [_not_run(name) for name in order.keys() - {case.module_name for case in cases}]
    return sorted(cases, key=lambda case: order.get(case.module_name, len(order)))


def _not_run(name: str) -> CaseResult:
    verdict = Verdict(
        kind=Kind.RUN,
        code=VerdictCode.NOT_MEASURED,
        expectation="runs",
        status=Status.ERROR,
        reason="no shard that was merged ran it",
    )
    return CaseResult(module_name=name, module_type="", status=Status.ERROR, source="", verdicts=[verdict])


def _lies_in(folder: Path, result: SuiteResult) -> bool:
    """Whether the folder of a run lies in *folder*, as it lay in the working directory of the run."""
    return not Path(result.run_dir).is_absolute() and (folder / result.run_dir).is_dir()


def _absolute(result: SuiteResult) -> SuiteResult:
    def absolute(trial: TrialResult) -> TrialResult:
        path = trial.trace_path
        return trial if path is None else msgspec.structs.replace(trial, trace_path=str(Path(path).resolve()))

    cases = [msgspec.structs.replace(case, trials=[absolute(trial) for trial in case.trials]) for case in result]
    return result.only(cases)
