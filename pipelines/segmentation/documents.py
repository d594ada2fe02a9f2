"""Documents -> units of granularity sentence, passage, section and document. Linear in characters.

Sections follow the headings of structured text (Markdown, and HTML or DOCX that was turned into it). Inside a section, sentences
are packed into passages of at most `max_tokens` of the encoder, preferring to end with a paragraph, each passage beginning with
the last sentences of the one before. Every unit is a slice of the document's text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipelines.segmentation.sentences import split_sentences
from pipelines.segmentation.units import CountTokens, draft_units, span
from schemas.ids import derived_id

EXTRACTOR = "structure@1"
STRUCTURED = ("text/markdown", "text/html", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")
HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class PassageParams:
    """Sizes in tokens of the encoder; a passage may end at a paragraph once it is `fill` full."""

    max_tokens: int = 192
    overlap_tokens: int = 32
    fill: float = 0.6


@dataclass(frozen=True)
class _Sentence:
    start: int
    end: int
    tokens: int
    opens_paragraph: bool


def segment_documents(documents: pa.Table, params: PassageParams, count_tokens: CountTokens) -> pa.Table:
    """Drafts of all sentences, passages, sections and documents. `text[start:end]` of the document is each unit's text."""
    rows = [row for document in documents.to_pylist() for row in _units_of(document, params, count_tokens)]
    return draft_units(rows, count_tokens)


def _units_of(document: dict, params: PassageParams, count_tokens: CountTokens) -> list[dict]:
    text, rows = document["text"], []
    counts = {"section": 0, "passage": 0, "sentence": 0}

    def add(granularity: str, start: int, end: int, parent_id: str | None) -> str:
        counts[granularity] += 1
        unit_id = derived_id(document["document_id"], granularity, counts[granularity])
        rows.append(_slice(document, unit_id, granularity, counts[granularity] - 1, start, end, parent_id))
        return unit_id

    start, end = _trim(text, 0, len(text))
    rows.append(_slice(document, document["document_id"], "document", 0, start, end, None))
    for s_start, s_end in section_spans(text, document["media_type"]):
        section = add("section", s_start, s_end, document["document_id"])
        sentences = _sentences(text, s_start, s_end, params.max_tokens, count_tokens)
        covered = 0
        for a, b in _pack(sentences, params):
            passage = add("passage", sentences[a].start, sentences[b - 1].end, section)
            for sentence in sentences[max(a, covered) : b]:
                add("sentence", sentence.start, sentence.end, passage)
            covered = b
    return rows


def section_spans(text: str, media_type: str) -> list[tuple[int, int]]:
    """[start, end) of each section, trimmed of white space; together they hold everything that is not white space."""
    fences = [m.span() for m in FENCE.finditer(text)]
    starts = [a for a, _ in fences]

    def in_fence(at: int) -> bool:
        i = bisect_right(starts, at) - 1
        return i >= 0 and at < fences[i][1]

    structured = media_type in STRUCTURED
    heads = [m.start() for m in HEADING.finditer(text) if not in_fence(m.start())] if structured else []
    cuts = [0, *[h for h in heads if h > 0], len(text)]
    trimmed = [_trim(text, a, b) for a, b in pairwise(cuts)]
    return [(a, b) for a, b in trimmed if a < b]


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """[start, end) without white space at either end; an empty range where there is nothing else."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return start + left, max(start + left, start + len(piece.rstrip()))


def _sentences(text: str, start: int, end: int, max_tokens: int, count_tokens: CountTokens) -> list[_Sentence]:
    """Sentences of a section; one longer than a passage is cut into pieces at spaces."""
    spans = [(start + a, start + b) for a, b in split_sentences(text[start:end])]
    before = start
    out = []
    for a, b, tokens in _fitting(text, spans, max_tokens, count_tokens):
        out.append(_Sentence(a, b, tokens, text[before:a].count("\n") >= 2))
        before = b
    return out


def _fitting(
    text: str, spans: list[tuple[int, int]], max_tokens: int, count_tokens: CountTokens
) -> Iterator[tuple[int, int, int]]:
    """(start, end, tokens) of spans, those over `max_tokens` cut until every piece fits or is one character."""
    if not spans:
        return
    lengths = count_tokens([text[a:b] for a, b in spans])
    for (a, b), n in zip(spans, lengths, strict=True):
        if n <= max_tokens or b - a == 1:
            yield a, b, int(n)
        else:
            yield from _fitting(text, _cut(text, a, b, int(np.ceil(n / max_tokens)) + 1), max_tokens, count_tokens)


def _cut(text: str, start: int, end: int, parts: int) -> list[tuple[int, int]]:
    """Up to `parts` pieces of about equal length, cut after the last space before each target where there is one."""
    cuts = [start]
    for i in range(1, parts):
        target = start + (end - start) * i // parts
        space = text.rfind(" ", cuts[-1] + 1, target)
        cuts.append(min(end, space + 1 if space > cuts[-1] else max(target, cuts[-1] + 1)))
    pieces = [_trim(text, a, b) for a, b in pairwise([*cuts, end])]
    return [(a, b) for a, b in pieces if a < b]


def _pack(sentences: list[_Sentence], params: PassageParams) -> list[tuple[int, int]]:
    """[first, last) sentence of each passage; each holds at least one sentence that the passages before it do not."""
    passages: list[tuple[int, int]] = []
    first = covered = 0
    while covered < len(sentences):
        last, size = first, 0
        while last < len(sentences) and (last <= covered or size + sentences[last].tokens <= params.max_tokens):
            if last > covered and sentences[last].opens_paragraph and size >= params.fill * params.max_tokens:
                break
            size += sentences[last].tokens
            last += 1
        passages.append((first, last))
        covered = last
        first = _overlap_start(sentences, first, last, params)
    return passages


def _overlap_start(sentences: list[_Sentence], first: int, last: int, params: PassageParams) -> int:
    """The earliest sentence after `first` whose tail before `last` keeps to the overlap and leaves room for sentence `last`."""
    if last >= len(sentences):
        return last
    room = min(params.overlap_tokens, params.max_tokens - sentences[last].tokens)
    start, size = last, 0
    while start - 1 > first and size + sentences[start - 1].tokens <= room:
        start -= 1
        size += sentences[start].tokens
    return start


def _slice(
    document: dict, unit_id: str, granularity: str, ordinal: int, start: int, end: int, parent_id: str | None
) -> dict:
    return {
        "unit_id": unit_id,
        "namespace": document["namespace"],
        "granularity": granularity,
        "memory_type": "semantic",
        "text": document["text"][start:end],
        "parent_id": parent_id,
        "document_id": document["document_id"],
        "ordinal": ordinal,
        "source_spans": [span(document["source_ref"], start, end)],
        "event_time": document["published_at"],
        "zone": document["zone"],
        "time_source": document["time_source"],
        "extractor": EXTRACTOR,
    }
