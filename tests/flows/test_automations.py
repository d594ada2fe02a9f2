"""Automations for real: an event goes in, a webhook on loopback is called; a run that falls silent is called crashed."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows.serving.automations import HEARTBEAT_SECONDS, SILENCE_SECONDS, ZOMBIES, automations
from schemas.notify import Notify
from tests.flows.prefect_server import engraph, environment, until

MAKE_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
block = CustomWebhookNotificationBlock(
    name="ops", url=sys.argv[1], json_data={"text": "{{subject}}: {{body}}", "token": "{{token}}"}, secrets={"token": "s3cret"}
)
block.save("ops", overwrite=True)
"""


@pytest.fixture(scope="module")
def webhook():
    """(address, bodies received) of an HTTP server on loopback."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/ops", received
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def told(served, webhook, tmp_path_factory):
    """The served server with the webhook's block, and all automations; what the webhook has received."""
    home = tmp_path_factory.mktemp("home")
    env = environment(served.home.parent / "flows", PREFECT_API_URL=served.api, PREFECT_HOME=str(home))
    subprocess.run([sys.executable, "-c", MAKE_BLOCK, webhook[0]], env=env, check=True, timeout=60)
    plan = served.home.parent / "flows" / "prefect.yaml"
    deploy = ("deploy", "--deployments", plan, "--json")
    done = engraph(*deploy, env={**env, "ENGRAPH_NOTIFY__BLOCK": "custom-webhook/ops"})
    assert done.returncode == 0, done.stderr
    made = {c["name"] for c in json.loads(done.stdout) if c["kind"] == "automation"}
    assert made == {a.name for a in automations(Notify(), uuid.uuid4())}
    yield webhook[1]
    done = engraph(*deploy, env=env)
    removed = {c["name"] for c in json.loads(done.stdout) if c["done"] == "removed"}
    assert removed == made - {ZOMBIES}
    assert "nobody is told" in done.stderr


def emit(served, event, resource, payload=None, related=()):
    body = {
        "id": str(uuid.uuid4()),
        "occurred": dt.datetime.now(dt.UTC).isoformat(),
        "event": event,
        "resource": resource,
        "related": list(related),
        "payload": payload or {},
    }
    served.ask("POST", "/events", json=[body])


STORE = {
    "prefect.resource.id": "engraph.store.0123abcd",
    "prefect.resource.name": "team memory",
    "engraph.store": "s3://memory/team",
}


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("engraph.gate.failed", "publishing gate failed"),
        ("engraph.recall.failed", "recall gate failed"),
        ("engraph.quarantine.high", "much in quarantine"),
    ],
)
def test_what_a_flow_reports_reaches_the_webhook_with_its_numbers(served, told, event, name):
    emit(served, event, STORE, {"share": 0.31})
    until(lambda: any(name in t["text"] for t in told), 30, lambda: f"{told}\n{served.words()}")
    [message] = [t for t in told if name in t["text"]]
    assert "team memory" in message["text"] and "0.31" in message["text"] and "s3://memory/team" in message["text"]
    assert message["token"] == "s3cret"
    assert "s3cret" not in served.words()


def test_a_run_that_does_not_start_in_time_is_told(served, told):
    pool = "/work_pools/engraph"
    served.ask("PATCH", pool, json={"is_paused": True})
    try:
        run = served.run("backfill")
        until(lambda: any("run late" in t["text"] for t in told), 60, lambda: f"{told}\n{served.state(run)}")
    finally:
        served.ask("PATCH", pool, json={"is_paused": False})
    assert served.wait(run)["type"] == "COMPLETED"


def test_a_run_that_falls_silent_is_called_crashed_and_its_slot_is_free(served, told):
    """With a shorter silence than in production, everything else is the same automation."""
    [automation] = [a for a in automations(Notify(), None, silence_s=10) if a.name == ZOMBIES]
    short = {**automation.model_dump(mode="json"), "name": "shorter"}
    made = served.ask("POST", "/automations/", json=short)
    served.ask("PATCH", "/work_pools/engraph", json={"is_paused": True})
    try:
        run = served.run("backfill")
        served.set_state(run, "PENDING")
        served.set_state(run, "RUNNING")
        assert sum(served.slots().values()) == 1
        tags = [{"prefect.resource.id": "prefect.tag.engraph", "prefect.resource.role": "tag"}]
        emit(served, "prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{run}"}, related=tags)
        state = served.wait(run, "CRASHED", within=45)
        assert "No heartbeat for 10 s" in state["message"]
        assert sum(served.slots().values()) == 0
    finally:
        served.ask("PATCH", "/work_pools/engraph", json={"is_paused": False})
        served.ask("DELETE", f"/automations/{made['id']}")


def test_a_block_that_is_not_there_is_named(served, tmp_path):
    plan = served.home.parent / "flows" / "prefect.yaml"
    env = environment(served.home.parent / "flows", PREFECT_API_URL=served.api, PREFECT_HOME=str(tmp_path))
    done = engraph("deploy", "--deployments", plan, env={**env, "ENGRAPH_NOTIFY__BLOCK": "slack-webhook/none"})
    assert done.returncode == 2 and "slack-webhook/none" in done.stderr and "Blocks" in done.stderr
    done = engraph("deploy", "--deployments", plan, env={**env, "ENGRAPH_NOTIFY__BLOCK": "somebody"})
    assert done.returncode == 2 and "notify.block" in done.stderr


def test_silence_is_several_heartbeats():
    assert SILENCE_SECONDS >= 3 * HEARTBEAT_SECONDS
