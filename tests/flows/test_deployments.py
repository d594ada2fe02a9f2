"""`engraph deploy` on a real server: once makes everything, twice changes nothing, a change is brought in line and named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import flows.serving.deploy
from flows.serving.deploy import connect
from flows.serving.plan import find_plan, read_plan
from schemas.errors import UsageError
from schemas.notify import Notify
from tests.flows.prefect_server import SMALL_PLAN, engraph, environment, until

PLAN = find_plan(None)


@pytest.fixture
def deploy(served, tmp_path, monkeypatch):
    """Deploy a plan to the served server; what changed, by (kind, name). The small plan is put back at the end."""
    file = tmp_path / "prefect.yaml"
    monkeypatch.syspath_prepend(served.home.parent / "flows")

    async def apply(plan):
        async with connect(served.api) as client:
            return await flows.serving.deploy.deploy(client, plan, Notify(), lambda line: None)

    def run(change=lambda plan: None, **variables):
        plan = yaml.safe_load(SMALL_PLAN)
        change(plan)
        file.write_text(yaml.safe_dump(plan))
        return {(c.kind, c.name): c for c in asyncio.run(apply(read_plan(file, variables)))}

    yield run
    run()


def test_the_command_says_what_it_did_and_the_second_time_that_is_nothing(served, tmp_path):
    file = tmp_path / "prefect.yaml"
    file.write_text(SMALL_PLAN)
    env = environment(served.home.parent / "flows", PREFECT_API_URL=served.api, PREFECT_HOME=str(tmp_path / "home"))
    done = engraph("deploy", "--deployments", file, "--json", env=env)
    assert done.returncode == 0, done.stderr
    changes = json.loads(done.stdout)
    assert {c["kind"] for c in changes} == {"work pool", "work queue", "tag limit", "deployment", "automation"}
    assert {c["done"] for c in changes} == {"unchanged"}, changes


def test_deploying_again_changes_nothing_and_keeps_the_scheduled_runs(served, deploy):
    before = {r["id"] for r in served.scheduled("nightly-ingest")}
    done = deploy()
    assert {c.done for c in done.values()} == {"unchanged"}, done
    assert {r["id"] for r in served.scheduled("nightly-ingest")} == before != set()


def test_changed_limits_priorities_and_schedules_are_updated_and_nothing_else_is(served, deploy):
    def change(plan):
        plan["definitions"]["tag_limits"]["engraph-index"] = 3
        plan["definitions"]["work_queues"][1]["priority"] = 7
        plan["deployments"][1]["concurrency_limit"] = {"limit": 4, "collision_strategy": "ENQUEUE"}

    done = deploy(change, ENGRAPH_CRON_NIGHTLY_INGEST="30 3 * * *", ENGRAPH_CRON_TIMEZONE="Europe/Berlin")
    updated = {key for key, c in done.items() if c.done == "updated"}
    assert updated == {
        ("tag limit", "engraph-index"), ("work queue", "backfill"), ("deployment", "backfill"), ("deployment", "nightly-ingest"),
    }  # fmt: skip
    assert "1 -> 3" in done["tag limit", "engraph-index"].detail
    assert served.deployment("backfill")["global_concurrency_limit"]["limit"] == 4
    [schedule] = served.deployment("nightly-ingest")["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("30 3 * * *", "Europe/Berlin")
    until(lambda: all(r["expected_start_time"][14:16] == "30" for r in served.scheduled("nightly-ingest")), 30)
    until(lambda: bool(served.scheduled("nightly-ingest")), 30)


def test_a_schedule_that_was_paused_in_the_ui_stays_paused_and_off_takes_it_away(served, deploy):
    found = served.deployment("nightly-ingest")
    path = f"/deployments/{found['id']}/schedules/{found['schedules'][0]['id']}"
    served.ask("PATCH", path, json={"active": False})
    deploy(ENGRAPH_CRON_NIGHTLY_INGEST="15 3 * * *")
    [schedule] = served.deployment("nightly-ingest")["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (False, "15 3 * * *")
    deploy(ENGRAPH_CRON_NIGHTLY_INGEST="off")
    assert served.deployment("nightly-ingest")["schedules"] == []


def test_prefects_own_command_deploys_the_same(served, deploy, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(SMALL_PLAN)
    env = environment(served.home.parent / "flows", PREFECT_API_URL=served.api, PREFECT_HOME=str(tmp_path / "home"))
    arguments = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = {name: c.detail for (_, name), c in deploy().items() if c.done != "unchanged"}
    assert not changed


def test_without_a_server_it_says_what_to_do(tmp_path):
    file = tmp_path / "prefect.yaml"
    file.write_text(SMALL_PLAN)
    unset = engraph("deploy", "--deployments", file, env=environment())
    assert unset.returncode == 2 and "set PREFECT_API_URL" in unset.stderr
    nobody = engraph("deploy", "--deployments", file, env=environment(PREFECT_API_URL="http://127.0.0.1:9/api"))
    assert nobody.returncode == 1 and "no Prefect server answers at http://127.0.0.1:9/api" in nobody.stderr


def test_the_repositorys_plan_is_what_others_rely_on():
    plan = read_plan(PLAN, {})
    names = ["nightly-ingest", "backfill", "evaluate-recall", "apply-retention", "compact-indexes", "forget"]
    assert [d.name for d in plan.deployments] == names
    for deployment in plan.deployments:
        module = deployment.name.replace("-", "_")
        assert deployment.entrypoint == f"flows.{module}:{module}"
        assert deployment.work_pool.name == plan.definitions.work_pool.name == "engraph"
        assert "engraph" in deployment.tags
    by_name = {d.name: d for d in plan.deployments}
    assert by_name["nightly-ingest"].concurrency_limit.collision_strategy == "CANCEL_NEW"
    assert [s.cron for s in by_name["nightly-ingest"].schedules] == ["0 2 * * *"]
    assert not by_name["backfill"].schedules and not by_name["forget"].schedules
    assert plan.definitions.tag_limits == {"engraph-embed": 2, "engraph-extract": 2, "engraph-index": 1}


def test_a_backfill_never_waits_in_the_nightly_runs_queue_and_never_takes_all_slots():
    plan = read_plan(PLAN, {})
    queues = {q.name: q for q in plan.definitions.work_queues}
    assert queues["nightly"].priority < queues["backfill"].priority < queues["maintenance"].priority
    assert all(q.concurrency_limit for q in queues.values())
    assert [d.name for d in plan.deployments if d.work_pool.work_queue_name == "nightly"] == ["nightly-ingest"]
    assert [d.name for d in plan.deployments if d.work_pool.work_queue_name == "backfill"] == ["backfill"]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ENGRAPH_CRON_NIGHTLY_INGEST": "at night"}, "five fields"),
        ({"ENGRAPH_CRON_TIMEZONE": "Middle/Earth"}, "no time zone"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_the_variables_name(variables, says):
    with pytest.raises(UsageError, match=f"{next(iter(variables))}.*{says}|{says}.*{next(iter(variables))}"):
        read_plan(PLAN, variables)


def test_a_misspelt_plan_and_a_missing_one_are_refused(tmp_path):
    file = tmp_path / "prefect.yaml"
    file.write_text(PLAN.read_text().replace("concurrency_limit: {limit: 1,", "concurrency_limit: {limits: 1,", 1))
    with pytest.raises(UsageError, match=r"concurrency_limit\.limit"):
        read_plan(file, {})
    with pytest.raises(UsageError, match="--deployments FILE"):
        find_plan(Path(os.devnull).with_name("none.yaml"))
