"""Runs a Prefect command for as long as the process that started it lives: `python -m flows.serving.leash server start`.

Standard input is a pipe that nobody writes to. It ends when its other end dies, however it dies (SIGKILL too), and then this process stops
its flow runs and itself. Nothing is left behind, on any system, and no supervisor needs to be installed.
"""

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

from flows.serving.processes import end_flow_processes

GRACE_S = 10.0


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    if sys.argv[1] == "worker":
        end_flow_processes(Path(os.environ["PREFECT_HOME"]), GRACE_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Become `prefect` with the arguments given."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a process started in the background ignores it, and Prefect needs it
    threading.Thread(target=_end_with_parent, name="leash", daemon=True).start()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
