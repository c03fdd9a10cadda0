"""Runs TensorBoard for ``ttprof view``: all of its pages only under the names of this machine.

``python -m ttprof.dashboard.serve`` takes the arguments of ``tensorboard``. With ``--without-torch-profiler`` as the
first one it leaves out torch-tb-profiler, which starts one process per trace under the log directory, all at once; a
few hundred of them exhaust a machine.
"""

from __future__ import annotations

import sys
from typing import Any

from ttprof.dashboard.hosts import Hosts

EXCLUDED = "torch_tb_profiler"
OPTION = "--without-torch-profiler"


def plugins() -> list[Any]:
    """List TensorBoard's plugins, without torch-tb-profiler."""
    from tensorboard import default

    return [plugin for plugin in default.get_plugins() if not getattr(plugin, "__module__", "").startswith(EXCLUDED)]


def make_server(app: Any, flags: Any) -> Any:
    """TensorBoard's own server on *app*, behind the check of the ``Host`` header."""
    from tensorboard import program

    return program.create_port_scanning_werkzeug_server(Hosts.of(flags).guard(app), flags)


def main() -> None:
    """Start the server, as ``tensorboard.main`` does."""
    from absl import app
    from tensorboard import default, main_lib, program
    from tensorboard.plugins import base_plugin

    is_reduced = OPTION in sys.argv[1:2]
    if is_reduced:
        del sys.argv[1]
    main_lib.global_init()
    chosen = plugins() if is_reduced else default.get_plugins()
    server = program.TensorBoard(plugins=chosen, server_class=make_server)
    try:
        app.run(server.main, flags_parser=server.configure)
    except base_plugin.FlagsError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
