"""Leaves out of a case what it expects only on other types of device than that of the run, as SKIP with the reason."""

from __future__ import annotations

from dataclasses import replace

from ttprof import arguments, metrics
from ttprof.codes import Kind, VerdictCode
from ttprof.judge.limits import bound_of, phrase
from ttprof.spec import CaseSpec, KernelBudget, Limit
from ttprof.verdict import Status, Verdict


def applicable(case: CaseSpec, device: str) -> CaseSpec:
    """The case as it is run on a type of device: without the limits for others, and skipped if all of it is for others.

    The reason of an earlier ``skip`` stays. What is left out has no bound in its verdict, since none was checked.
    """
    if case.on and device not in case.on and case.skip_reason is None:
        case = replace(case, skip_reason=_reason(case.on, device), skip_code=VerdictCode.OTHER_DEVICE)
    stated: tuple[Limit | KernelBudget, ...] = (*case.limits, *case.kernel_budgets)
    elsewhere = [item for item in stated if item.on and device not in item.on]
    return replace(
        case,
        limits=arguments.limits_on(device, case.limits),
        kernel_budgets=tuple(budget for budget in case.kernel_budgets if budget not in elsewhere),
        left_out=tuple(_left_out(item, device) for item in elsewhere),
    )


def _left_out(item: Limit | KernelBudget, device: str) -> Verdict:
    expectation = _expectation(item)
    return Verdict(
        kind=Kind.LIMIT if isinstance(item, Limit) else Kind.KERNELS,
        code=VerdictCode.OTHER_DEVICE,
        expectation=expectation,
        status=Status.SKIP,
        reason=f"{expectation}: {_reason(item.on, device)}",
        metric=item.metric if isinstance(item, Limit) else None,
    )


def _expectation(item: Limit | KernelBudget) -> str:
    if isinstance(item, Limit):
        return phrase(item.metric, bound_of(item), metrics.find(item.metric).unit)
    return f"kernels {item.pattern}"


def _reason(on: tuple[str, ...], device: str) -> str:
    return f"only on {' and '.join(on)}; this run is on {device}"
