"""Dates in text, resolved against a reference day: an explicit grammar, no guessing.

A table of patterns with one small function each, after the TimeML/SUTime division (Chang & Manning 2012): explicit dates,
periods, and expressions relative to the reference. Where the field's readings differ the choices are: `7/5/2023` is month
first unless that is impossible, `7.5.2023` day first; `last Friday` is the latest Friday before the reference and `next
Friday` the first after it; a bare weekday, `May 7` or `in August` is the latest one not after the reference, the coming one
if the words before it speak of the future (`will`, `going to`, ...), and for days and months within 60 days ahead the coming
one too; weeks run from Monday; seasons are northern; `two weeks ago` is the week, `two months ago` the month, `a year ago` the
year. Prices, versions, fractions and ages are not dates. About 2 us for a text without any cue word, 30 us otherwise.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime

from pipelines.extraction.date_grammar import CUES, EXPLICIT, RELATIVE, Pattern
from pipelines.extraction.date_rules import month_range, year_range

_GRAMMAR = EXPLICIT + RELATIVE
_FUTURE = re.compile(
    r"\b(?:will|won't|gonna|going to|plan(?:s|ning)? (?:to|on|for)|hop(?:e|ing) to|see you|upcoming|coming up|let's|until|till|due"
    r"|can't wait|looking forward|want to|need to|scheduled|about to|(?:am|is|are) \w+ing)\b|(?:'ll|'m \w+ing|'re \w+ing)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d")
_SENTENCE_END = re.compile(r"[.!?\n](?=\s|$)")
_MODAL_MONTHS = frozenset(["may", "march", "mar", "mars", "dec", "jan", "sun", "sat", "mon", "mei"])


@dataclass(frozen=True)
class DateMention:
    """A date expression at [start, end) of the text: `surface` means the days `first` to `last`, both included.

    `relative` is true when the reference was needed for the year or the day.
    """

    start: int
    end: int
    surface: str
    first: date
    last: date
    relative: bool

    def iso(self, joint: str = "/") -> str:
        """`2023-05-07`, `2023-05`, `2023`, or first and last day with `joint` between (ISO 8601 uses a slash)."""
        if self.first == self.last:
            return self.first.isoformat()
        if (self.first, self.last) == year_range(self.first.year):
            return f"{self.first.year:04d}"
        if (self.first, self.last) == month_range(self.first.year, self.first.month):
            return f"{self.first.year:04d}-{self.first.month:02d}"
        return f"{self.first.isoformat()}{joint}{self.last.isoformat()}"


def resolve_dates(text: str, reference: datetime) -> list[DateMention]:
    """Date expressions of `text` in order, none overlapping (the longer wins), resolved against `reference`'s calendar day.

    `reference` is the local time of speaking (its own date counts, whatever its zone). Expressions whose date does not exist
    (30 February, beyond year 9999) are left out.
    """
    words = set(_WORD.findall(text.lower()))
    if _DIGIT.search(text):
        words.add("0")
    elif words.isdisjoint(CUES):
        return []
    ref = reference.date()
    found: list[DateMention] = []
    for pattern in _GRAMMAR:
        if not words.isdisjoint(pattern.cues):
            mentions = (_resolve(text, m, pattern, ref) for m in pattern.regex.finditer(text))
            found += [mention for mention in mentions if mention is not None]
    return _longest(found)


def _resolve(text: str, m: re.Match[str], pattern: Pattern, ref: date) -> DateMention | None:
    groups = m.groupdict()
    if _is_other_word(text, m, groups):
        return None
    clause = text[max(0, m.start() - 80) : m.start()]
    ends = list(_SENTENCE_END.finditer(clause))
    future = bool(_FUTURE.search(clause, ends[-1].end() if ends else 0))
    try:
        resolved = pattern.rule(m, ref, future)
    except (ValueError, OverflowError):
        return None
    if resolved is None:
        return None
    start = m.start() + len(groups.get("cue") or "")
    needs_reference = pattern.relative if pattern.relative is not None else groups.get("y") is None
    return DateMention(start, m.end(), text[start : m.end()], *resolved, needs_reference)


def _is_other_word(text: str, m: re.Match[str], groups: dict[str, str | None]) -> bool:
    """`may 5`, `every Friday`, `March on!`: a month's or day's name that is no date."""
    month = groups.get("mon")
    if month and month.lower() in _MODAL_MONTHS and month.islower() and not groups.get("y"):
        return re.search(r"\d(?:st|nd|rd|th)|^(?:in|since|during)\s|^\d", m.group()) is None
    if groups.get("wd"):
        return (
            re.search(
                r"\b(?:every|each|most|on all|some)\s+(?:other\s+)?$", text[max(0, m.start() - 14) : m.start()], re.I
            )
            is not None
        )
    return False


def _longest(found: list[DateMention]) -> list[DateMention]:
    """Of overlapping mentions the longest, then the first."""
    kept: list[DateMention] = []
    starts: list[int] = []
    for mention in sorted(found, key=lambda d: (d.start - d.end, d.start)):
        at = bisect_right(starts, mention.start)
        after_previous = at == 0 or kept[at - 1].end <= mention.start
        if after_previous and (at == len(kept) or mention.end <= starts[at]):
            kept.insert(at, mention)
            starts.insert(at, mention.start)
    return kept
