"""The published baselines against golden values, and what must hold of every one."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipelines.evaluation.baselines import BASELINES, Corpus
from pipelines.evaluation.baselines.hipporag import min_max, phrase, phrase_weights
from pipelines.evaluation.baselines.memgas import TEMPERATURE, accept, associations, seeded
from pipelines.recall.routing import entropy, entropy_weights

SIMILARITIES = np.array([[0.9, 0.5, 0.4, 0.3], [0.6, 0.55, 0.5, 0.45], [0.8, 0.78, 0.2, 0.1], [0.3] * 4])


def test_the_router_weighs_by_normalised_inverse_entropy():
    entropies = [entropy(row, TEMPERATURE) for row in SIMILARITIES]
    np.testing.assert_allclose(entropies, [0.730219, 1.348243, 0.859618, 1.386294], atol=1e-6)
    weights = entropy_weights(SIMILARITIES, TEMPERATURE, kept=None)
    np.testing.assert_allclose(weights, [0.537412, 0.031169, 0.431417, 0.000001], atol=2e-6)


def test_the_mixture_accepts_the_higher_component():
    values = np.array([0.92, 0.90, 0.88, 0.87, 0.55, 0.53, 0.52, 0.50, 0.49, 0.47, 0.45, 0.44])
    assert np.flatnonzero(accept(values)).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(accept(np.array([0.3]))).tolist() == [0]
    assert np.flatnonzero(accept(np.full(9, 0.5))).tolist() == [0], "nothing to tell apart: the best alone"


def test_seeds_are_the_best_scores_with_ties_and_never_negative():
    assert seeded(np.array([0.5, 0.2, 0.2, 0.1, -1.0]), 2).tolist() == [0.5, 0.2, 0.2, 0, 0]
    assert seeded(np.array([-0.5, 0.4]), 15).tolist() == [0, 0.4]


def test_sessions_are_associated_with_earlier_sessions_only_and_from_the_sixth_on():
    nodes = np.random.default_rng(0).normal(size=(8 * 4, 12))
    source, target = associations(nodes / np.linalg.norm(nodes, axis=1, keepdims=True))
    assert set(source // 4) == {5, 6, 7}
    assert (target // 4 < source // 4).all()


def test_phrases_are_weighed_by_the_facts_that_hold_them_over_the_passages_that_know_them():
    a, b, c, d = range(4)
    weights = phrase_weights(np.array([(a, b), (a, c), (c, d)]), np.array([1.0, 0.8, 0.6]), np.array([2, 1, 4, 1]))
    np.testing.assert_allclose(weights, [0.45, 1.0, 0.175, 0.6])
    kept = phrase_weights(np.array([(a, b), (a, c), (c, d)]), np.array([1.0, 0.8, 0.6]), np.array([2, 1, 4, 1]), 2)
    np.testing.assert_allclose(kept, [0, 1.0, 0, 0.6])


def test_phrases_keep_letters_of_any_script_and_equal_scores_are_all_one():
    assert phrase("  The U.S.A., 1962! ") == "the u s a 1962"
    assert phrase("東京タワー") == "東京タワー"
    assert min_max(np.array([2.0, 2.0])).tolist() == [1, 1]


WORDS = 64


def encode(texts: list[str]) -> np.ndarray:
    """A bag of hashed words of unit norm: texts with common words are near."""
    out = np.zeros((len(texts), WORDS), np.float32)
    for row, text in enumerate(texts):
        for word in "".join(c if c.isalnum() else " " for c in text.lower()).split():
            out[row, hashlib.blake2b(word.encode(), digest_size=2).digest()[0] % WORDS] += 1
        out[row, 0] += 0.1
    return out / np.linalg.norm(out, axis=1, keepdims=True)


TEXTS = [
    "the red boat lies in the harbour of oslo", "tomatoes grow in the greenhouse", "carla repairs a telescope",
    "the train to grenoble was late", "bread needs a sourdough starter", "the cello was sold for money",
    "dmitri bought the red boat", "bees fly from april to october",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Eight sessions of one or two turns; what the triples say is in no text of their session."""
    leaves = [(i, part) for i, text in enumerate(TEXTS) for part in (text, f"well {text}")]
    return Corpus(
        texts=TEXTS,
        vectors=encode(TEXTS),
        leaf_vectors=encode([text for _, text in leaves]),
        leaf_item=np.array([i for i, _ in leaves]),
        summaries=encode(TEXTS),
        keywords=encode([" ".join(t.split()[-2:]) for t in TEXTS]),
        facts=["", "", "", "", "", "", "", "Carla keeps hives behind the mill"],
        triples=[
            ("Dmitri", "bought", "red boat", 6),
            ("red boat", "lies in", "Oslo", 0),
            ("Carla", "owns", "hives", 7),
        ],
    )


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_scores_every_item_alike_each_time_and_finds_what_is_plainly_asked(corpus, name):
    question = "dmitri bought the red boat"
    (vector,) = encode([question])
    first = BASELINES[name].build(corpus, encode)(question, vector)
    again = BASELINES[name].build(corpus, encode)(question, vector)
    assert len(first) == len(TEXTS) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert int(np.argmax(first)) == 6


def ranks(corpus: Corpus, name: str, question: str) -> list[int]:
    (vector,) = encode([question])
    return np.argsort(-BASELINES[name].build(corpus, encode)(question, vector), kind="stable").tolist()


def test_facts_in_the_key_bring_up_an_item_whose_text_does_not_say_it(corpus):
    question = "who keeps hives behind the mill"
    assert ranks(corpus, "longmemeval", question)[0] == 7 != ranks(corpus, "dense", question)[0]


def test_triples_lead_to_the_passage_at_the_other_end(corpus):
    question = "where does the boat lie that dmitri bought"
    with_graph = ranks(corpus, "hipporag2", question)
    assert set(with_graph[:2]) == {0, 6}


def test_bm25_prefers_rare_words_and_gives_nothing_for_unknown_ones(corpus):
    assert ranks(corpus, "bm25", "sourdough in the harbour")[0] in (0, 4)
    (vector,) = encode(["zzz"])
    assert not BASELINES["bm25"].build(corpus, encode)("zzz", vector).any()
