"""The graph that an ingest leaves in its index: of what is current, walked from a question to what the question does not name."""

import datetime as dt
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

import engraph
from pipelines.recall import Query, Recall, RecallParams
from pipelines.recall.candidates import candidate_leaves, overview
from pipelines.recall.channels import Asked
from pipelines.recall.graph_channel import GraphChannel
from pipelines.recall.scope import Scope
from pipelines.recall.times import read_time

GREEN = "Green is an album of 1978 by Steve Hillage. It was recorded in Oxfordshire."
HILLAGE = "Steve Hillage is an English guitarist. He was born in Chingford."
CHINGFORD = "Chingford is a town at the edge of Epping Forest."


@pytest.fixture(scope="module")
def store(corpus_in, ingest, tmp_path_factory):
    corpus = corpus_in(tmp_path_factory.mktemp("graph") / "notes")
    for name, text in (("green.txt", GREEN), ("hillage.txt", HILLAGE), ("chingford.txt", CHINGFORD)):
        corpus.text(name, text)
    for n in range(6):
        corpus.text(f"bread-{n}.txt", f"Loaf number {n} needs {n + 2} hours of rest before it is baked.")
    ingest(corpus.folder, store=corpus.folder.parent / "store")
    return corpus, corpus.folder.parent / "store"


def ranked(path, question):
    """(texts, explanations) of the passages that a question's names lead to, best first."""
    with engraph.open(path) as store:
        (shard,) = [s for s in store.recall_with(None).shards if "notes" in s.namespaces()]
        seeds = shard.graph.link(question, None, ["notes"])
        rows, _ = shard.graph.rank(seeds, np.empty(0), np.empty(0))
        texts = [shard.units["text"][int(row)].as_py() for row in rows]
        return texts, [shard.graph.explain(int(row), seeds) for row in rows]


def test_a_question_reaches_what_it_does_not_name(store):
    _, path = store
    texts, why = ranked(path, "By which forest was the maker of the album Green born?")
    assert any(text.startswith("Steve Hillage") for text in texts)
    assert any("Epping Forest" in text for text in texts)
    assert not any("Loaf" in text for text in texts)
    assert all(why)


def test_a_large_scope_looks_also_where_only_the_graph_leads(store):
    """With room for few candidates, what the question's words do not reach is among them by the graph alone."""
    _, path = store
    text, params = "Near what did the maker of the album Green grow up?", RecallParams(dense={}, candidates=5)
    with engraph.open(path) as opened:
        known = opened.recall_with(None)
        scope = Scope(known.shards, {"notes"})
        asked = Asked(text, known.encode([text])[0], read_time(text, dt.date(2026, 1, 5)))
        seen = overview(scope, asked, params)
        found = {
            name: candidate_leaves(scope, asked, params, replace(seen, walked=walked))
            for name, walked in (("with", seen.walked), ("without", None))
        }
        (part,) = scope.levels["leaf"].parts
        texts = {
            name: [part.shard.units["text"][part.start + leaf].as_py() for leaf in leaves]
            for name, leaves in found.items()
        }
    assert len(texts["with"]) == len(texts["without"]) == 5
    assert any("Epping Forest" in text for text in texts["with"]), texts
    assert not any("Epping Forest" in text for text in texts["without"]), texts


def test_a_forked_child_answers_as_its_parent_has_just_answered(store):
    """Questions are encoded and indexes searched on threads of their own, which a fork leaves behind."""
    _, path = store
    query = Query("Near what did the maker of the album Green grow up?", k=3, namespaces=("notes",))
    with engraph.open(path) as opened:
        known = opened.recall_with(None)
        recall = Recall(known.shards, known.encode, RecallParams(exact_rows=0))
        mine = [hit.unit_id for hit in recall.recall(query).hits]
        fork = multiprocessing.get_context("fork")
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(
            target=lambda: sender.send([hit.unit_id for hit in recall.recall(query).hits]), daemon=True
        )
        child.start()
        try:
            assert receiver.poll(60), "the child waits for threads that it does not have"
            assert receiver.recv() == mine
        finally:
            child.kill()
            child.join()
    assert len(mine) == 3


@pytest.fixture(scope="module")
def harbour(corpus_in, ingest, tmp_path_factory):
    """A store of the same shape about other things, so that its rows have the same numbers."""
    corpus = corpus_in(tmp_path_factory.mktemp("harbour") / "harbour")
    for name, text in (
        ("pier.txt", "The pier is a work of 1931 by Ada Holm. It was paid for by the fishermen."),
        ("holm.txt", "Ada Holm was an engineer of bridges. She was born in Bergen."),
        ("lighthouse.txt", "A white lighthouse stands at the end of the mole."),
    ):
        corpus.text(name, text)
    for n in range(6):
        corpus.text(f"net-{n}.txt", f"Net number {n} needs {n + 2} hours of mending before it is used.")
    ingest(corpus.folder, store=corpus.folder.parent / "store")
    return corpus.folder.parent / "store"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("a town at the edge of the forest", "Chingford is a town"),
        ("a loaf before it is baked", "Loaf number"),
        ("a white lighthouse at the mole", "A white lighthouse"),
        ("a net before it is used", "Net number"),
    ],
)
def test_a_walk_begins_also_where_the_words_of_a_question_stand(store, harbour, words, wanted):
    """The question's vector is at right angles to all others, so that its words alone lead there, in whichever shard that is."""
    with engraph.open(store[1]) as notes, engraph.open(harbour) as other:
        shards = [*notes.recall_with(None).shards, *other.recall_with(None).shards]
        scope = Scope(shards, None)
        level = scope.levels["window"]
        assert len({part.start for part in level.parts}) == 1 < len(level.parts)
        basis, _ = np.linalg.qr(np.concatenate([p.shard.vectors[p.start : p.end] for p in level.parts]).T)
        vector = np.random.default_rng(0).standard_normal(len(basis)).astype(np.float32)
        vector -= basis @ (basis.T @ vector)
        channel = GraphChannel(
            scope, level, "", vector / np.linalg.norm(vector), scope.shares(words, ("window",))["window"]
        )
        first, second = sorted(channel.starts.values(), key=lambda start: -start.weights.sum())
        text = first.graph.units["text"][int(first.rows[first.weights.argmax()])].as_py()
        assert text.startswith(wanted)
        assert first.weights.sum() + second.weights.sum() == pytest.approx(1)
        assert second.mass()[1].sum() <= second.weights.sum() + 1e-6 < 0.1


def test_an_explained_hit_stands_in_the_timeline_of_what_the_question_names(store):
    _, path = store
    with engraph.open(path) as opened:
        question = Query("Where was Steve Hillage born?", k=9, namespaces=("notes",))
        (answer,) = opened.recall_many([question], explain=True)
    said = {h.text: [w for w in answer.why[h.unit_id] if w.startswith("in the timeline of ")] for h in answer.hits}
    (first, _), (second, text) = sorted((told[0], text) for text, told in said.items() if told)
    assert first.startswith("in the timeline of Steve Hillage, 1 of 2: before ") and text[:20] in first
    assert second.startswith("in the timeline of Steve Hillage, 2 of 2: after ")


def test_what_a_new_version_no_longer_says_leaves_the_graph(store, ingest):
    corpus, path = store
    corpus.text("hillage.txt", "Steve Hillage is an English guitarist. He was born in Walthamstow.")
    ingest(corpus.folder, store=path, day="2026-01-06")
    texts, _ = ranked(path, "Who was born in Walthamstow?")
    assert texts and texts[0].startswith("Steve Hillage")
    assert not any("Epping Forest" in text for text in texts)
