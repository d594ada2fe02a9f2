"""Small shards of conversations and documents whose vectors are made from their words, so that no model is needed."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lifecycle import new_versions
from pipelines.recall import RecallShard, build_shard
from pipelines.recall.shard import sort_units
from pipelines.segmentation import (
    PassageParams,
    SurpriseParams,
    bound_segments,
    segment_conversations,
    segment_documents,
)
from pipelines.segmentation.conversations import in_order
from pipelines.segmentation.units import draft_units, span
from schemas.ids import content_hash, derived_id
from schemas.tables import TABLES

START = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
DIM = 48


def encode(texts: list[str]) -> np.ndarray:
    """Sums of one fixed random direction per word, of unit length."""
    out = np.zeros((len(texts), DIM))
    for row, text in zip(out, texts, strict=True):
        for word in text.lower().replace(".", " ").replace("?", " ").replace(":", " ").split() or [" "]:
            seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big")
            row += np.random.default_rng(seed).standard_normal(DIM)
    return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)


def count_words(texts: list[str]) -> np.ndarray:
    return np.array([len(t.split()) for t in texts], np.int32)


def turns(namespace: str, session: str, messages: list[str], *, hours: int = 0) -> pa.Table:
    """A session of messages `speaker: text`, a minute apart."""
    session_id = f"{namespace}/{session}"
    rows = [
        {
            "turn_id": f"{session_id}/{i}",
            "namespace": namespace,
            "conversation_id": namespace,
            "session_id": session_id,
            "turn_no": i,
            "speaker": text.split(":")[0],
            "role": "speaker",
            "said_at": START + dt.timedelta(hours=hours, minutes=i),
            "zone": "+02:00",
            "time_source": "turn",
            "text": text,
            "source_ref": f"{session_id}:{i}",
            "content_hash": content_hash(text),
            "record_hash": content_hash(f"{session_id} {i}"),
            "day": START.date(),
        }
        for i, text in enumerate(messages)
    ]
    return TABLES["turns"].from_rows(rows)


def document(namespace: str, name: str, text: str, *, hours: int = 0) -> pa.Table:
    row = {
        "document_id": f"{namespace}/{name}",
        "namespace": namespace,
        "title": name,
        "text": text,
        "media_type": "text/markdown",
        "published_at": START + dt.timedelta(hours=hours),
        "zone": None,
        "time_source": "document",
        "source_ref": name,
        "content_hash": content_hash(text),
        "record_hash": content_hash(f"{namespace} {name}"),
        "day": START.date(),
    }
    return TABLES["documents"].from_rows([row])


def units_of(sessions: list[pa.Table], documents: list[pa.Table]) -> pa.Table:
    """All structural units, with a summary of each group and a fact of each third leaf."""
    drafts = []
    for session in sessions:
        ordered = in_order(session)
        vectors = encode(ordered["text"].to_pylist())
        drafts += [
            segment_conversations(ordered),
            bound_segments(ordered, vectors, SurpriseParams(min_turns=2, max_turns=4)),
        ]
    drafts += [segment_documents(d, PassageParams(max_tokens=12, overlap_tokens=4), count_words) for d in documents]
    structural = pa.concat_tables(drafts)
    derived = draft_units(_derived(structural.to_pylist()))
    empty = TABLES["memory_units"].empty(), TABLES["operations"].empty()
    full = pa.concat_tables([structural, derived])
    return new_versions(full, *empty, day=START.date(), now=START, policy="test@1")[0]


def _derived(units: list[dict]) -> list[dict]:
    rows = []
    for unit in units:
        base = {k: unit[k] for k in ("namespace", "session_id", "document_id", "event_time", "zone", "time_source")}
        base |= {"parent_id": unit["unit_id"], "extractor": "test@1", "quotes": False, "memory_type": "semantic"}
        if unit["granularity"] in ("session", "document"):
            words = unit["text"].split()
            base |= {"granularity": "summary", "text": " ".join(words[:6]), "source_spans": unit["source_spans"][:1]}
            rows.append(base | {"unit_id": derived_id(unit["unit_id"], "summary")})
        elif unit["granularity"] in ("turn", "sentence") and unit["ordinal"] % 3 == 0:
            base |= {"granularity": "fact", "text": "fact " + unit["text"], "ordinal": unit["ordinal"]}
            (quote,) = unit["source_spans"]
            base["source_spans"] = [span(quote["ref"], quote["start"], quote["end"])]
            rows.append(base | {"unit_id": derived_id(unit["unit_id"], "fact", 1)})
    return rows


@dataclass(frozen=True)
class Corpus:
    """Units in shard order, their vectors, the opened shard."""

    units: pa.Table
    vectors: np.ndarray
    shard: RecallShard

    def rows(self) -> list[dict]:
        return self.units.to_pylist()


class Make:
    """Builders of sessions, documents, units and shards."""

    START, DIM = START, DIM
    encode = staticmethod(encode)
    turns = staticmethod(turns)
    document = staticmethod(document)
    units_of = staticmethod(units_of)

    @staticmethod
    def corpus(units: pa.Table, folder: Path, *, vectors: np.ndarray | None = None) -> Corpus:
        ordered = sort_units(units)
        made = encode(ordered["text"].to_pylist()) if vectors is None else vectors
        build_shard(ordered, made, folder, encoder="words@f32")
        return Corpus(ordered, made, RecallShard(folder))


@pytest.fixture(scope="session")
def make() -> type[Make]:
    """`make.turns(...)`, `make.document(...)`, `make.units_of(...)`, `make.corpus(...)`, `make.encode(...)`."""
    return Make


WORDS = ["garden", "train", "Paris", "piano", "bread", "winter", "doctor", "lake", "novel", "ticket", "window", "horse"]


def chatter(seed: int, n: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{('Ann', 'Bob')[i % 2]}: " + " ".join(rng.choice(WORDS, rng.integers(2, 6))) for i in range(n)]


def prose(seed: int, sections: int) -> str:
    rng = np.random.default_rng(seed)
    sentence: Callable[[], str] = lambda: " ".join(rng.choice(WORDS, rng.integers(2, 7))).capitalize() + "."  # noqa: E731
    return "\n\n".join(f"# Part {i}\n\n" + " ".join(sentence() for _ in range(6)) for i in range(sections))


@pytest.fixture(scope="session")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two namespaces of two sessions each."""
    sessions = [
        turns(ns, s, chatter(i, 7 + i), hours=i)
        for i, (ns, s) in enumerate([("a", "s1"), ("b", "s1"), ("a", "s2"), ("b", "s2")])
    ]
    return Make.corpus(units_of(sessions, []), tmp_path_factory.mktemp("recall") / "shard")


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two namespaces, three documents."""
    found = [
        document(ns, n, prose(i, 2), hours=i) for i, (ns, n) in enumerate([("d", "x.md"), ("d", "y.md"), ("e", "x.md")])
    ]
    return Make.corpus(units_of([], found), tmp_path_factory.mktemp("recall") / "shard")


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """One namespace with sessions and documents that alternate in time."""
    sessions = [turns("m", f"s{i}", chatter(20 + i, 5), hours=2 * i) for i in range(3)]
    found = [document("m", f"d{i}.md", prose(30 + i, 1), hours=2 * i + 1) for i in range(3)]
    return Make.corpus(units_of(sessions, found), tmp_path_factory.mktemp("recall") / "shard")
