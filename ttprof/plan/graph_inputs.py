"""Inputs of graph neural networks: by the names of their arguments, or a batch of torch_geometric.

``batch_size`` is the number of graphs, and ``seq_len`` the number of nodes of each of them.
Source: https://pytorch-geometric.readthedocs.io/en/latest/get_started/introduction.html
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ttprof.plan import candidates
from ttprof.plan.inputs import Inputs, Size
from ttprof.plan.state import dtype_of

LIBRARY = "torch_geometric"
BATCH_NAMES = ("data", "batch", "graph", "graphs")
BATCH_TYPES = ("Data", "Batch")
LAZY_WIDTH = 16
"""The width of a node's features for layers that accept any in their first forward."""


def recognises(model: nn.Module) -> bool:
    """Whether the model's forward takes the edges of a graph, or a batch of torch_geometric."""
    return "edge_index" in candidates.parameters_of(model) or _takes_batch(model)


def of_model(model: nn.Module, size: Size) -> Iterator[Inputs]:
    """Graphs of as many nodes as the sequence length: tensors by the names of the arguments, or one batch."""
    for features in _features(model, size.batch_size * size.seq_len):
        graphs = _Graphs(features, _edges(size), size, _edge_width(model))
        if _takes_batch(model):
            yield Inputs("synthesised", args=(graphs.as_batch(),))
        else:
            yield Inputs("synthesised", kwargs=graphs.arguments(candidates.parameters_of(model)))


@dataclass(frozen=True)
class _Graphs:
    """Graphs of equal size in one disconnected graph: ``features`` by node, ``edges`` of shape (2, edges)."""

    features: torch.Tensor
    edges: torch.Tensor
    size: Size
    edge_width: int | None

    def arguments(self, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
        """A value for each required argument with a usual name, and for the optional ones that the graphs need."""
        count, dtype = self.edges.shape[1], self.features.dtype if self.features.is_floating_point() else torch.float32
        values = {
            "x": self.features,
            "edge_index": self.edges,
            "edge_weight": torch.rand(count).to(dtype),
            "edge_attr": torch.randn(count, self.edge_width or 1).to(dtype),
            "pos": torch.randn(len(self.features), 3).to(dtype),
            "batch": self._graph_of_node(),
            "batch_size": self.size.batch_size,
            "num_graphs": self.size.batch_size,
        }
        needed = {"edge_attr"} if self.edge_width else set()
        needed |= {"batch"} if self.size.batch_size > 1 else set()
        required = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
        return {name: values[name] for name in parameters if name in values and name in required | needed}

    def as_batch(self) -> Any:
        """A ``torch_geometric.data.Batch``, whose library the model has imported."""
        data = sys.modules[f"{LIBRARY}.data"]
        nodes = self.size.seq_len
        graphs = []
        for first in range(0, len(self.features), nodes):
            inside = (self.edges[0] >= first) & (self.edges[0] < first + nodes)
            edges = self.edges[:, inside] - first
            attributes = {"edge_attr": torch.randn(edges.shape[1], self.edge_width)} if self.edge_width else {}
            graphs.append(data.Data(x=self.features[first : first + nodes], edge_index=edges, **attributes))
        return data.Batch.from_data_list(graphs)

    def _graph_of_node(self) -> torch.Tensor:
        return torch.arange(self.size.batch_size).repeat_interleave(self.size.seq_len)


def _takes_batch(model: nn.Module) -> bool:
    """Whether the only required argument is a batch, by its type or name, and a layer is one of torch_geometric."""
    required = [p for p in candidates.parameters_of(model).values() if p.default is inspect.Parameter.empty]
    if len(required) != 1 or f"{LIBRARY}.data" not in sys.modules:
        return False
    kind = candidates.annotation_of(required[0])
    if kind not in BATCH_TYPES and required[0].name not in BATCH_NAMES:
        return False
    return any(type(m).__module__.partition(".")[0] == LIBRARY for m in model.modules())


def _features(model: nn.Module, nodes: int) -> Iterator[torch.Tensor]:
    """Features of *nodes* nodes: ids if the model begins with an embedding, else floats of the first layer's width."""
    if candidates.takes_ids(model):
        vocabulary = next(m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding))
        yield torch.randint(0, vocabulary, (nodes,))
        yield torch.randint(0, vocabulary, (nodes, 1))
        return
    yield torch.randn(nodes, _node_width(model)).to(dtype_of(model))


def _node_width(model: nn.Module) -> int:
    """The width of a node's features: of the model, or of its first layer that has one; any if that one is lazy."""
    for module in model.modules():
        for name in ("in_channels", "in_features"):
            width = getattr(module, name, None)
            width = width[0] if isinstance(width, tuple) and width else width
            if isinstance(width, int):
                return width if width > 0 else LAZY_WIDTH
    return LAZY_WIDTH


def _edge_width(model: nn.Module) -> int | None:
    """The width of an edge's features, or None if no layer uses any."""
    widths = (getattr(module, "edge_dim", None) for module in model.modules())
    return next((width for width in widths if isinstance(width, int) and width > 0), None)


def _edges(size: Size) -> torch.Tensor:
    """Edges of shape (2, edges): each node's neighbours in a ring, and as many random ones in the same graph."""
    nodes, count = size.seq_len, size.batch_size
    inner = torch.arange(nodes).repeat(count)
    first = torch.arange(count).repeat_interleave(nodes) * nodes
    source = first + inner
    following = first + (inner + 1) % nodes
    chord = first + torch.randint(0, nodes, (nodes * count,))
    forward = torch.stack([torch.cat([source, source]), torch.cat([following, chord])])
    return torch.cat([forward, forward.flip(0)], dim=1)
