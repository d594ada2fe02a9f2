"""What is asked, what is answered, and the few numbers that weigh the channels."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

LEVELS = {
    "leaf": ("turn", "sentence"),
    "window": ("round", "passage"),
    "topic": ("segment", "section"),
    "whole": ("session", "document"),
    "summary": ("summary",),
    "keywords": ("keywords",),
    "fact": ("fact", "note", "qa"),
}
LEAVES = LEVELS["leaf"]


def _dense() -> dict[str, float]:
    return {"leaf": 0.25, "topic": 0.35, "whole": 0.2, "fact": 0.35}


def _lexical() -> dict[str, float]:
    return {"leaf": 1.0, "window": 6.0, "topic": 2.5, "whole": 2.5, "fact": 1.0, "summary": 0.5}


@dataclass(frozen=True)
class RecallParams:
    """Weights of the channels: `dense` for z-scores of cosines, `lexical` for shares of BM25, 0 to 1, both by level.

    Rounded from list-wise fits that left one conversation out at a time; halving or doubling any of them alone moves LoCoMo by
    less than a point. `only` keeps the channels that it names, whole (`lexical:window`) or by kind (`dense`, `graph`,
    `speaker`, `time`); None keeps all. Scopes of more than `exact_rows` rows take
    `candidates` of each index instead of scanning: at 40,000 rows of LoCoMo both cost 5 to 6 ms on two cores, at 16,000 scanning
    3 to 5, at 100,000 11 to 7.
    """

    dense: dict[str, float] = field(default_factory=_dense)
    lexical: dict[str, float] = field(default_factory=_lexical)
    graph: float = 6.5
    speaker: float = 1.8
    time: float = 4.5
    temperature: float = 0.1
    routing: bool = True
    only: tuple[str, ...] | None = None
    exact_rows: int = 40_000
    candidates: int = 300

    def speaks(self, channel: str) -> bool:
        """Whether a channel is asked at all."""
        return self.only is None or channel in self.only or channel.split(":")[0] in self.only


@dataclass(frozen=True)
class Query:
    """One question. `namespaces` None means all, `granularity` None the default of what the scope holds.

    Time words in the text are read as of `asked_at`; where it is None, as of `now`, and where that is None too or nothing is
    remembered of such a time, as of the last thing that the scope remembers. `iterate` asks that often again with what was found.
    """

    text: str
    k: int = 10
    namespaces: tuple[str, ...] | None = None
    granularity: str | None = None
    valid_at: dt.datetime | None = None
    asked_at: dt.datetime | None = None
    now: dt.datetime | None = None
    iterate: int = 0


@dataclass(frozen=True)
class Hit:
    """One answer with its sources and what each channel contributed to its score."""

    rank: int
    unit_id: str
    namespace: str
    granularity: str
    score: float
    text: str
    source: list[dict]
    event_time: str | None
    time_source: str
    session_id: str | None
    document_id: str | None
    via: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """Hits, best first. `confidence`, 0 to 1, is the estimated chance that the scope holds what was asked for.

    `notes` say how the question was read; `why` says of each hit, by its unit, what brought it (both for `--explain`).
    """

    hits: list[Hit]
    confidence: float
    notes: tuple[str, ...] = ()
    why: dict[str, list[str]] = field(default_factory=dict)
