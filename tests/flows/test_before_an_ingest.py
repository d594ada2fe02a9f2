"""What a user asks before a long job: what is lacking on this machine, how long it will take, what it will cost."""

from __future__ import annotations

import json
import subprocess


def test_a_plan_estimates_and_writes_nothing(corpus, cli, tmp_path):
    corpus.fill()
    store = tmp_path / "store"
    ran = cli("ingest", corpus.folder, "--store", store, "--plan", "--json")
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)
    assert plan["records"] > 0 and plan["units"] > plan["records"] and plan["seconds"] > 0
    low, high = plan["ranges"]["seconds"]
    assert low <= plan["seconds"] <= high
    assert plan["usd"] > 0 and plan["assumptions"]
    assert not store.exists()


def test_a_plan_in_words_says_how_long_and_what_is_assumed(corpus, cli, tmp_path):
    corpus.fill()
    ran = cli("ingest", corpus.folder, "--store", tmp_path / "store", "--plan")
    assert ran.code == 0 and "per million units" in ran.out and "the store is empty" in ran.out


def test_doctor_says_what_the_cluster_profile_lacks_and_how_to_mend_it(engraph_script, tmp_path, monkeypatch):
    asked = [engraph_script, "doctor", "--store", tmp_path / "none", "--profile", "cluster", "--json"]
    wrong = {
        "JAVA_HOME": "/nowhere",
        "ENGRAPH_SPARK__MASTER": "spark://127.0.0.1:1",
        "ENGRAPH_RAY__ADDRESS": "127.0.0.1:2",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 1
    if checks["ray"]["ok"]:
        assert not checks["java"]["ok"] and "make setup-cluster" in checks["java"]["mend"]
        assert "no Spark master answers at spark://127.0.0.1:1" in checks["spark master"]["detail"]
        assert "[ray] address" in checks["ray address"]["mend"]
    else:
        assert checks["ray"]["mend"] == "make setup-cluster"


def test_doctor_does_not_ask_the_local_profile_for_a_cluster(engraph_script, tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    done = subprocess.run(
        [engraph_script, "doctor", "--store", tmp_path / "none"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
