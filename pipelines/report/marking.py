"""Why a hit is a hit, in words: the query's words marked in its text, the channels that spoke for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from pipelines.lexical.terms import stem_terms

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
CHANNELS = {"dense": "meaning", "lexical": "words", "graph": "links", "speaker": "who speaks", "time": "when it was"}
LEVELS = {
    "leaf": "of the message or sentence",
    "window": "of the exchange or passage",
    "topic": "of the topic or section",
    "whole": "of the whole session or document",
    "summary": "of a summary",
    "keywords": "of keywords",
    "fact": "of a fact",
}


@dataclass(frozen=True)
class Reason:
    """One channel's part in a score; `share` is relative to the largest part."""

    channel: str
    words: str
    value: float
    share: float


def marked(text: str, question: str) -> Markup:
    """The text, escaped, with <mark> around words that share a stem with the question's."""
    stems = set(stem_terms(question))
    out, last = [], 0
    for found in WORD.finditer(text):
        if stems & set(stem_terms(found[0])):
            out += [escape(text[last : found.start()]), Markup("<mark>"), escape(found[0]), Markup("</mark>")]
            last = found.end()
    return Markup("").join([*out, escape(text[last:])])


def reasons(via: Mapping[str, float]) -> list[Reason]:
    """Channels by what they brought, largest first; names that are not known are shown as they are."""
    most = max((abs(value) for value in via.values()), default=1.0) or 1.0
    ordered = sorted(via.items(), key=lambda item: -abs(item[1]))
    return [Reason(name, _words(name), value, abs(value) / most) for name, value in ordered]


def _words(channel: str) -> str:
    kind, _, level = channel.partition(":")
    return " ".join(w for w in (CHANNELS.get(kind, kind), LEVELS.get(level, level)) if w)
