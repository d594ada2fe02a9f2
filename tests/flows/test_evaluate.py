"""`engraph evaluate`: one harness for recall, its channels and the published baselines."""

from __future__ import annotations

import json
import math

import pytest

import engraph
from jobs.store import ledger
from jobs.store.lake import Lake
from pipelines.evaluation.baselines import BASELINES
from tests.flows.talks import write_talks

NOW = "2026-02-01T00:00:00"


@pytest.fixture(scope="module")
def talks(tmp_path_factory, ingest):
    """(labelled file, store)"""
    folder = tmp_path_factory.mktemp("evaluate")
    file = write_talks(folder / "talks.json")
    ingest(file, store=folder / "store")
    return file, folder / "store"


@pytest.fixture(scope="module")
def evaluated(talks, cli):
    """Recall, every baseline, every channel and the spread over conversations, in one run."""
    file, store = talks
    arguments = ("--ablate", "--baselines", "all", "--folds", "namespace", "--json", "--now", NOW)
    ran = cli("evaluate", "locomo", file, "--store", store, *arguments)
    assert ran.code == 0, ran.err
    return ran.json


def test_metrics_latency_and_confidence_come_together(evaluated):
    assert evaluated["n"] == 6 and evaluated["ranking"] == "recall" and evaluated["tuned"] is None
    assert evaluated["metrics"]["recall@10"] > 0.8 and evaluated["metrics"]["session_recall_all@3"] > 0.6
    assert {"multi-hop", "temporal", "single-hop"} == set(evaluated["by_category"])
    assert 0 < evaluated["latency_ms"]["after_encoding_p50"] <= evaluated["latency_ms"]["p50"]
    confidence = evaluated["confidence"]
    assert (confidence["answerable"], confidence["unanswerable"]) == (6, 2)
    assert 0 <= confidence["auroc"] <= 1 and sum(b["n"] for b in confidence["bins"]) == 8
    fold = evaluated["folds"]["recall@10"]
    assert set(fold["parts"]) == {"talk-1", "talk-2"}
    assert fold["mean"] == pytest.approx(sum(fold["parts"].values()) / 2)


def test_every_baseline_is_measured_over_the_same_questions(evaluated):
    rankings = evaluated["rankings"]
    assert set(BASELINES) < set(rankings)
    for name in BASELINES:
        measured = rankings[name]["metrics"]
        assert all(not math.isnan(value) for value in measured.values())
        assert measured["session_recall_all@10"] == 1, "ten sessions are more than there are"
        assert ("recall@10" in measured) == (name not in ("memgas", "max-over-turns"))


def test_the_ablation_sets_the_fusion_against_the_best_channel_of_each_category(evaluated):
    verdicts = evaluated["ablation"]
    assert {v["category"] for v in verdicts} == {"all", *evaluated["by_category"]}
    for v in verdicts:
        assert v["holds"] == (v["fusion"] > v["best"] - 1e-9)
        assert v["low"] <= v["fusion"] - v["best"] <= v["high"]
        assert v["best"] == pytest.approx(
            max(
                (({"all": r["metrics"]} | r["by_category"])[v["category"]][v["metric"]])
                for name, r in evaluated["rankings"].items()
                if name.startswith("only ")
            )
        )


def test_everything_measured_is_kept_in_the_ledger_under_its_ranking(evaluated, talks):
    rows = ledger.read(Lake(talks[1]), "evaluations").to_pylist()
    kept = {(r["ranking"], r["category"], r["metric"]): r for r in rows}
    for name, measured in evaluated["rankings"].items():
        for metric, value in measured["metrics"].items():
            assert kept[name, "all", metric]["value"] == value
    assert kept["recall", "temporal", "recall@10"]["n"] == 2
    assert kept["recall", "folds", "recall@10"]["n"] == 2
    points = [r for (_, _, metric), r in kept.items() if metric.startswith("reliability@")]
    assert sum(r["n"] for r in points if r["ranking"] == "recall") == 8
    with engraph.open(talks[1]) as store:
        sql = "SELECT count(*) FROM evaluations WHERE ranking = 'memgas' AND category = 'all'"
        assert store.connect().execute(sql).fetchone()[0] > 10


def test_two_rankings_are_compared_question_by_question(talks, cli):
    file, store = talks
    ran = cli("evaluate", "locomo", file, "--store", store, "--compare", "dense,recall", "--json", "--now", NOW)
    assert ran.code == 0, ran.err
    found = ran.json["compare"]
    assert (found["a"], found["b"]) == ("dense", "snapshot 1")
    for row in found["metrics"].values():
        assert row["difference"] == pytest.approx(row["b"] - row["a"]) and row["low"] <= row["high"]
    same = cli("evaluate", "locomo", file, "--store", store, "--compare", "1,1", "--json", "--now", NOW)
    assert {row["difference"] for row in same.json["compare"]["metrics"].values()} == {0.0}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--compare", "1,dance"), "dance"),
        (("--compare", "1"), "two sides"),
        (("--compare", "1,1", "--ablate"), "leave out"),
        (("--baselines", "memgas,hipporag9"), "hipporag9"),
        (("--folds", "0"), "--folds"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(talks, cli, arguments, told):
    file, store = talks
    ran = cli("evaluate", "locomo", file, "--store", store, *arguments)
    assert ran.code == 2 and told in ran.err and "Traceback" not in ran.err


def test_a_person_reads_a_table(talks, cli):
    file, store = talks
    ran = cli("evaluate", "locomo", file, "--store", store, "--baselines", "dense", "--folds", "2", "--now", NOW)
    assert ran.code == 0, ran.err
    assert "dense" in ran.out and "±" in ran.out and "AUROC" in ran.out and "after encoding" in ran.out


def test_all_baselines_are_those_that_rank_what_the_set_has_gold_for(talks, cli, tmp_path):
    _, store = talks
    paragraph = {"paragraph_text": "Nobody said so.", "is_supporting": True}
    hops = tmp_path / "hops.json"
    hops.write_text(json.dumps([{"id": "2hop__1", "question": "Who said so?", "paragraphs": [paragraph]}]))

    every = cli("evaluate", "multihop", hops, "--store", store, "--baselines", "all", "--json", "--now", NOW)
    one = cli("evaluate", "multihop", hops, "--store", store, "--baselines", "memgas", "--now", NOW)

    assert every.code == 0, every.err
    assert "memgas" not in every.json["rankings"] and {"dense", "bm25", "hipporag2"} < set(every.json["rankings"])
    assert "left out: the baseline memgas ranks sessions only" in every.err
    assert one.code == 2 and "memgas ranks sessions only" in one.err
