"""The fixed workload between the cases."""

from __future__ import annotations

import torch

from ttprof.run.yardstick import Yardstick


def test_each_part_takes_time_and_the_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    reading = Yardstick(torch.device("cpu")).read()
    assert reading.keys() == {"python", "matmul", "copy"} and all(time > 0 for time in reading.values())
    assert torch.get_num_threads() == before
