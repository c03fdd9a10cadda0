"""TensorBoard without torch-tb-profiler, for folders with more traces than that takes.

The arguments of TensorBoard enter by the command line (``python -m ttprof.dashboard.serve``); a server runs until it
is stopped. torch-tb-profiler starts a process for each trace under the log directory, all at once: some hundreds of
them stop a machine.
"""

from __future__ import annotations

from typing import Any

LEFT_OUT = "torch_tb_profiler"


def plugins() -> list[Any]:
    """TensorBoard's plugins but for that one."""
    from tensorboard import default

    return [each for each in default.get_plugins() if not getattr(each, "__module__", "").startswith(LEFT_OUT)]


def main() -> None:
    """As ``tensorboard.main``."""
    from absl import app
    from tensorboard import main_lib, program

    main_lib.global_init()
    server = program.TensorBoard(plugins=plugins())
    app.run(server.main, flags_parser=server.configure)


if __name__ == "__main__":
    main()
