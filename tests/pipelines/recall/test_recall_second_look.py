"""Speakers, confidence, feedback and judges: what steers beyond words and vectors, and that failing judges change nothing."""

import numpy as np
import pytest

from pipelines.recall import Judges, Query, Recall, RecallParams
from pipelines.recall.second_stage import NO_JUDGES
from pipelines.recall.speakers import Speakers
from schemas.errors import EngraphError

MESSAGES = ["Ann: I bought a red piano", "Bob: I bought a red piano", "Ann: the lake was cold", "Bob: my horse is fine"]


@pytest.fixture(scope="module")
def talk(make, tmp_path_factory):
    return make.corpus(make.units_of([make.turns("a", "s", MESSAGES)], []), tmp_path_factory.mktemp("talk") / "shard")


def recall(talk, make) -> Recall:
    return Recall([talk.shard], make.encode)


def named(names: list[str], question: str) -> list[int]:
    return Speakers(names, np.arange(len(names))).named_in(question)


def test_the_person_named_in_the_question_is_heard_first(talk, make):
    for name in ("Ann", "Bob"):
        answer = recall(talk, make).recall(Query(f"What did {name} buy, a red piano?", k=2), explain=True)
        assert answer.hits[0].text.startswith(name)
        assert "said by the one that the question is about (+1.80)" in answer.why[answer.hits[0].unit_id]


def test_i_means_the_user_where_one_speaks_and_nobody_is_named():
    assert named(["assistant", "user"], "What did I say about my horse?") == [1]
    assert named(["assistant", "user"], "What did you tell me?") == []
    assert named(["Ann", "Bob"], "What did I say?") == []
    assert named(["Ann Lee", "Ann Poe"], "What did Ann Poe say?") == [1]


def test_confidence_is_lower_for_what_somebody_else_said(make, tmp_path):
    said = ["Ann: I bought a red piano in Paris", "Bob: my horse is fine", "Ann: the lake was cold", "Bob: good bread"]
    corpus = make.corpus(make.units_of([make.turns("a", "s", said)], []), tmp_path / "shard")
    search = recall(corpus, make)
    true, false = (search.recall(Query(f"What red piano did {n} buy in Paris?")).confidence for n in ("Ann", "Bob"))
    assert 0 < false < true < 1
    assert search.recall(Query("zzz")).confidence < true


def test_only_keeps_the_channels_that_it_names(talk, make):
    for only, kinds in ((("dense",), {"dense"}), (("lexical:leaf",), {"lexical"}), (("speaker",), {"speaker"})):
        hits = Recall([talk.shard], make.encode, RecallParams(only=only)).recall(Query("Ann red piano")).hits
        assert {channel.split(":")[0] for h in hits for channel in h.via} == kinds
    assert len(Recall([talk.shard], make.encode, RecallParams(only=("graph",))).recall(Query("Ann")).hits) == 4


def test_reranking_adds_to_the_score_and_says_so(talk, make):
    judges = Judges(score=lambda question, texts: [100.0 * ("horse" in t) for t in texts])
    plain = recall(talk, make).recall(Query("Ann red piano", k=4))
    again = recall(talk, make).recall(Query("Ann red piano", k=4), judges=judges)
    horse = [next(h for h in found.hits if "horse" in h.text) for found in (plain, again)]
    assert horse[1].rank < horse[0].rank
    assert horse[1].via["rerank"] > 0 > again.hits[0].via["rerank"]
    assert [h.rank for h in again.hits] == [1, 2, 3, 4]
    for hit in again.hits:
        assert sum(hit.via.values()) == pytest.approx(hit.score, abs=2e-3)


def test_a_filter_puts_what_it_keeps_first_and_loses_nothing(talk, make):
    judges = Judges(keep=lambda question, texts: [2, 99, -1])
    answer = recall(talk, make).recall(Query("red piano", k=4), judges=judges)
    plain = [h.unit_id for h in recall(talk, make).recall(Query("red piano", k=4)).hits]
    assert [h.unit_id for h in answer.hits] == [plain[2], plain[0], plain[1], plain[3]]


def test_judges_that_fail_or_say_nothing_change_nothing(talk, make):
    def broken(question, texts):
        raise EngraphError("out of reach")

    plain = recall(talk, make).recall(Query("red piano", k=4))
    judges = Judges(score=broken, keep=broken)
    failed = recall(talk, make).recall(Query("red piano", k=4), judges=judges, explain=True)
    assert failed.hits == plain.hits
    assert [n for n in failed.notes if n.startswith("not ")] == [
        "not reranked: out of reach",
        "not filtered: out of reach",
    ]
    judges = Judges(score=lambda q, texts: np.full(len(texts), np.nan))
    flat = recall(talk, make).recall(Query("red piano", k=4), judges=judges)
    assert flat.hits == plain.hits


def test_asking_again_finds_what_only_the_first_answer_leads_to(make, tmp_path):
    said = ["Ann: the doctor lives in Avonlea", "Bob: fine bread"] + [
        f"Bob: he lives at house {i} in winter" for i in range(8)
    ]
    far = ["Ann: Avonlea lies by the lake", "Bob: winter again"]
    units = make.units_of([make.turns("a", "s1", said), make.turns("a", "s2", far, hours=9)], [])
    search = recall(make.corpus(units, tmp_path / "shard"), make)

    def rank(iterate: int, judges: Judges = NO_JUDGES) -> int:
        hits = search.recall(Query("where the doctor lives", k=50, iterate=iterate), judges=judges).hits
        return next(h.rank for h in hits if "by the lake" in h.text)

    assert rank(1) < rank(0)
    assert rank(1, Judges(think=lambda question, texts: "Avonlea lake")) < rank(0)
