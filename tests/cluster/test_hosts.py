"""Hosts that can be cut off, and that Ray and Spark finish their work when one of them is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hosts import CUT_OFF_S, Host, Hosts, RayCluster, SparkCluster, wait_for, why_not

ANSWER = "import socket, sys; s = socket.create_server(('', 7000)); print(s.accept()[0].recv(9)); sys.exit()"
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 7000), timeout=2).send(b'hello')"
TASKS, SECONDS = 6, 1.0

RAY_JOB = """
import json, os, pathlib, sys, time, ray
folder, tasks, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
ray.init(log_to_driver=False)

@ray.remote(num_cpus=1, max_retries=4, scheduling_strategy="SPREAD")
def work(i):
    here = ray.util.get_node_ip_address()
    (folder / f"{here}-{i}.started").touch()
    time.sleep(seconds)
    return i, here

print(json.dumps(ray.get([work.remote(i) for i in range(tasks)], timeout=100)))
"""

SPARK_JOB = """
import json, pathlib, sys, time
from pyspark import SparkConf
from pyspark.sql import SparkSession
folder, tasks, seconds, settings = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
spark = SparkSession.builder.config(conf=SparkConf().setAll(settings.items())).getOrCreate()

def work(batches):
    import os, socket, time
    import pyarrow as pa
    here = os.environ["SPARK_LOCAL_IP"]
    for batch in batches:
        for i in batch["id"].to_pylist():
            (folder / f"{here}-{i}.started").touch()
            time.sleep(seconds)
            yield pa.RecordBatch.from_pydict({"id": [i], "host": [here]})

rows = spark.range(0, tasks, 1, tasks).mapInArrow(work, "id long, host string").collect()
print(json.dumps([[r.id, r.host] for r in rows]))
spark.stop()
"""


def reaches(one: Host, other: Host) -> bool:
    """Whether a process of `one` can say something to a process of `other`."""
    answering = other.popen([sys.executable, "-c", ANSWER], stdout=subprocess.PIPE)
    try:
        for _ in range(20):
            time.sleep(0.1)
            try:
                one.run([sys.executable, "-c", ASK, other.address])
            except RuntimeError as problem:
                if "Connection refused" in str(problem):
                    continue
                return False
            return answering.communicate(timeout=5)[0] == b"b'hello'\n"
    finally:
        other.kill_all()
    return False


def test_hosts_reach_each_other_unless_one_is_cut_off(make_hosts):
    hosts = make_hosts(3)
    assert reaches(hosts[0], hosts[1]) and reaches(hosts[2], hosts[0])
    hosts[1].cut()
    assert not reaches(hosts[0], hosts[1]) and reaches(hosts[0], hosts[2]) and reaches(hosts[1], hosts[1])
    hosts[1].join()
    assert reaches(hosts[0], hosts[1])


def test_nothing_is_left_of_hosts_even_after_an_error():
    if reason := why_not():
        pytest.skip(reason)
    with pytest.raises(ZeroDivisionError), Hosts(2) as hosts:
        process = hosts[1].popen([sys.executable, "-c", "import time; time.sleep(600)"])
        wait_for(lambda: process.pid in hosts[1].pids(), "the process is there", 10)
        full = hosts[1].disk(1)
        raise ZeroDivisionError
    assert process.wait(5) != 0
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not [host for host in hosts if host.name in left or host.folder.exists()]
    assert str(full) not in Path("/proc/mounts").read_text()


def finish_with_a_worker_cut_off(hosts, job: str, environment: dict, folder: Path, *more: str) -> float:
    """Run `job` on host 0, cut the last host off as soon as it works; returns the seconds from the cut to the end."""
    lost, kept = hosts[2].address, hosts[1].address
    arguments = [sys.executable, "-c", job, folder, TASKS, SECONDS, *more]
    driver = hosts[0].popen(arguments, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = lambda: {f.name.split("-")[0] for f in folder.glob("*.started")}  # noqa: E731
    wait_for(lambda: started() == {lost, kept} or driver.poll() is not None, "both hosts work", 60)
    hosts[2].cut()
    begun = time.monotonic()
    out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err[-3000:]
    done = json.loads(out.splitlines()[-1])
    assert sorted(i for i, _ in done) == list(range(TASKS))
    assert lost in started() and kept in {host for _, host in done}
    print(f"{time.monotonic() - begun:.1f} s from the cut to the end, {hosts.memory() / 1e6:.0f} MB at the end")
    return time.monotonic() - begun


@pytest.mark.soak
def test_ray_finishes_its_tasks_when_a_worker_is_cut_off(make_hosts, tmp_path):
    hosts = make_hosts(3)
    with RayCluster(hosts) as cluster:
        seconds = finish_with_a_worker_cut_off(hosts, RAY_JOB, cluster.environment, tmp_path)
    assert seconds < CUT_OFF_S + TASKS * SECONDS + 10


@pytest.mark.soak
def test_spark_finishes_its_tasks_when_a_worker_is_cut_off(make_hosts, tmp_path):
    hosts = make_hosts(3)
    with SparkCluster(hosts) as cluster:
        settings = json.dumps(cluster.settings())
        seconds = finish_with_a_worker_cut_off(hosts, SPARK_JOB, cluster.environment, tmp_path, settings)
    assert seconds < CUT_OFF_S + TASKS * SECONDS + 10
