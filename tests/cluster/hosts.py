"""Several hosts on one machine: network namespaces joined by a bridge, and Ray or Spark running across them.

Every host has an address, a loopback and processes of its own, and sees the others only through its link, which a test can cut and
join. The bridge lives in a namespace too, so the machine's own network is left alone, and deleting the namespaces removes all.
Files, memory and process numbers are shared. Needs Linux, root and iproute2; making four hosts takes 0.2 s.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_made = itertools.count()
CUT_OFF_S = 25.0  # a host that is cut off is given up within this time under the settings below

RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # the head asks every node each 2 s and gives it up after three answers that took longer than 3 s: 9 to 15 s
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    # a node that lost the head ends itself after 20 s
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
    # Who waits for a task on a node that fell silent learns of it by a ping. By default that is sent after 300 s and waited for
    # 120 s, and until then the task is not tried again, even though the head has long declared the node dead.
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
}
SPARK_NODE = {"spark.worker.timeout": "15"}  # seconds; a worker reports four times in this
SPARK_DRIVER = {
    "spark.executor.heartbeatInterval": "4s",
    "spark.network.timeout": "16s",
    "spark.network.timeoutInterval": "4s",
    "spark.storage.blockManagerHeartbeatTimeoutMs": "16s",
    "spark.rpc.askTimeout": "16s",
    "spark.rpc.lookupTimeout": "16s",
    "spark.shuffle.io.maxRetries": "2",
    "spark.shuffle.io.retryWait": "2s",
    "spark.task.maxFailures": "4",
    "spark.ui.enabled": "false",
}


def why_not() -> str | None:
    """Why this machine cannot have hosts, or None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2: apt-get install iproute2"
    name = f"eg{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None if made.returncode == 0 else f"no network namespaces here: {made.stderr.strip()}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Host:
    """One namespace with its link to the bridge."""

    def __init__(self, name: str, address: str, switch: str, port: str) -> None:
        self.name, self.address = name, address
        self._switch, self._port = switch, port
        self._disks: list[Path] = []
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))  # short: Ray's sockets lie below it

    def popen(self, argv: Sequence[object], env: Mapping[str, str] | None = None, **more) -> subprocess.Popen:
        """Start a command on this host; `env` is added to the environment, output goes to a file of `folder` by default."""
        command = ["ip", "netns", "exec", self.name, *map(str, argv)]
        if "stdout" not in more:
            with (self.folder / f"{Path(str(argv[0])).name}.log").open("ab") as log:
                return self.popen(argv, env, stdout=log, stderr=subprocess.STDOUT, **more)
        return subprocess.Popen(command, env={**os.environ, **(env or {})}, start_new_session=True, **more)

    def run(self, argv: Sequence[object], env: Mapping[str, str] | None = None, *, timeout: float = 60) -> str:
        """What a command prints.

        Raises:
            RuntimeError: it failed, or took longer than `timeout` seconds.
        """
        process = self.popen(argv, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise RuntimeError(f"{argv[0]} on {self.name} took over {timeout} s: {out[-2000:]} {err[-4000:]}") from None
        if process.returncode:
            raise RuntimeError(
                f"{argv[0]} on {self.name} exited with {process.returncode}: {out[-2000:]} {err[-4000:]}"
            )
        return out

    def cut(self) -> None:
        """Pull the cable: nothing comes or goes any more, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._port, "down")

    def join(self) -> None:
        """Plug it in again."""
        _ip("-n", self._switch, "link", "set", self._port, "up")

    def pids(self) -> list[int]:
        """Processes on this host."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]

    def kill_all(self) -> None:
        """Pull the plug: SIGKILL to every process on this host, until none is left (some start others meanwhile)."""
        end = time.monotonic() + 10
        while (pids := self.pids()) and time.monotonic() < end:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def disk(self, megabytes: int) -> Path:
        """A folder on a disk of its own that is soon full."""
        folder = self.folder / f"disk{len(self._disks)}"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
        self._disks.append(folder)
        return folder

    def clear(self) -> None:
        """End everything here and take the disks and the folder away."""
        self.kill_all()
        for disk in self._disks:
            subprocess.run(["umount", "-l", disk], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        """The ends of what its commands printed, for messages."""
        return "\n".join(f"-- {f}\n{f.read_text(errors='replace')[-1500:]}" for f in self.folder.glob("*.log"))


class Hosts:
    """`with Hosts(3) as hosts: hosts[0].run(["ping", ...])`. Leaving ends all processes there and removes all of it."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._prefix = f"eg{os.getpid()}x{next(_made)}"
        self._hosts: list[Host] = []

    def __enter__(self) -> Hosts:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        switch = f"{self._prefix}s"
        network = f"10.77.{os.getpid() % 250 + 1}"
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for i in range(self._n):
            name, port, address = f"{self._prefix}h{i}", f"port{i}", f"{network}.{i + 1}"
            _ip("netns", "add", name)
            self._hosts.append(Host(name, address, switch, port))
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            host.clear()
        for name in [*(host.name for host in self._hosts), f"{self._prefix}s"]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def __getitem__(self, i: int) -> Host:
        return self._hosts[i]

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def memory(self) -> int:
        """Bytes of memory of all processes on all hosts (proportional: what they share counts once)."""
        total = 0
        for pid in (pid for host in self._hosts for pid in host.pids()):
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
        return total


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return when the condition holds; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


class RayCluster:
    """Ray with its head (no CPUs for tasks) on the first host and one CPU on each other; `environment` is for every client."""

    def __init__(self, hosts: Hosts, *, object_store: int = 100_000_000, settings: Mapping[str, str] = RAY) -> None:
        self.hosts, self.address = hosts, f"{hosts[0].address}:6379"
        self.object_store = object_store
        self.environment = {**settings, "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_ADDRESS": self.address}

    def __enter__(self) -> RayCluster:
        self._start(self.hosts[0], "--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false")
        with ThreadPoolExecutor() as pool:  # 3 s of importing each
            list(pool.map(self.start_worker, list(self.hosts)[1:]))
        return self

    def start_worker(self, host: Host, *options: str, **environment: str) -> None:
        """Add a host to the cluster."""
        self._start(host, f"--address={self.address}", "--num-cpus=1", *options, **environment)

    def _start(self, host: Host, *options: str, **environment: str) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [ray, "start", *options, f"--node-ip-address={host.address}", f"--temp-dir={host.folder}",
                   f"--object-store-memory={self.object_store}", "--disable-usage-stats"]  # fmt: skip
        env = {k: v for k, v in self.environment.items() if k != "RAY_ADDRESS"}
        host.run(command, env | environment, timeout=90)

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.kill_all()


class SparkCluster:
    """Standalone Spark: the master on the first host, a worker with one core and 1 GiB on each other."""

    def __init__(self, hosts: Hosts, *, node: Mapping[str, str] = SPARK_NODE) -> None:
        import pyspark

        self.hosts, self.address = hosts, f"spark://{hosts[0].address}:7077"
        self.home = Path(pyspark.__file__).parent
        self.secret = secrets.token_hex(16)
        node = {**node, "spark.authenticate": "true", "spark.authenticate.secret": self.secret}
        self._options = " ".join(f"-D{name}={value}" for name, value in node.items())

    def settings(self) -> dict[str, str]:
        """What a driver on the first host sets."""
        return {
            **SPARK_DRIVER,
            "spark.master": self.address,
            "spark.driver.host": self.hosts[0].address,
            "spark.driver.bindAddress": self.hosts[0].address,
            "spark.executor.memory": "512m",
            "spark.authenticate": "true",
            "spark.authenticate.secret": self.secret,
        }

    @property
    def environment(self) -> dict[str, str]:
        return {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": self.hosts[0].address, "SPARK_HOME": str(self.home)}

    def __enter__(self) -> SparkCluster:
        self._start(self.hosts[0], "master.Master", "--port", "7077", "--webui-port", "8080")
        workers = list(self.hosts)[1:]
        for host in workers:
            self.start_worker(host)
        log = self.hosts[0].folder / "spark-class.log"
        wait_for(
            lambda: log.read_text().count("Registering worker") >= len(workers), f"workers\n{self.hosts[0].logs()}"
        )
        return self

    def start_worker(self, host: Host, **environment: str) -> subprocess.Popen:
        """Add a host to the cluster."""
        options = ("--cores", "1", "--memory", "1g", "--work-dir", host.folder / "work", "--webui-port", "8081")
        return self._start(host, "worker.Worker", self.address, *options, **environment)

    def _start(self, host: Host, part: str, *options: object, **environment: str) -> subprocess.Popen:
        command = [self.home / "bin" / "spark-class", f"org.apache.spark.deploy.{part}", "--host", host.address]
        env = {
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": self._options,
            "SPARK_LOCAL_DIRS": str(host.folder),
            **self.environment,
            "SPARK_LOCAL_IP": host.address,
            **environment,
        }
        return host.popen([*command, *options], env)

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.kill_all()
