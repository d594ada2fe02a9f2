"""Rankings in, numbers out: what counts as found, what is left out, and how two results are compared."""

import numpy as np
import pytest

from pipelines.evaluation import Question, Ranked, compare, score
from schemas.errors import UsageError


def question(query_id="q1", refs=(), sessions=(), texts=(), category="all"):
    return Question(query_id, "?", "n", tuple(refs), tuple(sessions), category, gold_texts=tuple(texts))


def test_a_gold_ref_is_found_when_it_is_among_the_refs_of_the_first_k_hits():
    asked = [question(refs=["n/1", "n/2", "n/9"])]
    ranked = {"q1": Ranked(refs=[("n/5",), ("n/1", "n/2"), ("n/1",)])}
    found = score(asked, ranked, ks=(1, 2, 10)).metrics
    assert found["recall@1"] == 0 and found["recall@2"] == pytest.approx(2 / 3) == found["recall@10"]
    assert found["recall_any@2"] == 1 and found["recall_all@10"] == 0 and found["mrr"] == 0.5


def test_session_metrics_count_distinct_sessions_in_ranked_order():
    asked = [question(sessions=["n/a", "n/b"])]
    ranked = {"q1": Ranked(sessions=["n/a", "n/a", None, "n/a", "n/b", "n/c"])}
    found = score(asked, ranked, ks=(1, 2), granularity="session").metrics
    assert found["session_recall_all@1"] == 0 and found["session_recall_any@1"] == 1
    assert found["session_recall_all@2"] == 1 and found["session_ndcg@2"] == 1 and found["session_mrr"] == 1
    assert all(name.startswith("session_") for name in found)


def test_a_gold_passage_is_found_in_any_text_that_contains_it_whatever_its_white_space():
    asked = [question(texts=["The  mill\nstands by the river.", "It burnt down in 1871."])]
    texts = ["Nothing here.", "Mill\n\nThe mill stands by the river. Its owner ...", "The mill stands"]
    found = score(asked, {"q1": Ranked(texts=texts)}, ks=(1, 2, 3), granularity="passage").metrics
    assert [found[f"recall@{k}"] for k in (1, 2, 3)] == [0, 0.5, 0.5]


def test_refs_and_passages_of_one_question_add_up():
    asked = [question(refs=["n/1"], texts=["river"])]
    found = score(asked, {"q1": Ranked(refs=[("n/1",)], texts=["x", "the river"])}, ks=(1, 2)).metrics
    assert found["recall@1"] == 0.5 and found["recall@2"] == 1


def test_questions_without_gold_at_this_granularity_are_left_out_of_every_mean():
    asked = [question("q1", refs=["n/1"]), question("q2", sessions=["n/a"])]
    scores = score(asked, {"q1": Ranked(refs=[("n/1",)])}, ks=(1,))
    assert scores.n == 1 and scores.metrics["recall@1"] == 1
    assert scores.per_question["query_id"].to_pylist() == ["q1"]


def test_a_question_without_a_ranking_is_an_error_and_an_empty_ranking_is_a_zero():
    asked = [question("q1", refs=["n/1"]), question("q2", refs=["n/1"])]
    with pytest.raises(UsageError, match="q2"):
        score(asked, {"q1": Ranked(refs=[("n/1",)])})
    scores = score(asked, {"q1": Ranked(refs=[("n/1",)]), "q2": Ranked()}, ks=(1,))
    assert scores.metrics["recall@1"] == 0.5 == scores.metrics["mrr"]


def test_an_unknown_granularity_is_refused():
    with pytest.raises(UsageError, match="passage"):
        score([], {}, granularity="fact")


def test_categories_weigh_up_to_the_whole_and_intervals_hold_their_means():
    rng = np.random.default_rng(1)
    asked = [question(f"q{i}", refs=["n/1"], category="ab"[i % 3 == 0]) for i in range(90)]
    ranked = {q.query_id: Ranked(refs=[("n/1" if rng.random() < 0.5 else "n/2",)]) for q in asked}
    scores = score(asked, ranked, ks=(1,), seed=4)
    parts = [(scores.n_by_category[c], scores.by_category[c]["recall@1"]) for c in "ab"]
    assert sum(n for n, _ in parts) == scores.n == 90
    assert sum(n * value for n, value in parts) / 90 == pytest.approx(scores.metrics["recall@1"])
    for name, value in scores.metrics.items():
        low, high = scores.intervals[name]
        assert low < value < high
    assert scores.intervals_by_category["b"]["recall@1"][0] < scores.by_category["b"]["recall@1"]


def test_the_means_are_those_of_the_per_question_table():
    asked = [question(f"q{i}", refs=["n/1"]) for i in range(4)]
    ranked = {f"q{i}": Ranked(refs=[("n/0",)] * i + [("n/1",)]) for i in range(4)}
    scores = score(asked, ranked, ks=(1, 3))
    for name, value in scores.metrics.items():
        assert np.mean(scores.per_question[name].to_numpy()) == pytest.approx(value)
    assert scores.metrics["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_an_empty_labelled_set_scores_nothing():
    scores = score([], {}, ks=(1,))
    assert scores.n == 0 and np.isnan(scores.metrics["recall@1"]) and scores.per_question.num_rows == 0


def test_comparing_a_result_with_itself_gives_no_difference_and_with_a_better_one_a_positive_interval():
    asked = [question(f"q{i}", refs=["n/1"]) for i in range(60)]
    worse = score(asked, {f"q{i}": Ranked(refs=[("n/0",)] * (i % 4) + [("n/1",)]) for i in range(60)}, ks=(1, 5))
    better = score(asked, {f"q{i}": Ranked(refs=[("n/1",)]) for i in range(60)}, ks=(1, 5))
    same = compare(worse, worse)
    assert set(same["difference"].to_pylist()) == {0.0} == set(same["low"].to_pylist())
    rows = {row["metric"]: row for row in compare(worse, better).to_pylist()}
    assert rows["recall@1"]["difference"] == pytest.approx(0.75) and 0 < rows["recall@1"]["low"] < 0.75
    assert rows["recall@5"]["difference"] == 0


def test_a_comparison_pairs_by_query_id_not_by_order():
    asked = [question("q1", refs=["n/1"]), question("q2", refs=["n/1"]), question("q3", refs=["n/1"])]
    ranked = {"q1": Ranked(refs=[("n/1",)]), "q2": Ranked(), "q3": Ranked(refs=[("n/0",), ("n/1",)])}
    forth, back = score(asked, ranked, ks=(1,)), score(asked[::-1][:2], ranked, ks=(1,))
    compared = compare(forth, back)
    assert set(compared["difference"].to_pylist()) == {0.0} and set(compared["n"].to_pylist()) == {2}


def test_results_on_different_questions_cannot_be_compared():
    scores = [score([question(q, refs=["n/1"])], {q: Ranked()}, ks=(1,)) for q in ("q1", "q2")]
    with pytest.raises(UsageError, match="share no question"):
        compare(*scores)
