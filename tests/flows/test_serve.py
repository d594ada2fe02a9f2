"""`engraph serve` as a real process:

it comes up whole, says why when it cannot, stops without a trace, and finds cut-off runs again.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing

import httpx
import pytest

from flows.serving.home import check_database
from schemas.errors import EngraphError
from tests.flows.prefect_server import engraph, environment, running_serve, small_plan, until

SECRET = "nobody:else-knows-this"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return small_plan(tmp_path_factory.mktemp("plan"))


def refused(plan, store, *arguments, code=1, **more):
    """The one line with which `engraph serve` refuses to start."""
    done = engraph(
        "serve", "--store", store, "--deployments", plan, *arguments, env=environment(plan.parent, **more), timeout=30
    )
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("engraph: ") and "no corpus" not in line]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def test_everything_is_up_when_it_says_so(served):
    assert "nightly-ingest" in served.about["next_runs"]
    assert served.scheduled("nightly-ingest")
    assert not served.scheduled("backfill")
    assert "<title>Prefect" in httpx.get(served.about["ui"]).text
    assert "engraph_store_up" in httpx.get(served.about["metrics"]).text
    assert "no corpus is named" in served.errors.read_text()


def test_a_run_from_the_form_comes_to_its_end_in_a_worker(served):
    run = served.run("backfill", {"form": {"wait_for": None}})
    assert served.wait(run)["type"] == "COMPLETED", served.words()


def test_cancelling_a_run_ends_its_processes_within_15_seconds_and_frees_its_slots(served):
    run = served.run("backfill", {"form": {"wait_for": "never"}})
    until(lambda: served.slots()["tag:engraph-index"] == 1, 30, served.words)
    pids = [pid for pid in served.processes() if pid in _of_run(served, run)]
    assert pids
    served.set_state(run, "CANCELLING")
    assert served.wait(run, within=15)["type"] == "CANCELLED"
    until(lambda: not _of_run(served, run), 15)
    until(lambda: not any(served.slots().values()), 15, lambda: str(served.slots()))


def _of_run(served, run):
    from flows.serving.processes import flow_processes

    return flow_processes(served.home).get(run, [])


def test_a_killed_worker_is_replaced_and_its_run_goes_on(served):
    run = served.run("backfill", {"form": {"wait_for": "go-on"}})
    log = served.home.parent / "log.txt"
    begun = log.read_text().count("backfill begins") if log.exists() else 0
    until(lambda: log.exists() and log.read_text().count("backfill begins") == begun + 1, 30, served.words)
    [worker] = [pid for pid in served.children() if b"worker\0start" in _command_line(pid)]
    os.kill(worker, 9)
    until(lambda: log.read_text().count("backfill begins") == begun + 2, 45, served.words)
    (served.home.parent / "go-on").touch()
    assert served.wait(run)["type"] == "COMPLETED", served.words()
    assert any("its worker died" in (s["message"] or "") for s in served.states(run))


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as f:  # noqa: PTH123
        return f.read()


@pytest.mark.soak
def test_stopped_and_killed_runs_go_on_at_the_next_start_and_no_process_is_left(plan, tmp_path):
    store, log = tmp_path / "store", tmp_path / "log.txt"
    with running_serve(store, deployments=plan, PREFECT_SERVER_API_AUTH_STRING=SECRET) as serve:
        assert httpx.post(f"{serve.api}/flow_runs/filter", json={}).status_code == 401
        run = serve.run("backfill", {"form": {"wait_for": "go-on"}})
        until(lambda: log.exists() and log.read_text().count("begins") == 1, 30, serve.words)
        assert serve.stop() == 0
        assert not serve.processes()
    with running_serve(store, deployments=plan, PREFECT_SERVER_API_AUTH_STRING=SECRET) as serve:
        until(lambda: log.read_text().count("begins") == 2, 30, serve.words)
        cancelled = serve.run("backfill", {"form": {"wait_for": "never"}})
        serve.wait(cancelled, "RUNNING")
        serve.set_state(cancelled, "CANCELLING", force=True)
        serve.kill()
        until(lambda: not serve.processes(), 15, lambda: str(serve.processes()))
    with running_serve(store, deployments=plan, PREFECT_SERVER_API_AUTH_STRING=SECRET) as serve:
        until(lambda: log.read_text().count("begins") == 3, 30, serve.words)
        (tmp_path / "go-on").touch()
        assert serve.wait(run)["type"] == "COMPLETED", serve.words()
        assert serve.state(cancelled)["type"] == "CANCELLED"
        said = [s["message"] or "" for s in serve.states(run)]
        assert any("engraph serve was stopped" in m for m in said) and any("machine died" in m for m in said), said
        until(lambda: not any(serve.slots().values()), 10, lambda: str(serve.slots()))
        assert SECRET.split(":")[1] not in serve.words()


def test_a_port_that_is_taken_is_refused_with_who_has_it(served, plan, tmp_path):
    line = refused(plan, tmp_path / "store", "--port", served.api.split(":")[2].removesuffix("/api"))
    assert f"another engraph serve (process {served.about['pid']}, store {served.about['store']})" in line
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        line = refused(plan, tmp_path / "store", "--port", other.getsockname()[1])
    assert "another program" in line and "--port" in line


def test_a_home_that_is_in_use_is_refused_with_its_process(served, plan):
    line = refused(plan, served.about["store"], "--port", "0")
    assert f"another engraph serve (process {served.about['pid']}, port" in line and "PREFECT_HOME" in line


def test_another_host_than_loopback_is_refused_without_authentication(plan, tmp_path):
    line = refused(plan, tmp_path / "store", "--host", "0.0.0.0", code=2)
    assert "PREFECT_SERVER_API_AUTH_STRING=NAME:PASSWORD" in line


def test_a_port_of_the_system_is_refused(plan, tmp_path):
    done = engraph("serve", "--store", tmp_path / "s", "--port", "70000", env=environment(plan.parent))
    assert done.returncode == 2


@pytest.fixture
def database(tmp_path, monkeypatch):
    """A Prefect database with a schema version of our choice."""
    monkeypatch.delenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", raising=False)

    def write(revision):
        with closing(sqlite3.connect(tmp_path / "prefect.db")) as con:
            con.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)")
            con.execute("DELETE FROM alembic_version")
            con.execute("INSERT INTO alembic_version VALUES (?)", [revision])
            con.commit()
        return tmp_path

    return write


def test_a_database_of_a_newer_prefect_is_refused_and_an_older_one_is_announced(database):
    with pytest.raises(EngraphError, match=r"newer Prefect \(schema fedcba987654\).*PREFECT_HOME"):
        check_database(database("fedcba987654"), pytest.fail)
    said = []
    check_database(database("f416ea180ae1"), said.append)
    assert "older Prefect" in said[0]


def test_a_locked_or_damaged_database_is_refused(database, tmp_path):
    home = database("f416ea180ae1")
    with closing(sqlite3.connect(home / "prefect.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EngraphError, match="locked by another process"):
            check_database(home, pytest.fail)
    (home / "prefect.db").write_bytes(b"this is not a database, whatever its name says" * 50)
    with pytest.raises(EngraphError, match="is no database"):
        check_database(home, pytest.fail)
