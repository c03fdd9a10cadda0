"""The environment of handmade results."""

from __future__ import annotations

from ttprof.result import Environment

MACHINE = Environment(
    device="cpu",
    device_name="a processor",
    hostname="h",
    platform="p",
    cpu="c",
    cpu_count=2,
    threads=2,
    load_average=0.5,
    versions={"torch": "2.13.0"},
    git_commit=None,
)
