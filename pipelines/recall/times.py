"""When a question asks about: its time expressions as a window of days, and what lies in it.

`in August 2023`, `last week`, `before May 7`, `between March and June` are resolved by the grammar of `pipelines.extraction.dates`
against the day that the question was asked. As in LongMemEval the window, widened by two days, moves what lies in it ahead; it
does not remove the rest, for a date can be misread. A unit lies in the window when its event does; what a fact tells of that time
speaks for the turns or sentences that it was taken from. The words of the expression are no words to look for.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.extraction.dates import DateMention, resolve_dates
from pipelines.recall.scope import Scope
from pipelines.recall.shard import NO_DAY

WIDENED = 2
EVER = 3_652_059  # the last day that has a date
_BEFORE = re.compile(r"\b(?:before|until|till|prior to|up to|earlier than)\s+(?:the\s+)?$", re.IGNORECASE)
_AFTER = re.compile(r"\b(?:after|since|later than|from)\s+(?:the\s+)?$", re.IGNORECASE)
_BETWEEN = re.compile(r"\b(?:between|from)\s+(?:the\s+)?$", re.IGNORECASE)
_AND = re.compile(r"^\s*,?\s*(?:and|to|until|till|-|–)\s+(?:the\s+)?$", re.IGNORECASE)
_PREPOSITION = re.compile(
    r"\b(?:on|in|at|during|around|of|by|before|after|since|until|till|between|from)\s+(?:the\s+)?$", re.I
)
_FIRST = re.compile(r"\b(?:(?:the|for the) first time|earliest)\b", re.IGNORECASE)
_LAST = re.compile(r"\b(?:(?:the|for the) last time|latest|most recent(?:ly)?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Window:
    """Days first to last, both included and not yet widened; `words` as the question has them."""

    first: int
    last: int
    words: str

    def holds(self, days: np.ndarray) -> np.ndarray:
        return (days >= self.first - WIDENED) & (days <= self.last + WIDENED) & (days != NO_DAY)

    def __str__(self) -> str:
        first = "the beginning" if self.first <= 1 else dt.date.fromordinal(self.first).isoformat()
        last = "the end" if self.last >= EVER else dt.date.fromordinal(self.last).isoformat()
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True)
class Reading:
    """A question's time: its window, its words without the expression, and if it wants the first (-1) or last (1) of a kind."""

    window: Window | None
    text: str
    order: int = 0


def read_time(text: str, asked: dt.date) -> Reading:
    """What a question says about time, as of the day that it was asked."""
    order = -1 if _FIRST.search(text) else 1 if _LAST.search(text) else 0
    mentions = resolve_dates(text, dt.datetime.combine(asked, dt.time()))
    if not mentions:
        return Reading(None, text, order)
    window = _window(text, mentions)
    return Reading(window, _without(text, mentions), order)


def _window(text: str, mentions: Sequence[DateMention]) -> Window:
    first, second = mentions[0], mentions[1] if len(mentions) > 1 else None
    words = text[first.start : first.end]
    before = text[: first.start]
    if second and _BETWEEN.search(before) and _AND.search(text[first.end : second.start]):
        low, high = sorted([(first.first, first.last), (second.first, second.last)])
        return Window(low[0].toordinal(), max(low[1], high[1]).toordinal(), text[first.start : second.end])
    if _BEFORE.search(before):
        return Window(1, first.first.toordinal() - 1, words)
    if _AFTER.search(before):
        return Window(first.last.toordinal() + 1, EVER, words)
    low_day = min(m.first for m in mentions).toordinal()
    return Window(low_day, max(m.last for m in mentions).toordinal(), words)


def _without(text: str, mentions: Sequence[DateMention]) -> str:
    """The question less its dates and the prepositions before them; as it is where nothing would be left."""
    for mention in reversed(mentions):
        head = _PREPOSITION.sub("", text[: mention.start])
        text = head + " " + text[mention.end :]
    return text


def in_window(scope: Scope, window: Window) -> np.ndarray | None:
    """1 for the leaves that lie in a window or that some fact of that time was taken from; None where all do or none does."""
    leaf = scope.levels["leaf"]
    out = leaf.cover.best(window.holds(leaf.days).astype(np.float32))
    if "fact" in scope.levels and scope.levels["fact"].dated:
        fact = scope.levels["fact"]
        out = np.maximum(out, fact.cover.best(window.holds(fact.days).astype(np.float32)))
    return out if out.any() and not out.all() else None


def by_order(scope: Scope, order: int) -> np.ndarray | None:
    """0 to 1 by the time of a leaf: 1 for the last where `order` is 1, for the first where it is -1."""
    days = scope.levels["leaf"].days
    known = days != NO_DAY
    if not known.any() or days[known].min() == days[known].max():
        return None
    low, high = int(days[known].min()), int(days[known].max())
    share = np.where(known, (days - low) / (high - low), 0.5).astype(np.float32)
    return share if order > 0 else 1.0 - share
