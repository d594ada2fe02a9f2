"""Latency of recall in one namespace of a size, on stores made for it: one of conversations, one of documents with their graph.

The corpora are made up and brought in by the real command; then `recall.measure` asks. Texts of the store are the questions.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.benchmarks import recall
from jobs.benchmarks.agent_corpus import corpus_lines
from jobs.benchmarks.ingest import ingested
from jobs.benchmarks.made_up import document_lines
from jobs.run import Progress

Corpus = Callable[[int], Iterator[str]]
"""Units wanted -> JSON lines of one namespace."""


def _conversations(units: int) -> Iterator[str]:
    turns = max(1, round(units / 2.6))  # rounds, topics, sessions, facts, summaries besides
    return corpus_lines(turns, namespace_turns=turns)


def _documents(units: int) -> Iterator[str]:
    return document_lines(max(1, round(units / 2.1)))  # sentences; passages, sections, documents, facts besides


CORPORA: dict[str, Corpus] = {"conversations": _conversations, "documents": _documents}


def measure(units: int, limit: int, *, progress: Progress = lambda stage, done, total: None) -> list[dict]:
    """Rows of `recall.measure` for one namespace of about so many units, by corpus, each with the `units` that it has."""
    rows: list[dict] = []
    for done, (name, corpus) in enumerate(CORPORA.items(), 1):
        with tempfile.TemporaryDirectory(prefix="engraph-bench-") as folder:
            store, ran = ingested(corpus(units), Path(folder))
            made = json.loads(ran.out)["rows"]["memory_units"]
            measured = recall.measure(str(store), None, limit, scopes=(recall.ONE,))
        rows += [{"corpus": name, "units": made} | {c: v for c, v in row.items() if c != "scope"} for row in measured]
        progress("recall", done, len(CORPORA))
    told = f"Recall of {recall.K} for texts of a store, one at a time, in one namespace of made-up text"
    return [row | {"measured": told} for row in rows]
