"""JUnit XML, which GitLab, Jenkins and most other CI systems read.

A case is a ``testcase``: FAIL is a failure, ERROR an error and SKIP is skipped, each with the code of its verdict as
``type``. INCONCLUSIVE passes with its reason in ``system-out``, and is a failure if the run was strict. Metrics are
properties of the ``testsuite``, because the schema of Jenkins' xunit plugin (junit-10.xsd) allows none on a
``testcase``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ttprof.report import sentences
from ttprof.report.outputs import write_text
from ttprof.result import CaseResult, SuiteResult
from ttprof.system.homes import struct_without_homes
from ttprof.verdict import Status

ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 forbids even as references (all outside its ``Char`` production)."""

ELEMENTS = {Status.FAIL: "failure", Status.INCONCLUSIVE: "failure", Status.ERROR: "error", Status.SKIP: "skipped"}


def write(results: Sequence[SuiteResult], path: Path) -> None:
    """Write one ``testsuite`` for each result. Raises ResultFileError if that fails."""
    write_text(path, xml(results))


def xml(results: Sequence[SuiteResult]) -> str:
    """The XML document of all *results*, without the name of the host and of home folders: CI systems publish it."""
    root = ElementTree.Element("testsuites")
    root.extend(_suite(struct_without_homes(result)) for result in results)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(result: SuiteResult) -> ElementTree.Element:
    inconclusive = result.count(Status.INCONCLUSIVE) if result.strict else 0
    suite = _element(
        "testsuite",
        name=result.name,
        tests=str(len(result)),
        failures=str(result.count(Status.FAIL) + inconclusive),
        errors=str(result.count(Status.ERROR)),
        skipped=str(result.count(Status.SKIP)),
        time=f"{sum(result.seconds.values()):.3f}",
        timestamp=result.started,
    )
    suite.append(_properties(result))
    suite.extend(_case(result, case) for case in result)
    return suite


def _properties(result: SuiteResult) -> ElementTree.Element:
    """The machine, and every metric of every trial as ``CASE/METRIC``."""
    properties = ElementTree.Element("properties")
    properties.append(_element("property", name="machine", value=sentences.machine(result)))
    for case in result:
        for trial in case.trials:
            name = sentences.trial_name(case, trial)
            for m in trial.measurements:
                properties.append(_element("property", name=f"{name}/{m.name}", value=repr(m.value)))
    return properties


def _case(result: SuiteResult, case: CaseResult) -> ElementTree.Element:
    testcase = _element("testcase", classname=result.name, name=case.module_name)
    reasons = list(sentences.problems(case))
    if case.status in result.failing or case.status is Status.SKIP:
        message = sentences.headline(case)
        outcome = _element(ELEMENTS[case.status], type=str(sentences.code(case)), message=message)
        outcome.text = _clean(_text(case, reasons))
        testcase.append(outcome)
    elif reasons:
        ElementTree.SubElement(testcase, "system-out").text = _clean(_text(case, reasons))
    return testcase


def _text(case: CaseResult, reasons: Sequence[tuple[Status, str]]) -> str:
    return "\n".join([*(f"{status}: {reason}" for status, reason in reasons), f"at {case.source}"])


def _element(tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.Element(tag, {name: _clean(value) for name, value in attributes.items()})


def _clean(text: str) -> str:
    """Replace the characters that XML forbids with U+FFFD."""
    return ILLEGAL.sub("\ufffd", text)
