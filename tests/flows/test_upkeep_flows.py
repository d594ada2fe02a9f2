"""The Prefect flows of upkeep, run by Prefect itself against a server of the test's own."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

import engraph
from flows.apply_retention import apply_retention
from flows.compact_indexes import compact_indexes
from flows.forget import forget
from jobs.store import snapshots
from jobs.store.lake import Lake
from schemas.errors import UsageError
from schemas.forms import CompactForm, ForgetForm, RetentionForm

RETENTION = '[[retention]]\nnamespace = "ann"\ngranularity = ["turn"]\ndays = 1\n'


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def store(copied, monkeypatch):
    monkeypatch.setenv("ENGRAPH_STORE", str(copied[1]))
    monkeypatch.delenv("ENGRAPH_CONFIG", raising=False)
    return copied[1]


def told(key: str) -> str:
    """The newest text of an artifact, as the server has it."""
    found = httpx.get(f"{PREFECT_API_URL.value()}/artifacts/{key}/latest")
    assert found.status_code == 200, f"no artifact {key}"
    return found.json()["data"]


def names() -> set[str]:
    """Names of all flow runs."""

    async def ask():
        async with get_client() as client:
            return {run.name for run in await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=100)}

    return asyncio.run(ask())


def newest(store):
    return snapshots.current(Lake(store))


def test_retention_forgetting_and_compacting_run_as_flows_and_tell_what_they_did(store, copied):
    (copied[0].folder.parent / "engraph.toml").write_text(RETENTION)
    apply_retention(RetentionForm(dry_run=True))
    assert newest(store).number == 1
    apply_retention(RetentionForm(reason="the law"))
    snapshot = newest(store)
    assert (snapshot.number, snapshot.reason) == (2, "the law")
    forget(ForgetForm(what="namespace", name="ann", confirm="ann"))
    with engraph.open(store) as opened:
        assert opened.snapshot.number == 3 and {t["namespace"] for t in opened.table("turns").to_pylist()} == {"bo"}
    compact_indexes(CompactForm(keep=1))
    assert snapshots.numbers(Lake(store)) == [3]
    assert "13 units archived; the newest snapshot is 2" in told("apply-retention")
    assert "namespace ann, granularity turn, 1 days" in told("apply-retention")
    assert "Gone since snapshot 3" in told("forget") and "| turns | 13 |" in told("forget")
    assert "MB before" in told("compact-indexes")
    assert {"apply retention", "forget namespace ann", "compact, keep 1 snapshots"} <= names()


def test_what_is_not_there_fails_at_once_with_the_near_name(store):
    with pytest.raises(UsageError, match="did you mean ann"):
        forget(ForgetForm(what="namespace", name="anne", confirm="anne"))
    assert newest(store).number == 1
