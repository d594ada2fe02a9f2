"""The graph of a shard on disk, questions linked to it, walks over it, and what is said of why."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.graph.graph_folder import FACT, MENTION, SYNONYM, GraphParams, GraphTables, write_graph
from pipelines.graph.knowledge_graph import KnowledgeGraph, published_weights, soft_weights
from pipelines.graph.seeds import fact_weights

# two namespaces; each passage covers its one sentence
PASSAGES = {
    "docs": [
        "Green was made by Steve Hillage",
        "Steve Hillage was born in Chingford",
        "Chingford lies in Essex",
        "Bread",
    ],
    "talk": ["Steve likes jazz", "Ann likes jazz"],
}
MENTIONS = {
    "docs": [
        (0, "green"),
        (0, "steve hillage"),
        (1, "steve hillage"),
        (1, "chingford"),
        (2, "chingford"),
        (2, "essex"),
    ],
    "talk": [(0, "steve"), (0, "jazz"), (1, "ann"), (1, "jazz")],
}
TRIPLES = [("docs", "green", "made by", "steve hillage", 0), ("docs", "chingford", "lies in", "essex", 2)]


def built(folder, **tables) -> KnowledgeGraph:
    rows = [
        {"unit_id": f"{n}/{g}-{i}", "namespace": n, "granularity": g, "document_id": f"{n}/{i}"}
        for g in ("passage", "sentence")
        for n, texts in PASSAGES.items()
        for i in range(len(texts))
    ]
    half = len(rows) // 2
    low = np.tile(np.arange(half, 2 * half, dtype=np.int32), 2)
    entities = sorted({(n, e) for n, pairs in MENTIONS.items() for _, e in pairs})
    given = {
        "entities": [
            {"entity_id": f"{n}/entity:{e}", "namespace": n, "name": e.title(), "kind": "name"} for n, e in entities
        ],
        "mentions": [
            {"unit_id": f"{n}/sentence-{i}", "entity_id": f"{n}/entity:{e}"}
            for n, pairs in MENTIONS.items()
            for i, e in pairs
        ],
        "triples": [
            {
                "subject_id": f"{n}/entity:{s}", "predicate": p, "object_id": f"{n}/entity:{o}",
                "unit_id": f"{n}/sentence-{i}",
            }
            for n, s, p, o, i in TRIPLES
        ],
        "synonyms": [{"source": "docs/entity:green", "target": "docs/entity:essex", "weight": 0.9}],
    }  # fmt: skip
    given |= tables
    further = {name: given.pop(name) for name in ("fact_vectors", "params") if name in given}
    graph = GraphTables(**{name: pa.Table.from_pylist(rows) for name, rows in given.items()}, **further)
    units = pa.Table.from_pylist(rows)
    write_graph(units, low, low + 1, graph, folder / "graph")
    return KnowledgeGraph(folder / "graph", units)


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> KnowledgeGraph:
    return built(tmp_path_factory.mktemp("graph"), fact_vectors=np.eye(2, 4, dtype=np.float32))


def names(seeds) -> set[str]:
    return {seed.name for seed in seeds.found}


def test_a_namespace_is_one_slice_of_nodes_and_edges(graph):
    assert [span[0] for span in graph.spans.values()][1:] == [span[2] for span in graph.spans.values()][:-1]
    assert list(graph.spans) == ["docs", "talk"] and graph.spans["talk"][2] == len(graph)
    for namespace, passages in PASSAGES.items():
        matrix = graph.graph_of(namespace).matrix.toarray()
        assert np.array_equal(matrix, matrix.T) and not matrix.diagonal().any()
        assert np.count_nonzero(matrix[: len(passages), : len(passages)]) == 0
        assert np.allclose(graph.graph_of(namespace).strength, matrix.sum(1))


def test_edges_weigh_as_their_kinds_say(graph):
    matrix = graph.graph_of("docs").matrix.toarray()
    node = {name: 4 + i for i, name in enumerate(graph._entities["normal"].to_pylist()[:5])}
    assert np.isclose(matrix[0, node["green"]], np.log(1 + 4 / 1))  # 4 passages, 1 of them mentions it
    assert np.isclose(matrix[0, node["steve hillage"]], np.log(1 + 4 / 2))
    assert np.isclose(matrix[node["chingford"], node["essex"]], 2.0)
    assert np.isclose(matrix[node["green"], node["essex"]], 1.8)
    kinds = np.asarray(graph._kinds[: graph._starts[graph.spans["docs"][2]]])
    assert {k: int((kinds == k).sum()) for k in (MENTION, FACT, SYNONYM)} == {MENTION: 12, FACT: 4, SYNONYM: 2}


def test_an_entity_of_too_many_passages_has_no_edges_and_is_no_seed(tmp_path):
    graph = built(tmp_path, params=GraphParams(hub_share=0.25, hub_least=1))
    assert not graph.link("Steve Hillage", None, ["docs"]) and graph.link("Green", None, ["docs"])
    node = graph.spans["docs"][1] + graph._entities["normal"].to_pylist().index("steve hillage")
    assert graph._starts[node] == graph._starts[node + 1]


def test_a_question_links_to_the_longest_name_it_contains(graph):
    assert names(graph.link("Where was Steve Hillage born?", None, ["docs"])) == {"Steve Hillage"}
    assert names(graph.link("where was steve hillage's album green made?", None, ["docs"])) == {
        "Steve Hillage",
        "Green",
    }
    assert not graph.link("Who bakes?", None, ["docs"])
    assert names(graph.link("What does Steve like?", None, ["docs", "talk", "nobody"])) == {"Steve"}
    assert not graph.link("What does Steve like?", None, ["docs"])


def test_what_is_not_written_as_a_name_weighs_little(graph):
    weights = {s.name: s.weight for s in graph.link("Which jazz does Ann like?", None, ["talk"]).found}
    assert weights == pytest.approx({"Ann": 1.0, "Jazz": 0.01})
    assert {s.weight for s in graph.link("does ann like jázz", None, ["talk"]).found} == {
        1.0,
        0.5,
    }  # no capital anywhere


def test_a_title_is_an_entity_with_and_without_its_brackets(tmp_path):
    titles = [{"document_id": "docs/3", "namespace": "docs", "title": "The Loaf (bakery)"}]
    graph = built(tmp_path, titles=titles)
    for question in ("What does the Loaf sell?", "What does The Loaf (bakery) sell?"):
        rows, _ = graph.rank(graph.link(question, None, ["docs"]), np.empty(0), np.empty(0))
        assert rows.tolist() == [3]


def test_a_seed_weighs_less_the_more_passages_mention_it(graph):
    weights = {s.name: s.weight for s in graph.link("Is Green by Steve Hillage?", None, ["docs"]).found}
    assert weights == {"Green": 1.0, "Steve Hillage": 0.5}


def test_facts_near_to_the_question_seed_their_ends(graph):
    seeds = graph.link("?", np.array([0.1, 0.9, 0, 0], np.float32), ["docs"])
    assert {s.name: s.why for s in seeds.found}.keys() >= {"Essex"}
    assert any(s.why == "in the fact: Chingford lies in Essex" for s in seeds.found)
    assert not graph.link("?", np.array([0.1, 0.9, 0, 0], np.float32), ["talk"])


def test_weights_of_phrases_are_hipporags():
    a, b, c, d = range(4)
    weights = fact_weights([(a, b), (a, c), (c, d)], [1.0, 0.8, 0.6], {a: 2, b: 1, c: 4, d: 1}, 5)
    assert weights == pytest.approx({a: 0.45, b: 1.0, c: 0.175, d: 0.6})
    assert list(fact_weights([(a, b), (c, d)], [1.0, 0.0], {a: 2, b: 1, c: 4, d: 1}, 1)) == [b]


@pytest.mark.parametrize("exact", [True, False])
def test_a_walk_reaches_what_the_question_does_not_name(graph, exact):
    seeds = graph.link("Where is the birthplace of the maker of Green?", None, ["docs"])
    rows, scores = graph.rank(seeds, np.array([0]), np.array([0.8]), exact=exact)
    assert rows[0] == 0 and set(rows) == {0, 1, 2} and (np.diff(scores) <= 0).all()


def test_both_modes_rank_alike(graph):
    seeds = graph.link("Steve Hillage and jazz")
    ranked = [graph.rank(seeds, np.array([2, 5]), np.array([0.6, 0.5]), exact=exact) for exact in (True, False)]
    assert np.array_equal(ranked[0][0], ranked[1][0])
    assert np.allclose(ranked[0][1], ranked[1][1], atol=1e-5)
    assert {0, 1, 2} <= set(ranked[0][0]) and {4, 5} <= set(ranked[0][0])  # rows of both namespaces


def test_nothing_to_seed_from_gives_nothing(graph):
    none = np.empty(0)
    assert len(graph.rank(graph.link("Who bakes?"), none, none)[0]) == 0
    assert len(graph.rank(graph.link("Who bakes?"), np.array([9]), np.array([0.9]))[0]) == 0  # a sentence is no node


def test_dense_weights():
    cosines = np.array([0.5, 0.4, 0.1])
    assert np.isclose(soft_weights(cosines).sum(), 1) and soft_weights(cosines).argmax() == 0
    assert np.allclose(published_weights(cosines), [0.05, 0.0375, 0])
    assert np.allclose(published_weights(np.ones(2)), 0.05)


def test_an_explanation_names_what_led_there(graph):
    seeds = graph.link("Where was Steve Hillage born?", None, ["docs"])
    assert graph.explain(1, seeds)[0] == "mentions Steve Hillage, named in the question"
    assert graph.explain(2, seeds)[0] == "mentions Essex, much like Green"
    assert "mentions Chingford, related to Essex" in graph.explain(2, seeds)
    assert graph.explain(0, seeds, np.array([0]), np.array([0.7]))[0] == "near to the question itself"
    assert graph.explain(3, seeds) == [] and graph.explain(8, seeds) == []


def test_opening_copies_nothing_out_of_its_files(tmp_path):
    units = built(tmp_path).units
    before = pa.total_allocated_bytes()
    opened = KnowledgeGraph(tmp_path / "graph", units)
    assert pa.total_allocated_bytes() == before
    assert opened.link("Who is Steve Hillage?")
