"""Edges -> connected components, whatever the direction of the edges.

Breadth-first search over the adjacency in compressed rows (scipy.sparse.csgraph), linear in nodes and edges. A component is
named by its smallest node (in UTF-8 byte order), so the outcome depends on the edges alone, not on their order or on the engine.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array, csgraph


def connected_components(edges: pa.Table) -> pa.Table:
    """(node, component) for each node of `edges` (source, target: strings), by node; `component` is its smallest node.

    A node without edges is a component of its own: give it as an edge to itself.
    """
    ends = [edges[end].cast(pa.string()) for end in ("source", "target")]
    nodes = pl.Series(pa.chunked_array([chunk for end in ends for chunk in end.chunks], pa.string())).unique().sort()
    node = nodes.to_arrow().cast(pa.string())
    numbers = [pc.index_in(end, value_set=node).to_numpy() for end in ends]
    adjacency = coo_array((np.ones(edges.num_rows, bool), numbers), shape=(len(node), len(node)))
    labels = csgraph.connected_components(adjacency, directed=False)[1]
    smallest = np.unique(labels, return_index=True)[1]  # nodes are sorted: the first of a label is the smallest
    return pa.table({"node": node, "component": node.take(pa.array(smallest[labels]))})
