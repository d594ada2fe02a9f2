"""One command for a laptop: a Prefect server, its workers, everything deployed, figures for Prometheus; and a clean stop.

    lock the home -> server -> recover what a dead serve left -> deploy -> workers -> wait -> and backwards

A worker or server that dies is started again; the runs of a dead worker go on with the next one.
"""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate
from prefect.client.schemas.objects import FlowRun

from flows.serving import home as homes
from flows.serving import recovery
from flows.serving.children import Child
from flows.serving.deploy import Change, connect, deploy
from flows.serving.environment import environment_of
from flows.serving.plan import Plan
from flows.serving.ports import MARK, check_host, take_port
from flows.serving.processes import end_flow_processes
from flows.serving.schedule import next_runs
from schemas.errors import EngraphError
from schemas.notify import Notify

HEALTHY_WITHIN_S = 120.0
STOP_S = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Address:
    """Where to listen, and for which store."""

    store: str
    config: Path | None
    host: str
    port: int


class Laptop:
    """What `engraph serve` has started."""

    def __init__(self, address: Address, plan: Plan, notify: Notify, workers: int, say: Say) -> None:
        self.address, self.plan, self.notify, self.say = address, plan, notify, say
        self.home = homes.home_of(address.store)
        self.environment = environment_of(home=self.home, **vars(address))
        self.api = self.environment["PREFECT_API_URL"]
        self.ui = self.api.removesuffix("/api")
        listen = ["--host", address.host, "--port", str(address.port)]
        self.server = Child("server", ["server", "start", *listen], self.environment, self.home / "server.log")
        self.workers = [self._worker(number) for number in range(1, workers + 1)]

    def _worker(self, number: int) -> Child:
        pool = self.plan.definitions.work_pool
        arguments = ["worker", "start", "--pool", pool.name, "--type", pool.type, "--name", f"laptop-{number}"]
        return Child("worker", arguments, self.environment, self.home / f"worker-{number}.log")

    def client(self):
        return connect(self.api, self.environment.get("PREFECT_API_AUTH_STRING"))

    # -- start -------------------------------------------------------------------------------------------------------

    def start(self) -> list[Change]:
        """Start everything; returns what was deployed."""
        end_flow_processes(
            self.home, STOP_S
        )  # of a serve that died: nobody reads what they write, nobody could cancel them
        shutil.rmtree(self.home / "concurrency_leases", ignore_errors=True)  # nothing runs, so nothing holds a slot
        self.server.start()
        self.wait_healthy()
        changes = asyncio.run(self._prepare())
        for worker in self.workers:
            worker.start()
        return changes

    def wait_healthy(self) -> None:
        """Wait until the server answers.

        Raises:
            EngraphError: it ended instead, or takes too long.
        """
        until = time.monotonic() + HEALTHY_WITHIN_S
        while time.monotonic() < until:
            if not self.server.running():
                raise EngraphError(f"the Prefect server did not start: {self.server.last_words()}")
            try:
                if httpx.get(f"{self.api}/health", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                time.sleep(0.3)
        raise EngraphError(
            f"the Prefect server does not answer after {HEALTHY_WITHIN_S:.0f} s: {self.server.last_words()}"
        )

    async def _prepare(self) -> list[Change]:
        async with self.client() as client:
            await self._recover(client, self.plan, "engraph serve or its machine died")
            changes = await deploy(client, self.plan, self.notify, self.say)
            await recovery.free_slots(client, self.plan)
            await self._sign(client)
        return changes

    async def _recover(self, client: PrefectClient, plan: Plan, why: str, runs: list[FlowRun] | None = None) -> None:
        runs = await recovery.runs_in_the_middle(client, plan) if runs is None else runs
        await recovery.recover(client, await recovery.deployment_names(client, plan), runs, why, self.say)

    async def _sign(self, client: PrefectClient) -> None:
        """Leave a note on the server that says whose it is, for whoever finds the port taken."""
        await client.delete_variable_by_name(MARK) if await client.read_variable_by_name(MARK) else None
        about = {"pid": os.getpid(), "store": self.environment["ENGRAPH_STORE"]}
        await client.create_variable(VariableCreate(name=MARK, value=about))

    def next_runs(self) -> dict[str, str]:
        """deployment -> time of its next scheduled run; see `schedule.next_runs`."""
        return asyncio.run(self._ask(next_runs))

    async def _ask(self, question: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        async with self.client() as client:
            return await question(client, self.plan, *arguments)

    # -- run and stop ------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Start again what dies, until a signal comes."""
        while True:
            time.sleep(1.0)
            if not self.server.running():
                self.say("the Prefect server died and is started again; runs go on and report when it is back")
                self.server.start()
                self.wait_healthy()
            for worker in self.workers:
                if not worker.running():
                    self._replace(worker)

    def _replace(self, worker: Child) -> None:
        """Start a dead worker again. With several workers only missing heartbeats tell whose runs are dead."""
        self.say(f"a worker died and is started again: {worker.last_words()}")
        if len(self.workers) == 1:
            cut_off = self._in_the_middle()
            end_flow_processes(self.home, STOP_S)
            asyncio.run(self._ask(self._recover, "its worker died", cut_off))
        worker.start()

    def stop(self) -> None:
        """Stop runs, workers and server; runs that are cut off go on at the next start."""
        cut_off = self._in_the_middle()
        for worker in self.workers:
            worker.ask_to_stop()
        end_flow_processes(self.home, STOP_S)
        for worker in self.workers:
            worker.stop(STOP_S)
        end_flow_processes(self.home, 0)
        if cut_off:
            try:
                asyncio.run(self._ask(self._recover, "engraph serve was stopped", cut_off))
            except (EngraphError, httpx.HTTPError) as problem:
                self.say(f"runs that were stopped are found again at the next start ({problem})")
        self.server.stop(STOP_S)

    def _in_the_middle(self) -> list[FlowRun]:
        """Runs that a stop cuts off; none where no worker has started yet."""
        if not self.server.running() or not any(w.process for w in self.workers):
            return []
        try:
            return asyncio.run(self._ask(recovery.runs_in_the_middle))
        except (EngraphError, httpx.HTTPError):
            return []  # the server is dying too; the next start finds them


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal stop as Ctrl-C does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)  # stopping is in order and bounded: impatience would leave processes
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def serving(
    address: Address, plan: Plan, notify: Notify, workers: int, say: Say
) -> Iterator[tuple[Laptop, list[Change]]]:
    """Everything started, and everything stopped again however the block ends."""
    check_host(address.host)
    home = homes.home_of(address.store)
    with homes.held(home, {"pid": os.getpid(), "port": address.port}):
        port = take_port(address.host, address.port)
        homes.check_database(home, say)
        laptop = Laptop(Address(address.store, address.config, address.host, port), plan, notify, workers, say)
        try:
            yield laptop, laptop.start()
        finally:
            laptop.stop()
