"""Times by module and by class of modules."""

from __future__ import annotations

import kineto_files as k

from ttprof.trace.analyses import modules


def test_without_kernels_module_times_are_self_times_of_ops(attribute):
    attribution = attribute(
        [k.span("user_annotation", "module: net.0", 0, 10), k.op("mm", 1, 6), k.op("copy", 2, 2), k.op("x", 20, 8)]
    )
    (row,) = modules.tree(attribution)
    assert (row.forward_ns, row.kernel_count) == (6_000, 0)
    rest = modules.unattributed(attribution)
    assert (rest.measured, rest.time_ns, rest.without_module_ns) == ("ops", 8_000, 8_000)


def test_modules_by_class(attribute):
    rows = [
        k.span("python_function", f"nn.Module: {name}", ts, 10)
        for name, ts in (("Lin_0", 0), ("Lin_1", 20), ("Act_0", 40))
    ]
    attribution = attribute([*rows, k.op("mm", 1, 5), k.op("mm", 21, 6), k.op("relu", 41, 2)])
    classes = modules.by_class(modules.tree(attribution))
    assert [(c.name, c.modules, c.self_forward_ns) for c in classes] == [("Lin", 2, 11_000), ("Act", 1, 2_000)]


def test_an_index_is_not_a_module_class(attribute):
    paths = ("enc.layers.0", "enc.layers.0.up", "1.0", "net.v2.12")
    rows = [k.span("user_annotation", f"module: {path}", 20 * i, 10) for i, path in enumerate(paths)]
    attribution = attribute([*rows, k.op("mm", 1, 5)])
    assert {c.name for c in modules.by_class(modules.tree(attribution))} == {"layers.0", "up", "1.0", "v2.12"}
