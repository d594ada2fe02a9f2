"""`engraph serve` as a real process, for tests: start it, ask its API, run deployments, kill it.

    with running_serve(store) as serve:
        run = serve.run("backfill", {"form": {...}})
        assert serve.wait(run)["type"] == "COMPLETED"

`SMALL_PLAN` deploys two flows of a few lines that obey files, for tests of what is around flows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flows.serving.processes import flow_processes
from jobs.store.alive import alive

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0
PATIENCE_S = 150.0  # a statement of Prefect's server waits up to 60 s for SQLite's lock, and a request has several
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

SMALL_FLOWS = '''
"""Two flows that write down what they do in the folder of the store, and wait while a file says so."""
import os
import time
from pathlib import Path

from prefect import flow, task
from pydantic import BaseModel, Field


class Form(BaseModel):
    wait_for: str | None = Field(default=None, description="go on when this file of the folder is there")


def note(line):
    with (Path(os.environ["ENGRAPH_STORE"]).parent / "log.txt").open("a") as log:
        log.write(line + "\\n")


@task(tags=["engraph-index"])
def work(name, form):
    note(f"{name} begins")
    while form.wait_for and not (Path(os.environ["ENGRAPH_STORE"]).parent / form.wait_for).exists():
        time.sleep(0.1)
    note(f"{name} ends")


@flow(name="nightly-ingest")
def nightly_ingest(form: Form = Form()):
    work("nightly", form)


@flow(name="backfill")
def backfill(form: Form = Form()):
    work("backfill", form)
'''
SMALL_PLAN = """
definitions:
  work_pool: {name: engraph, type: process}
  work_queues:
    - {name: nightly, priority: 1, concurrency_limit: 1}
    - {name: backfill, priority: 2, concurrency_limit: 2}
  tag_limits: {engraph-index: 1}
pull: []
deployments:
  - name: nightly-ingest
    entrypoint: small_flows:nightly_ingest
    description: every night
    tags: [engraph]
    parameters: {form: {}}
    schedules: [{slug: nightly, cron: "0 2 * * *", timezone: UTC}]
    work_pool: {name: engraph, work_queue_name: nightly}
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
  - name: backfill
    entrypoint: small_flows:backfill
    description: days again
    tags: [engraph]
    parameters: {form: {}}
    schedules: []
    work_pool: {name: engraph, work_queue_name: backfill}
    concurrency_limit: {limit: 2, collision_strategy: ENQUEUE}
"""


def small_plan(folder: Path) -> Path:
    """Write the small flows and their plan into a folder; returns the plan's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small_flows.py").write_text(SMALL_FLOWS)
    plan = folder / "prefect.yaml"
    plan.write_text(SMALL_PLAN)
    return plan


def environment(modules: Path | None = None, **more: str) -> dict[str, str]:
    """This process's environment without what points at another server or store; `modules` holds flows."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ENGRAPH_"))}
    kept["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, (ROOT, modules))))
    return {**kept, **more}


def engraph(*arguments: object, env: Mapping[str, str], timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """A command of the command line, to its end."""
    return subprocess.run(command(*arguments), env=dict(env), capture_output=True, text=True, timeout=timeout)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from flows.command_line import main; main()", *map(str, arguments)]


@dataclass
class Serve:
    """A running `engraph serve`: its addresses, and what a test does with them."""

    process: subprocess.Popen
    about: dict[str, Any]
    errors: Path
    auth: tuple[str, str] | None = None

    @property
    def api(self) -> str:
        return self.about["api"]

    @property
    def home(self) -> Path:
        return Path(self.about["home"])

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """A request to Prefect's API; returns its JSON. 503 is a locked SQLite: asked again, as Prefect's client does."""
        for wait_s in (0.5, 1, 2, 4, 8, None):
            try:
                answer = httpx.request(method, f"{self.api}{path}", auth=self.auth, timeout=PATIENCE_S, **arguments)
            except httpx.TimeoutException as problem:
                raise AssertionError(f"{method} {path}: no answer within {PATIENCE_S} s: {self.words()}") from problem
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or wait_s is None:
                break
            time.sleep(wait_s)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        [found] = self.ask("POST", "/deployments/filter", json={"deployments": {"name": {"any_": [name]}}})
        return found

    def run(self, deployment: str, parameters: dict[str, Any] | None = None) -> str:
        """Start a run as the UI's button does; returns its id."""
        path = f"/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        return self.ask("POST", path, json={"state": {"type": "SCHEDULED"}, "parameters": parameters or {}})["id"]

    def state(self, run: str) -> dict[str, Any]:
        return self.ask("GET", f"/flow_runs/{run}")["state"]

    def states(self, run: str) -> list[dict[str, Any]]:
        """All states that a run has had, oldest first."""
        return sorted(self.ask("GET", "/flow_run_states/", params={"flow_run_id": run}), key=lambda s: s["timestamp"])

    def set_state(self, run: str, kind: str, *, force: bool = False) -> None:
        self.ask("POST", f"/flow_runs/{run}/set_state", json={"state": {"type": kind}, "force": force})

    def wait(self, run: str, *kinds: str, within: float = 60) -> dict[str, Any]:
        """The run's state when it is of one of these kinds; any final one by default."""
        until(lambda: self.state(run)["type"] in (kinds or FINAL), within, lambda: f"{self.state(run)}\n{self.words()}")
        return self.state(run)

    def scheduled(self, deployment: str) -> list[dict[str, Any]]:
        """Runs that a schedule has made and that wait for their time."""
        wanted = {
            "deployment_id": {"any_": [self.deployment(deployment)["id"]]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
        }
        return [r for r in self.ask("POST", "/flow_runs/filter", json={"flow_runs": wanted}) if r["auto_scheduled"]]

    def slots(self) -> dict[str, int]:
        """Slots that are taken, by the name of the limit."""
        return {c["name"]: c["active_slots"] for c in self.ask("POST", "/v2/concurrency_limits/filter", json={})}

    def words(self) -> str:
        """Everything that serve, server and workers have said."""
        logs = [self.errors, *sorted(self.home.glob("*.log"))]
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs if log.exists())

    def processes(self) -> list[int]:
        """Living processes of this serve: itself, its children, and all that works on flow runs."""
        of_runs = {pid for pids in flow_processes(self.home).values() for pid in pids}
        return [pid for pid in {self.process.pid, *self.children()} | of_runs if alive(pid)]

    def children(self) -> list[int]:
        """Server and workers, found by their PREFECT_HOME."""
        mine = f"PREFECT_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mine in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def stop(self, within: float = 60) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(within)

    def kill(self) -> None:
        """SIGKILL for serve, server, workers and runs at once, as when the machine loses its power."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10)


def until(true: Callable[[], bool], within: float, otherwise: Callable[[], str] = lambda: "") -> None:
    """Wait for something, not longer than `within` seconds."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not within {within} s: {otherwise()}"
        time.sleep(0.2)


@contextmanager
def running_serve(
    store: Path, *, port: int = 0, deployments: Path | None = None, arguments: tuple[str, ...] = (), **more: str
) -> Iterator[Serve]:
    """`engraph serve` over a store, ready for runs; stopped at the end if it still runs. `more` goes into its environment."""
    given = ["--deployments", str(deployments)] if deployments else []
    errors = store.with_name(f"{store.name}.serve.txt")
    env = environment(deployments.parent if deployments else None, **more)
    with errors.open("ab") as said:
        process = subprocess.Popen(
            command("serve", "--store", store, "--port", port, "--json", *given, *arguments),
            env=env, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield Serve(process, _about(process, errors), errors, _auth(env))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if process.stdout:
            process.stdout.close()


def _auth(env: Mapping[str, str]) -> tuple[str, str] | None:
    user, _, password = env.get("PREFECT_SERVER_API_AUTH_STRING", "").partition(":")
    return (user, password) if password else None


def _about(process: subprocess.Popen, errors: Path) -> dict[str, Any]:
    """The one JSON document, which is written when all is up."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            return json.loads("".join(lines))
    raise AssertionError(f"engraph serve ended with {process.wait()}: {errors.read_text()}")
