"""Runs a Prefect command for as long as the process that started it lives: `python -m flows.serving.leash server start`.

Standard input is a pipe that nobody writes to. It ends when its other end dies, however it dies (SIGKILL too), and then this
process ends with it. A worker takes its flow runs along, at once and without a word to the server: what is still called
Running there is what the next start finds and goes on with.
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
        _kill_worker_and_runs()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker_and_runs() -> None:
    """The worker first: it would report its dead runs as crashed, or not, depending on whether the server ends before."""
    worker = os.getpid()
    if os.fork() == 0:
        os.kill(worker, signal.SIGKILL)
        end_flow_processes(Path(os.environ["PREFECT_HOME"]), 0)
        os._exit(0)
    time.sleep(GRACE_S)


def main() -> None:
    """Become `prefect` with the arguments given."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a process started in the background ignores it, and Prefect needs it
    threading.Thread(target=_end_with_parent, name="leash", daemon=True).start()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
