"""Units and the format of numbers."""

from __future__ import annotations

import pytest

from ttprof.units import COUNT, MB, MS, format_bytes, format_ns, format_rate, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (5.123, "5.12"),
        (51.234, "51.23"),
        (512.34, "512.3"),
        (7.73e-8, "7.73e-08"),
        (65536, "65,536"),
        (20_971_520.0, "20,971,520"),
        (2.0**53, "9,007,199,254,740,992"),
        (1.5e9 + 0.25, "1.50e+09"),
        (3.4e38, "3.40e+38"),
    ],
)
def test_significant_digits(value, text):
    assert significant(value) == text


def test_units_scale_and_format():
    assert MS.public(2_500_000) == 2.5
    assert MB.public(2**20) == 1
    assert MS.format(2.5) == "2.5 ms"
    assert COUNT.format(3) == "3"


def test_durations_and_sizes_choose_a_readable_unit():
    assert [format_ns(n) for n in (812, 3_100, 12_400_000, 2.5e9)] == ["812 ns", "3.10 µs", "12.40 ms", "2.50 s"]
    assert [format_bytes(n) for n in (512, 1536, 2**20, 2**31)] == ["512 B", "1.5 KiB", "1 MiB", "2 GiB"]
    rates = [format_rate(n) for n in (512, 1536, 6.28e9, 3.35e12)]
    assert rates == ["512 B/s", "1.54 kB/s", "6.28 GB/s", "3.35 TB/s"]
