"""Children: the server and the workers, each on a leash, with its output in a file, started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import EngraphError

LOG_BYTES = 10_000_000
RESTARTS, WITHIN_S = 5, 300.0


@dataclass
class Child:
    """One Prefect command."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen | None = None
    starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it.

        Raises:
            EngraphError: it has died too often of late.
        """
        now = time.monotonic()
        self.starts = [t for t in self.starts if now - t < WITHIN_S] + [now]
        if len(self.starts) > RESTARTS:
            raise EngraphError(
                f"the Prefect {self.name} died {RESTARTS} times in {WITHIN_S / 60:.0f} minutes: {self.last_words()}"
            )
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.serving.leash", *self.arguments],
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C of the terminal is for us: we stop the children in their order
            )

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self.process is not None and self.running():
            self.process.terminate()

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and after `grace_s` SIGKILL for all of its session."""
        if self.process is None:
            return
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def last_words(self) -> str:
        """The last line that says something, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-40:] if self.log.exists() else []
        spoken = [line.strip() for line in lines if line.strip(" |_\\/-")]
        return f"{spoken[-1][:200] if spoken else 'it said nothing'} (all of it: {self.log})"
