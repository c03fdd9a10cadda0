"""Prepares the process for the families: torchvision's operators if its binary does not load, and a process group."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

_DEFINITIONS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def define_torchvision_operators() -> torch.library.Library | None:
    """Declare the operators that torchvision's Python code refers to, if its binary was built for another torch.

    PyPI has torchvision for CUDA only; with torch for CPUs its binary does not load, and then ``import torchvision``
    raises, although timm and transformers use none of its operators.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    try:
        torch.ops.load_library(next(Path(found.origin).parent.glob("_C*.so")))
    except (OSError, StopIteration):
        library = torch.library.Library("torchvision", "DEF")
        for definition in _DEFINITIONS:
            library.define(definition)
        return library
    return None


_TORCHVISION = define_torchvision_operators()  # at import: pytest imports this file before any family


@pytest.fixture(scope="module")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A gloo group of this process alone, for the wrapped families; other tests must not find it."""
    file = tmp_path_factory.mktemp("group") / "rendezvous"
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
