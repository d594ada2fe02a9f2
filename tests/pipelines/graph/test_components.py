"""Connected components: those of a union-find, named by their smallest node, whatever the order and direction of the edges."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph.components import connected_components

edge_lists = st.lists(
    st.tuples(*[st.sampled_from([f"n{i}" for i in range(16)] + ["", "ä", "𝛼", "ﬀ"])] * 2), max_size=24
)


def components_of(edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    table = pa.table({"source": [a for a, _ in edges], "target": [b for _, b in edges]}, schema=SCHEMA)
    return [(row["node"], row["component"]) for row in connected_components(table).to_pylist()]


SCHEMA = pa.schema([("source", pa.string()), ("target", pa.string())])


def united(edges: list[tuple[str, str]]) -> dict[str, str]:
    """The smallest node of each node's component, by merging labels until nothing changes."""
    label = {node: node for edge in edges for node in edge}
    for _ in label:
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    return label


@given(edge_lists)
def test_components_are_those_of_merging_labels(edges):
    found = components_of(edges)
    assert dict(found) == united(edges)
    assert [node for node, _ in found] == sorted(dict(found))


@given(edge_lists, st.randoms())
def test_neither_order_nor_direction_nor_repetition_of_edges_matters(edges, random):
    turned = [random.choice([(a, b), (b, a)]) for a, b in random.sample(edges, len(edges))]
    assert components_of(turned + edges[:3]) == components_of(edges)


def test_a_node_with_an_edge_to_itself_is_a_component():
    assert components_of([("b", "b"), ("c", "a")]) == [("a", "a"), ("b", "b"), ("c", "a")]


def test_a_long_chain_is_one_component():
    chain = [f"n{i:06}" for i in range(100_000)]
    assert {component for _, component in components_of(list(zip(chain[1:], chain, strict=False)))} == {"n000000"}


def test_other_columns_and_chunks_do_not_matter():
    parts = [pa.table({"weight": [1.0], "target": [a], "source": [b]}) for a, b in (("a", "b"), ("c", "b"))]
    assert connected_components(pa.concat_tables(parts))["component"].to_pylist() == ["a", "a", "a"]


def test_no_edges_have_no_components():
    assert components_of([]) == []
