"""Runs TensorBoard without torch-tb-profiler, for log directories with more traces than that plugin can handle.

``python -m ttprof.dashboard.serve`` takes the arguments of ``tensorboard``. torch-tb-profiler starts one process per
trace under the log directory, all at once; a few hundred of them exhaust a machine.
"""

from __future__ import annotations

from typing import Any

EXCLUDED = "torch_tb_profiler"


def plugins() -> list[Any]:
    """List TensorBoard's plugins, without torch-tb-profiler."""
    from tensorboard import default

    return [plugin for plugin in default.get_plugins() if not getattr(plugin, "__module__", "").startswith(EXCLUDED)]


def main() -> None:
    """Start the server, as ``tensorboard.main`` does."""
    from absl import app
    from tensorboard import main_lib, program

    main_lib.global_init()
    server = program.TensorBoard(plugins=plugins())
    app.run(server.main, flags_parser=server.configure)


if __name__ == "__main__":
    main()
