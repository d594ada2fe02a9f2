"""Nodes and edges -> GraphML (graphml.graphdrawing.org), one element after the other: memory does not grow with the graph.

lxml writes and escapes. What XML 1.0 cannot hold (control characters, which occur in real messages) becomes U+FFFD. Columns become
`<data>` with the types boolean, long, double or string; nulls are left out; lists are joined by "; ".
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
from lxml import etree

NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_graphml(
    out: BinaryIO,
    node_schema: pa.Schema,
    nodes: Iterable[pa.RecordBatch],
    edge_schema: pa.Schema,
    edges: Iterable[pa.RecordBatch],
) -> tuple[int, int]:
    """Write a directed graph; returns how many nodes and edges. Nodes have a column `id`, edges `source` and `target`; the other
    columns are attributes, and edges carry the attribute `relation` as their label."""
    n_nodes = n_edges = 0
    with etree.xmlfile(out, encoding="utf-8") as xml:
        xml.write_declaration()
        with xml.element("graphml", nsmap={None: NAMESPACE}):
            _keys(xml, "node", node_schema, ("id",))
            _keys(xml, "edge", edge_schema, ("source", "target"))
            with xml.element("graph", id="memory", edgedefault="directed"):
                for batch in nodes:
                    for row in batch.to_pylist():
                        with xml.element("node", id=_fit(row.pop("id"))):
                            _values(xml, "node", row)
                        n_nodes += 1
                for batch in edges:
                    for row in batch.to_pylist():
                        ends = {"source": _fit(row.pop("source")), "target": _fit(row.pop("target"))}
                        with xml.element("edge", ends):
                            _values(xml, "edge", row)
                        n_edges += 1
    return n_nodes, n_edges


def _keys(xml, kind: str, schema: pa.Schema, structure: tuple[str, ...]) -> None:
    for field in schema:
        if field.name not in structure:
            key = {"id": f"{kind}.{field.name}", "for": kind, "attr.name": field.name, "attr.type": _type(field.type)}
            xml.write(etree.Element("key", key))


def _type(type_: pa.DataType) -> str:
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_):
        return "long"
    return "double" if pa.types.is_floating(type_) else "string"


def _values(xml, kind: str, row: dict) -> None:
    for name, value in row.items():
        if value is not None:
            with xml.element("data", key=f"{kind}.{name}"):
                xml.write(_fit(_said(value)))


def _said(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _fit(text: str) -> str:
    return UNFIT.sub("\ufffd", text)
