"""Leaves read into sentences: what was said, by whom and when, apart from the frame around it.

The text of a turn is `Speaker: words [caption]`. The speaker's prefix belongs to no sentence; the caption is one of its own,
marked, which gives mentions and keywords but neither facts nor summary. Every offset is in characters of the leaf's text, so
that a span can always be traced back to the source. Cost: one pass of the sentence splitter, the tagger and the date grammar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pyarrow as pa

from pipelines.extraction.dates import DateMention, resolve_dates
from pipelines.extraction.unspaced import cut_runs, recurring_words
from pipelines.extraction.words import Token, guess_language, tag, tokenize
from pipelines.segmentation.sentences import split_sentences

_OFFSET = re.compile(r"^(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?$", re.IGNORECASE)
_ASSISTANTS = frozenset(["assistant", "ai", "bot", "system", "model", "chatbot", "agent"])
_USERS = frozenset(["user", "human", "customer", "me", "you"])


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence (or caption) of leaf number `leaf`: [start, end) in the leaf's text, its tokens and its dates."""

    leaf: int
    start: int
    end: int
    tokens: tuple[Token, ...]
    dates: tuple[DateMention, ...]
    caption: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """One turn or sentence as read. `offset` is where its text begins in the source; `speaker` is null for documents."""

    unit_id: str
    text: str
    speaker: str | None
    assistant: bool
    source_ref: str
    offset: int
    event_time: datetime | None
    zone: str | None
    sentences: tuple[Sentence, ...]

    @property
    def name(self) -> str | None:
        """How a fact names the speaker: their own name, or `the user` where the source gives only a role."""
        if self.speaker is None:
            return None
        if self.assistant:
            return "the assistant"
        return "the user" if self.speaker.casefold() in _USERS else self.speaker

    @property
    def named_speaker(self) -> str | None:
        """The speaker when it is somebody's name, not a role."""
        return self.speaker if self.name == self.speaker else None

    def span(self, start: int, end: int) -> dict[str, object]:
        """Characters [start, end) of this leaf as a span of its source."""
        return {"ref": self.source_ref, "start": self.offset + start, "end": self.offset + end}


@dataclass(frozen=True)
class Group:
    """One session or document: its id, its leaves in order and the language they are in."""

    group_id: str
    leaves: tuple[Leaf, ...]
    language: str

    def sentences(self) -> list[Sentence]:
        return [s for leaf in self.leaves for s in leaf.sentences]


def read_group(leaves: pa.Table) -> Group:
    """Read the leaves of one session or document; the language is guessed once for all of them."""
    rows = leaves.to_pylist()
    bodies = [_body(row) for row in rows]
    raw = [_cut(row["text"], *body) for row, body in zip(rows, bodies, strict=True)]
    words_inside = recurring_words([piece[2] for pieces in raw for piece in pieces])
    if words_inside:
        raw = [[(a, b, cut_runs(tokens, words_inside), c) for a, b, tokens, c in pieces] for pieces in raw]
    words = [t[0].lower().replace("’", "'") for pieces in raw for _, _, tokens, _ in pieces for t in tokens]
    language = guess_language(words)
    read = [_read_leaf(i, row, pieces, language) for i, (row, pieces) in enumerate(zip(rows, raw, strict=True))]
    return Group(rows[0]["group_id"] if rows else "", tuple(read), language)


Piece = tuple[int, int, list[tuple[str, int, int]], bool]


def _body(row: dict) -> tuple[int, int, tuple[int, int] | None]:
    """Where the words of a leaf begin and end, and where its caption lies."""
    text, start, end, caption = row["text"], 0, len(row["text"]), None
    for prefix in (row["speaker"], row["role"]):
        if prefix and text.startswith(f"{prefix}:"):
            start = len(prefix) + 1
            break
    stop = len(text.rstrip())
    opening = text.rfind("[", start, stop)
    closed = row["granularity"] == "turn" and row["speaker"] and text.endswith("]", 0, stop)
    if closed and opening >= 0 and "]" not in text[opening : stop - 1]:
        end, caption = opening, (opening, stop)
    return start, end, caption


def _cut(text: str, start: int, end: int, caption: tuple[int, int] | None) -> list[Piece]:
    pieces: list[Piece] = [
        (a + start, b + start, tokenize(text, a + start, b + start), False) for a, b in split_sentences(text[start:end])
    ]
    if caption:
        pieces.append((*caption, tokenize(text, *caption), True))
    return pieces


def _read_leaf(number: int, row: dict, pieces: Sequence[Piece], language: str) -> Leaf:
    when = row["event_time"]
    dates = resolve_dates(row["text"], local_time(when, row["zone"])) if when is not None else []
    sentences = tuple(
        Sentence(
            number,
            start,
            end,
            tuple(tag(tokens, language)),
            tuple(d for d in dates if start <= d.start and d.end <= end),
            caption,
        )
        for start, end, tokens, caption in pieces
    )
    speaker, role = row["speaker"] or row["role"], (row["role"] or "").casefold()
    assistant = role in _ASSISTANTS or (speaker or "").casefold() in _ASSISTANTS
    return Leaf(
        row["unit_id"],
        row["text"],
        speaker,
        assistant,
        row["source_ref"],
        row["start"] or 0,
        when,
        row["zone"],
        sentences,
    )


def local_time(moment: datetime, zone: str | None) -> datetime:
    """`moment` in the zone that the source gave (`+02:00` or `Europe/Paris`); UTC where it gave none that is known."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(_zone(zone))
    except (KeyError, ValueError, OSError, OverflowError):  # unknown zone name; a local time before year 1
        return moment


def _zone(zone: str | None) -> tzinfo:
    if not zone:
        return UTC
    offset = _OFFSET.match(zone.strip())
    if offset is None:
        return ZoneInfo(zone)
    minutes = int(offset[2]) * 60 + int(offset[3] or 0)
    return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
