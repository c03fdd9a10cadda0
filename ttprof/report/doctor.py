"""Draws what ``ttprof doctor`` reports of a machine."""

from __future__ import annotations

import itertools
from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.machine import CheckStatus, DeviceReport, Finding, MachineReport, PeakCheck
from ttprof.units import format_bytes, significant

NUMBERS = ("stated", "measured", "share")


STYLES = {
    CheckStatus.OK: "green",
    CheckStatus.WARNING: "yellow",
    CheckStatus.UNSAFE: "bold red",
    CheckStatus.UNKNOWN: "dim",
}


def render(machine: MachineReport) -> RenderableType:
    """The versions, the findings, the devices with their peaks, what is wrong with these, and what it comes to."""
    versions = " · ".join(f"{package} {version}" for package, version in machine.versions.items())
    remarks = [Text(remark) for device in machine.devices for remark in _remarks(device)]
    head: list[RenderableType] = [Text(versions, style="dim"), Text(), _findings(machine.findings), Text()]
    return Group(*head, _devices(machine.devices), *remarks, Text(), _conclusion(machine))


def _findings(findings: list[Finding]) -> Table:
    """The findings by group: what was seen and what was not, and below it what to change."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("seen", overflow="fold")
    for group, members in itertools.groupby(findings, key=lambda finding: finding.group):
        table.add_row(Text(group, style="bold"))
        for finding in members:
            status = Text(finding.status.value, style=STYLES[finding.status])
            table.add_row(Text(f"  {finding.check}"), status, _seen(finding))
    return table


def _seen(finding: Finding) -> Text:
    lines = [Text("; not seen: ".join(filter(None, (finding.seen, finding.unseen))))]
    lines += [Text(f"change: {finding.change}", style="cyan")] if finding.change else []
    return Text("\n").join(lines)


def _conclusion(machine: MachineReport) -> Text:
    """Whether times can be trusted, and the number of warnings and of unknowns."""
    counts = Counter(finding.status for finding in machine.findings)
    rest = [(counts[CheckStatus.WARNING], "warning", "warnings"), (counts[CheckStatus.UNKNOWN], "unknown", "unknown")]
    counted = "".join(f", {count} {one if count == 1 else many}" for count, one, many in rest if count)
    if machine.unsafe:
        names = ", ".join(finding.check for finding in machine.unsafe)
        return Text(f"Times measured now are unsafe: {names}{counted}", style="bold red")
    return Text(f"Nothing seen makes times unsafe{counted}", style="bold")


def _devices(devices: list[DeviceReport]) -> Table:
    table = _table("device", "name", "cache", "peak of", *NUMBERS)
    for device in devices:
        threads = f", {device.threads} threads" if device.threads is not None else ""
        described = (device.device, f"{device.name}{threads}", format_bytes(device.cache_bytes))
        table.add_row(*described, *(_cells(device.peaks[0]) if device.peaks else ()))
        for check in device.peaks[1:]:
            table.add_row("", "", "", *_cells(check))
    return table


def _cells(check: PeakCheck) -> tuple[str, ...]:
    values = (f"{significant(v)} {check.unit}" if v is not None else "-" for v in (check.stated, check.measured))
    return check.what, *values, "" if check.share is None else f"{100 * check.share:.0f} %"


def _remarks(device: DeviceReport) -> list[str]:
    if not device.in_table and not device.peaks:
        return [f"{device.device} is not in the table of devices: --peaks measures its peaks, as does a limit on sol"]
    return [f"{device.device}, {check.what}: {_remark(check)}" for check in device.peaks if check.off]


def _remark(check: PeakCheck) -> str:
    if check.share is not None and check.share > 1:
        return "faster than stated, so the table is wrong for this device"
    return "much slower than stated: the device is busy, throttled, or limited in power"


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in NUMBERS else "left")
    return table
