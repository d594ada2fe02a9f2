"""The mapped BM25 against a plain one in Python, over whole collections, parts of them, and several as one."""

import math
import uuid
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import lexical
from pipelines.lexical import bm25, stem_terms

WORDS = ["cat", "cats", "run", "running", "blue", "house", "garden", "Paris", "the", "naïve", "42", "don't"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=12)
QUESTIONS = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=5).map(" ".join)


def reference(question: str, texts: list[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
    """BM25 as it is written down, one text after the other."""
    documents = [Counter(stem_terms(t)) for t in texts]
    n, lengths = len(texts), [sum(d.values()) for d in documents]
    average = max(sum(lengths) / n, 1.0) if n else 1.0
    out = []
    for document, length in zip(documents, lengths, strict=True):
        score = 0.0
        for term in stem_terms(question):
            df = sum(term in d for d in documents)
            idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
            tf = document[term]
            score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))
        out.append(score)
    return out


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Builds and opens an index of texts."""
    root = tmp_path_factory.mktemp("lexical")

    def build(texts: list[str]) -> lexical.Lexical:
        folder = root / uuid.uuid4().hex
        lexical.build(texts, folder)
        return lexical.Lexical(folder)

    return build


@given(TEXTS, QUESTIONS)
def test_scores_are_those_of_the_plain_formula(index, texts, question):
    opened = index(texts)
    assert len(opened) == len(texts)
    (found,) = lexical.scores(question, [(opened, 0, len(texts))])
    assert np.allclose(found, reference(question, texts), atol=1e-4)


@given(TEXTS, QUESTIONS, st.data())
def test_a_range_of_rows_is_a_collection_of_its_own(index, texts, question, data):
    a = data.draw(st.integers(0, len(texts)))
    b = data.draw(st.integers(a, len(texts)))
    (found,) = lexical.scores(question, [(index(texts), a, b)])
    assert np.allclose(found, reference(question, texts[a:b]), atol=1e-4)


@given(TEXTS, TEXTS, QUESTIONS)
def test_several_indexes_as_one_collection_equal_one_index(index, first, second, question):
    parts = [(index(first), 0, len(first)), (index(second), 0, len(second))]
    found = np.concatenate(lexical.scores(question, parts))
    assert np.allclose(found, reference(question, first + second), atol=1e-4)


@given(TEXTS, TEXTS, QUESTIONS, st.lists(st.integers(0, 12), min_size=3, max_size=3))
def test_collections_that_are_asked_together_are_each_what_it_is_alone(index, first, second, question, cuts):
    """Ranges of two indexes dealt out to three collections; one of them may be empty."""
    one, other = index(first), index(second)
    a, b, c = min(cuts[0], len(first)), min(cuts[1], len(second)), min(cuts[2], len(second))
    low, high = sorted((b, c))
    dealt = [[(one, 0, a), (other, 0, low)], [(other, low, high)], [(one, a, len(first)), (other, high, len(second))]]
    together = lexical.Collections(dealt)
    for found, parts in zip(together.scores(question), dealt, strict=True):
        assert np.array_equal(found, np.concatenate(lexical.scores(question, parts)))
    for found, parts in zip(together.shares(question), dealt, strict=True):
        assert np.array_equal(found, np.concatenate(lexical.shares(question, parts)))


@pytest.mark.parametrize("kept", [0, 30, 10_000])
@given(texts=TEXTS, questions=st.lists(QUESTIONS, max_size=4))
def test_what_is_kept_of_earlier_questions_changes_no_score_and_has_a_bound(index, kept, texts, questions):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "KEPT_A_ROW", kept)
        collections = lexical.Collections([[(index(texts), 0, len(texts))]])
        for question in questions:
            assert np.allclose(collections.scores(question)[0], reference(question, texts), atol=1e-4)
            words = [bm25.WORD + len(word.rows) for word in collections._known.values()]
            assert sum(words) <= kept * len(texts) or len(words) <= 1


@given(TEXTS, QUESTIONS)
def test_shares_are_scores_on_another_scale_and_stay_below_one(index, texts, question):
    part = [(index(texts), 0, len(texts))]
    (share,), (score,) = lexical.shares(question, part), lexical.scores(question, part)
    assert ((share >= 0) & (share <= 1 + 1e-6)).all()
    if score.any():
        assert np.allclose(share / share.max(), score / score.max(), atol=1e-5)


def test_a_word_is_found_in_all_its_forms(index):
    opened = index(["He runs daily", "running shoes", "a ruin", "RUN!"])
    (found,) = lexical.scores("Who was running?", [(opened, 0, 4)])
    assert (found > 0).tolist() == [True, True, False, True]


def test_unknown_words_stop_words_and_no_words_score_nothing(index):
    opened = index(["a cat", "", "the of and", "..."])
    for question in ("zebra", "the of", "", "?!", "zzz aaa"):
        (found,) = lexical.scores(question, [(opened, 0, 4)])
        assert found.tolist() == [0.0] * 4
    assert lexical.scores("cat", []) == []
    (empty,) = lexical.scores("cat", [(index([]), 0, 0)])
    assert empty.shape == (0,)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("我们在上海见面", "上海"),
        ("東京タワーに行った", "タワー"),
        ("Melanie’s café", "Melanie's"),
        ("Melanie's café", "melanie"),
        ("the ﬁle", "file"),
        ("Straße", "STRASSE"),
        ("C3PO and R2-D2", "r2 d2"),
        ("snake_case_name", "case"),
        ("don’t panic", "don't"),
        ("Привет, мир", "мир"),
    ],
)
def test_writing_systems_and_apostrophes(index, text, question):
    (found,) = lexical.scores(question, [(index(["something else entirely", text]), 0, 2)])
    assert found[0] == 0.0
    assert found[1] > 0.0


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_every_term_of_any_text_finds_its_text(index, texts):
    opened = index(texts)
    for row, text in enumerate(texts):
        for term, count in Counter(stem_terms(text)).items():
            rows, counts = opened.postings(term, 0, len(texts))
            assert dict(zip(rows.tolist(), counts.tolist(), strict=True))[row] == count
