"""Metrics over conversations or folds, and the fusion against single channels."""

import numpy as np
import pytest

from pipelines.evaluation import Question, Ranked, score
from pipelines.evaluation.ablation import ALONE, WITHOUT, Verdict, ablations, verdicts
from pipelines.evaluation.score import Scores
from pipelines.evaluation.spread import part_of, spread
from pipelines.recall import RecallParams
from schemas.errors import UsageError


def question(query_id: str, namespace: str | None) -> Question:
    return Question(query_id, "?", namespace, (f"{namespace}/1",), (), "all")


ASKED = [question("a1", "a"), question("a2", "a"), question("b1", "b"), question("c1", "c")]
FOUND = {"a1": Ranked(refs=[("a/1",)]), "a2": Ranked(), "b1": Ranked(refs=[("b/1",)]), "c1": Ranked()}


def test_the_spread_weighs_every_conversation_alike():
    found = spread(score(ASKED, FOUND, ks=(1,)).per_question, part_of(ASKED, "namespace"))["recall@1"]
    assert found.parts == {"a": 0.5, "b": 1.0, "c": 0.0}
    assert found.mean == pytest.approx(0.5) and found.sd == pytest.approx(np.std([0.5, 1, 0], ddof=1))


def test_folds_are_fixed_by_the_question_and_cover_all():
    many = [question(f"q{i}", None) for i in range(200)]
    parts = part_of(many, "5")
    assert parts == part_of(many[::-1], "5")
    assert sorted(set(parts.values())) == [f"fold {i}" for i in range(1, 6)]


@pytest.mark.parametrize("by", ["namespace", "1", "some"])
def test_what_cannot_be_folded_is_refused(by):
    with pytest.raises(UsageError, match="folds"):
        part_of([question("q", None)], by)


def test_an_ablation_has_each_channel_alone_and_the_fusion_without_it():
    params = RecallParams()
    found = ablations(params)
    alone = {name.removeprefix(ALONE) for name in found if name.startswith(ALONE)}
    without = {name.removeprefix(WITHOUT) for name in found if name.startswith(WITHOUT)}
    assert alone == without and len(alone) + len(without) == len(found)
    assert params not in found.values()


def scores_of(*found: float) -> Scores:
    """Of questions with one gold turn each, half of them temporal: found at once for 1, not at all for 0."""
    kinds = ["temporal", "single-hop"] * (len(found) // 2)
    questions = [Question(f"q{i}", "?", "n", (f"gold-{i}",), (), kind) for i, kind in enumerate(kinds)]
    ranked = {f"q{i}": Ranked(refs=[(f"gold-{i}",)] if hit else []) for i, hit in enumerate(found)}
    return score(questions, ranked)


def test_the_verdict_names_the_best_channel_of_each_category_and_how_sure_that_is():
    fusion = scores_of(1, 1, 0, 1, 0, 1)
    alone = {
        f"{ALONE}dense:leaf": [scores_of(0, 1, 0, 1, 0, 0)],
        f"{ALONE}lexical:leaf": [scores_of(1, 0, 1, 0, 0, 0)],
    }
    whole, one, temporal = verdicts([fusion], alone, ["recall@10", "no metric"])
    assert (whole.category, whole.n, whole.fusion, whole.best, whole.holds) == ("all", 6, 4 / 6, 2 / 6, True)
    assert (one.category, one.n, one.channel, one.fusion, one.best) == ("single-hop", 3, "dense:leaf", 1.0, 2 / 3)
    assert (temporal.channel, temporal.fusion, temporal.best) == ("lexical:leaf", 1 / 3, 2 / 3)
    assert not temporal.holds and temporal.low == -1.0 and temporal.high == 0.0
    assert whole.low < whole.fusion - whole.best < whole.high


def test_equal_means_are_as_good_whatever_the_order_they_were_summed_in():
    assert Verdict("all", 3, "recall@10", 0.1 + 0.2, "graph", 0.3, 0.0, 0.0).holds
    assert Verdict("all", 3, "recall@10", 0.3, "graph", 0.1 + 0.2, 0.0, 0.0).holds
