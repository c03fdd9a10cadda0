"""Draws what ``ttprof doctor`` reports of a machine."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttprof.machine import DeviceReport, MachineReport, PeakCheck
from ttprof.units import format_bytes, significant

NUMBERS = ("stated", "measured", "share")


def render(machine: MachineReport) -> RenderableType:
    """The versions, the devices with their peaks, what is wrong with these, and the tools."""
    versions = " · ".join(f"{package} {version}" for package, version in machine.versions.items())
    tools = _table("tool", "version")
    for program, version in machine.tools.items():
        tools.add_row(program, version)
    remarks = [Text(remark) for device in machine.devices for remark in _remarks(device)]
    return Group(Text(versions, style="dim"), _devices(machine.devices), *remarks, Text(), tools)


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
