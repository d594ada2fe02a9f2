"""Questions against shards: every score equals a slow reference, and namespaces, times, ties and sizes behave."""

import datetime as dt
import math

import numpy as np
import pyarrow as pa
import pytest

from pipelines import lexical
from pipelines.recall import Query, Recall, RecallParams
from pipelines.recall.params import LEVELS
from schemas.errors import UsageError

LEAVES = ("turn", "sentence")
PARAMS = RecallParams()
QUESTIONS = ["Ann: who plays the piano by the lake?", "winter bread", "doctor", "zzz", "A ticket to Paris by train"]


def covered(rows: list[dict], unit: dict) -> list[int]:
    """Leaves between the first and the last that a unit's spans touch, by comparing all pairs."""
    group = (unit["namespace"], unit["session_id"], unit["document_id"])
    whole = unit["granularity"] in ("summary", "keywords")
    found = [
        i
        for i, leaf in enumerate(rows)
        if leaf["granularity"] in LEAVES
        and (leaf["namespace"], leaf["session_id"], leaf["document_id"]) == group
        and (
            whole
            or any(
                a["ref"] == b["ref"] and a["start"] < b["end"] and b["start"] < a["end"]
                for a in leaf["source_spans"]
                for b in unit["source_spans"]
            )
        )
    ]
    return found


def entropy_weight(cosines: np.ndarray) -> float:
    """1 - H / ln N of softmax(cosines / temperature), N the 200 best."""
    p = np.exp(np.sort(cosines)[::-1][:200] / PARAMS.temperature)
    p /= p.sum()
    return max(1e-6, 1 + float((p * np.log(p)).sum()) / math.log(max(2, len(p))))


def news(
    rows: list[dict], members: dict[str, list[int]], leaves_of: dict[int, list[int]], name: str, given: dict
) -> dict:
    """Of each unit of a level: the share of its granularity whose leaves no unit of a finer level that speaks has as well."""
    nested = [n for n in ("leaf", "window", "topic", "whole") if given.get(n) and members[n]]
    finer = nested[: nested.index(name)] if name in nested else []
    known = [leaves_of[i] for level in finer for i in members[level]]
    kinds = {rows[i]["granularity"] for i in members[name]}
    of = {kind: [i for i in members[name] if rows[i]["granularity"] == kind] for kind in kinds}
    shares = {kind: sum(leaves_of[i] not in known for i in units) / len(units) for kind, units in of.items()}
    return {i: shares[rows[i]["granularity"]] for i in members[name]}


def reference(corpus, encode, question: str, namespaces: set[str] | None, granularity: str) -> dict[str, float]:
    """unit id -> score, channel by channel and leaf by leaf, without intervals, shifts or slices."""
    rows = corpus.rows()
    inside = [i for i, r in enumerate(rows) if namespaces is None or r["namespace"] in namespaces]
    leaves_of = {i: covered(rows, rows[i]) for i in inside}
    (vector,) = encode([question])
    members = {name: [i for i in inside if rows[i]["granularity"] in kinds] for name, kinds in LEVELS.items()}
    speaking = [
        name
        for name in PARAMS.dense
        if members[name] and any(news(rows, members, leaves_of, name, PARAMS.dense).values())
    ]
    entropies = {name: entropy_weight(corpus.vectors[members[name]] @ vector) for name in speaking}
    channels: list[tuple[str, dict[int, float]]] = []
    for name in LEVELS:
        if not members[name]:
            continue
        if name in speaking:
            cosines = corpus.vectors[members[name]] @ vector
            weight = PARAMS.dense[name] * len(speaking) * entropies[name] / sum(entropies.values())
            z = (cosines - cosines.mean()) / cosines.std() if cosines.std() > 1e-9 else 0 * cosines
            new = news(rows, members, leaves_of, name, PARAMS.dense)
            channels.append((name, {i: weight * new[i] * v for i, v in zip(members[name], z, strict=True)}))
        if name in PARAMS.lexical:
            parts = [(corpus.shard.lexical, i, i + 1) for i in members[name]]
            shares = np.concatenate(lexical.shares(question, parts))
            new = news(rows, members, leaves_of, name, PARAMS.lexical)
            weight = PARAMS.lexical[name]
            channels.append((name, {i: weight * new[i] * v for i, v in zip(members[name], shares, strict=True)}))
    leaves = [i for i in inside if rows[i]["granularity"] in LEAVES]
    names = {rows[i]["text"].split(":")[0] for i in leaves if rows[i]["granularity"] == "turn"}
    if (named := {n for n in names if n in question}) and named != names:
        said = {i: PARAMS.speaker * (rows[i]["text"].split(":")[0] in named) for i in leaves}
        channels.append(("speaker", said))

    def on_leaf(unit_scores: dict[int, float], leaf: int) -> float:
        return max((score for unit, score in unit_scores.items() if leaf in leaves_of[unit]), default=0.0)

    level = next(name for name, kinds in LEVELS.items() if granularity in kinds)
    others = {leaf: sum(on_leaf(s, leaf) for name, s in channels if name != level) for leaf in leaves}
    return {
        rows[i]["unit_id"]: max(others[leaf] for leaf in leaves_of[i]) + sum(s[i] for n, s in channels if n == level)
        for i in inside
        if rows[i]["granularity"] == granularity
    }


def recalled(corpus, make, question: str, **asked):
    return Recall([corpus.shard], make.encode).recall(Query(question, k=1000, **asked)).hits


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("name", "namespaces", "granularities"),
    [
        ("conversations", ("a",), ("turn", "round", "segment", "session", "summary", "fact")),
        ("conversations", None, ("turn", "round", "segment", "session", "summary", "fact")),
        ("documents", ("d",), ("sentence", "passage", "section", "document", "summary", "fact")),
        ("documents", None, ("sentence", "passage", "section", "document", "summary", "fact")),
        ("mixed", ("m",), ("turn", "session", "passage", "summary", "fact")),
        ("mixed", None, ("turn", "session", "passage", "summary", "fact")),
    ],
)
def test_scores_equal_a_slow_reference_at_every_granularity(request, make, name, namespaces, granularities, question):
    corpus = request.getfixturevalue(name)
    for granularity in granularities:
        hits = recalled(corpus, make, question, namespaces=namespaces, granularity=granularity)
        wanted = reference(corpus, make.encode, question, set(namespaces) if namespaces else None, granularity)
        assert sorted(h.unit_id for h in hits) == sorted(wanted)
        for hit in hits:
            assert hit.score == pytest.approx(wanted[hit.unit_id], abs=2e-3), hit.unit_id
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        assert [h.rank for h in hits] == list(range(1, len(hits) + 1))


def test_several_shards_answer_as_one(make, conversations, tmp_path):
    units = conversations.units
    halves = [
        make.corpus(units.filter(pa.compute.equal(units["namespace"], ns)), tmp_path / ns).shard for ns in ("a", "b")
    ]
    for granularity in ("turn", "session", "summary", "fact"):
        query = Query(QUESTIONS[0], k=50, granularity=granularity)
        one = Recall([conversations.shard], make.encode).recall(query).hits
        two = Recall(halves, make.encode).recall(query).hits
        assert [(h.unit_id, pytest.approx(h.score, abs=1e-3)) for h in two] == [(h.unit_id, h.score) for h in one]


def test_a_hit_shows_its_source_and_what_spoke_for_it(conversations, make):
    hit = recalled(conversations, make, QUESTIONS[0], namespaces=("a",))[0]
    assert (hit.granularity, hit.namespace) == ("turn", "a")
    (source,) = hit.source
    assert (source["start"], source["end"]) == (0, len(hit.text))
    assert hit.session_id == source["ref"].split(":")[0]
    assert hit.event_time.endswith("+02:00")
    for hit in recalled(conversations, make, QUESTIONS[0]):
        assert sum(hit.via.values()) == pytest.approx(hit.score, abs=2e-3)


def test_namespaces_do_not_see_each_other(conversations, make, tmp_path):
    alone = conversations.units.filter(pa.compute.equal(conversations.units["namespace"], "a"))
    only_a = make.corpus(alone, tmp_path / "only")
    for question in QUESTIONS:
        beside = recalled(conversations, make, question, namespaces=("a",))
        assert {h.namespace for h in beside} == {"a"}
        apart = recalled(only_a, make, question)
        assert [(h.unit_id, h.via) for h in beside] == [(h.unit_id, h.via) for h in apart]


def test_an_unknown_namespace_is_an_error_that_names_those_there_are(conversations, make):
    with pytest.raises(UsageError, match=r"no namespace 'zoe' in this snapshot; there are 2: a, b"):
        recalled(conversations, make, "piano", namespaces=("a", "zoe"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query("  "), "the question is empty"),
        (Query("x", k=0), "k is 0"),
        (Query("x", granularity="page"), "no granularity 'page'"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(conversations, make, query, message):
    with pytest.raises(UsageError, match=message):
        Recall([conversations.shard], make.encode).recall(query)


def test_defaults_are_turns_for_conversations_and_passages_for_documents(conversations, documents, mixed, make):
    kinds = [{h.granularity for h in recalled(c, make, "piano")} for c in (conversations, documents, mixed)]
    assert kinds == [{"turn"}, {"passage"}, {"turn", "passage"}]
    assert recalled(conversations, make, "piano", granularity="passage") == []


def test_k_asks_for_the_first_of_the_full_list(mixed, make):
    search = Recall([mixed.shard], make.encode)
    full = search.recall(Query(QUESTIONS[1], k=10_000)).hits
    assert len(full) == sum(r["granularity"] in ("turn", "passage") for r in mixed.rows())
    for k in (1, 3, len(full)):
        assert search.recall(Query(QUESTIONS[1], k=k)).hits == full[:k]


def test_equal_scores_are_ranked_by_row_whatever_k_is(make, tmp_path):
    session = make.turns("a", "s", ["Ann: same words"] * 40)
    search = Recall([make.corpus(make.units_of([session], []), tmp_path / "shard").shard], make.encode)
    full = [h.unit_id for h in search.recall(Query("same words", k=100)).hits]
    for k in (1, 5, 39):
        assert [h.unit_id for h in search.recall(Query("same words", k=k)).hits] == full[:k]


def test_valid_at_leaves_out_what_had_not_happened_and_what_was_over(conversations, make, tmp_path):
    units = conversations.units
    ends = pa.array(
        [make.START + dt.timedelta(hours=1) if u == "a/s1/2" else None for u in units["unit_id"].to_pylist()],
        units["valid_to"].type,
    )
    corpus = make.corpus(units.set_column(units.column_names.index("valid_to"), "valid_to", ends), tmp_path / "shard")

    def found(moment: dt.datetime) -> set[str]:
        return {h.unit_id for h in recalled(corpus, make, "piano", namespaces=("a",), valid_at=moment)}

    first = {f"a/s1/{i}" for i in range(7)}
    assert found(make.START + dt.timedelta(minutes=3)) == {f"a/s1/{i}" for i in range(4)}
    assert found(make.START + dt.timedelta(minutes=59)) == first
    assert found(make.START + dt.timedelta(hours=1)) == first - {"a/s1/2"}
    assert found(make.START - dt.timedelta(hours=1)) == set()


def test_many_questions_are_answered_as_one_by_one(conversations, make):
    search = Recall([conversations.shard], make.encode)
    queries = [Query(q, k=3, namespaces=ns) for q in QUESTIONS for ns in (None, ("a",), ("b",))]
    assert search.recall_many(queries) == [search.recall(q) for q in queries]
    assert search.recall_many([]) == []


def test_a_unit_that_covers_no_leaf_is_no_answer_and_harms_none(conversations, make, tmp_path):
    rows = conversations.rows()
    lost = next(r for r in rows if r["granularity"] == "fact")
    moved = [r | {"source_spans": [{"ref": "nowhere", "start": 0, "end": 5}]} if r is lost else r for r in rows]
    corpus = make.corpus(pa.Table.from_pylist(moved, schema=conversations.units.schema), tmp_path / "shard")
    facts = [h.unit_id for h in recalled(corpus, make, "piano", granularity="fact")]
    assert sorted(facts) == sorted(r["unit_id"] for r in rows if r["granularity"] == "fact" and r is not lost)
    assert len(recalled(corpus, make, "piano")) == sum(r["granularity"] == "turn" for r in rows)


def test_a_text_that_is_a_unit_of_several_levels_is_heard_once(make, tmp_path):
    """A document of one passage is that passage: neither its section nor the document adds to it, as a longer document does."""
    short = [
        make.document("d", f"{n}.md", f"The {word} is here. It is old.") for n, word in enumerate(("lake", "train"))
    ]
    (alone, *_) = recalled(make.corpus(make.units_of([], short), tmp_path / "short"), make, "Where is the lake?")
    assert {"lexical:window", "dense:topic"} <= set(alone.via)
    assert not {"lexical:topic", "lexical:whole", "dense:whole"} & set(alone.via)
    parts = " ".join(
        f"The {word} is here. It is old and it is far from any road." for word in ("lake", "train", "horse")
    )
    long = [*short, make.document("d", "long.md", f"# One\n\n{parts}\n\n# Two\n\nThe winter is cold.")]
    hits = recalled(make.corpus(make.units_of([], long), tmp_path / "long"), make, "Where is the lake?")
    assert all({"lexical:topic", "lexical:whole", "dense:whole"} & set(hit.via) for hit in hits[:3])


@pytest.fixture(scope="module")
def large(make, tmp_path_factory):
    """One namespace of 20,400 turns: enough for an ANN index."""
    rng = np.random.default_rng(0)
    units = make.units_of([make.turns("a", "s", ["Ann: hello there"])], []).to_pylist()
    (turn,) = (u for u in units if u["granularity"] == "turn")
    rows = [
        turn
        | {
            "unit_id": f"a/s/{i}",
            "unit_key": i,
            "ordinal": i,
            "text": f"Ann: message {i}",
            "source_spans": [{"ref": f"a/s:{i}", "start": 0, "end": 10}],
        }
        for i in range(20_400)
    ]
    centres = rng.standard_normal((50, 16))
    vectors = centres[rng.integers(0, 50, len(rows))] + 0.5 * rng.standard_normal((len(rows), 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    schema = make.units_of([make.turns("a", "s", ["Ann: hello there"])], []).schema
    folder = tmp_path_factory.mktemp("large") / "shard"
    return make.corpus(pa.Table.from_pylist(rows, schema=schema), folder, vectors=vectors)


def test_large_scopes_find_through_the_ann_index_what_an_exact_scan_finds(large):
    assert large.shard.ann("turn") is not None
    rng = np.random.default_rng(1)
    queries = large.vectors[rng.integers(0, len(large.vectors), 20)] + 0.1 * rng.standard_normal((20, 16))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)

    def answers(exact_rows: int) -> list:
        search = Recall([large.shard], lambda texts: queries[: len(texts)], RecallParams(exact_rows=exact_rows))
        return search.recall_many([Query("zzz", k=10)] * 20)

    shared = []
    for exact, approximate in zip(answers(50_000), answers(1_000), strict=True):
        scores = {h.unit_id: h.score for h in exact.hits}
        both = [h for h in approximate.hits if h.unit_id in scores]
        shared.append(len(both) / 10)
        assert approximate.confidence == pytest.approx(exact.confidence, abs=1e-2)
        assert all(h.score == pytest.approx(scores[h.unit_id], rel=0.1) for h in both)
    assert np.mean(shared) >= 0.95


def test_a_channel_that_only_conversations_have_lifts_no_turn_above_a_passage(mixed, make):
    """Who speaks orders turns among themselves; turns and passages compete by what both have."""
    asked = Query(QUESTIONS[0], 20)
    quiet, loud = (
        Recall([mixed.shard], make.encode, RecallParams(speaker=weight)).recall(asked).hits for weight in (1.8, 500.0)
    )
    kinds = [[hit.granularity for hit in hits] for hits in (quiet, loud)]
    assert kinds[0] == kinds[1] and set(kinds[0]) == {"turn", "passage"}
    turns = [[hit.unit_id for hit in hits if hit.granularity == "turn"] for hits in (quiet, loud)]
    assert turns[0] != turns[1]
    for hit in loud:
        assert sum(hit.via.values()) == pytest.approx(hit.score, abs=1e-2)
