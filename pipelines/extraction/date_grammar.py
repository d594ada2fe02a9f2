"""The date grammar: a table of patterns, the function that gives each its meaning, and the words that make it worth a try.

The grammar is ordered only for the reader: overlapping matches are settled by length in `dates`. A pattern runs only on a text
that has one of its cues among its words (`0` stands for any digit), which keeps most texts at the cost of one word split.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pipelines.extraction import date_rules as rules

_MON = "|".join(sorted(rules.MONTHS, key=len, reverse=True))
_WDAY = "mon|tues?|wed|thu(?:rs?)?|fri|sat|sun"
_WEEKDAY = rf"(?P<wd>(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:{_WDAY})(?=\.|,))"
_DAY = r"(?P<d>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th|\.|er|º)?"
_YEAR = r"(?P<y>1[5-9]\d\d|20\d\d|21\d\d)"
_COUNTS = r"\d{1,3}|(?:a )?couple(?: of)?|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_COUNT = rf"(?P<n>{_COUNTS})"
_NOT_IN_NUMBER = r"(?<![\w.,/:$€£¥#+\-])"
_END = r"(?![\w])(?![.,/:\-]\d)(?!\s?[%°€£¥])"
_PART = r"(?:\s+(?:morning|afternoon|evening|night))?"
_OF = r"(?:of\s+|de\s+|del\s+)?"


_WHICH_DAY = r"(?P<which>last|past|this past|previous|this coming|this|next|coming)"
_AFTER = r"(?=\s*(?:[.,;:!?)]|$|and\b|so\b|i\b|we\b|at\b|to\b|for\b|with\b))"
_IN = "in|since|until|till|by|during|from|of|through|before|after|early|late|mid|around"
_DAY_END = r"(?:\s?[-–]\s?(?P<d2>[12]?\d|3[01])(?:st|nd|rd|th)?)?"
_SEASON = r"(?P<season>spring|summer|autumn|fall|winter)"
_MONTH_CUES = frozenset(rules.MONTHS)
_WEEKDAY_CUES = frozenset(rules.DAYS)
_SEASON_CUES = frozenset(rules.SEASONS)
_UNIT_CUES = frozenset(["day", "days", "week", "weeks", "weekend", "weekends", "month", "months", "year", "years"])
_DIGIT = frozenset("0")


class Pattern(NamedTuple):
    """`relative` None: relative exactly when the year did not take part in the match."""

    regex: re.Pattern[str]
    rule: rules.Rule
    relative: bool | None
    cues: frozenset[str]


def _pattern(regex: str, rule: rules.Rule, relative: bool | None, cues: frozenset[str]) -> Pattern:
    return Pattern(re.compile(regex, re.IGNORECASE), rule, relative, cues)


EXPLICIT = [
    _pattern(
        rf"{_NOT_IN_NUMBER}{_YEAR}[-/.](?P<m>0?[1-9]|1[0-2])[-/.](?P<d>0?[1-9]|[12]\d|3[01])(?=T\d|{_END})",
        rules.ymd, False, _DIGIT,
    ),
    _pattern(rf"{_YEAR}\s?[年년]\s?(?P<m>\d{{1,2}})\s?[月월]\s?(?P<d>\d{{1,2}})\s?[日일]", rules.ymd, False, _DIGIT),
    _pattern(
        rf"{_NOT_IN_NUMBER}(?P<a>\d{{1,2}})(?P<sep>[/.\-])(?P<b>\d{{1,2}})(?P=sep)(?P<yy>(?:19|20)\d\d){_END}",
        rules.numeric, False, _DIGIT,
    ),
    _pattern(
        rf"{_NOT_IN_NUMBER}(?P<a>\d{{1,2}})(?P<sep>/)(?P<b>\d{{1,2}})/(?P<yy>\d\d){_END}", rules.numeric, False, _DIGIT
    ),
    _pattern(
        rf"{_NOT_IN_NUMBER}{_DAY}{_DAY_END}\s+{_OF}(?P<mon>{_MON})\b\.?(?:,?\s+{_OF}{_YEAR}{_END})?",
        rules.day_month, None, _MONTH_CUES,
    ),
    _pattern(
        rf"\b(?P<mon>{_MON})\b\.?\s+(?:the\s+)?{_DAY}{_DAY_END}{_END}(?!\s?(?:am|pm|a\.m|p\.m)\b)(?:,?\s+{_YEAR}{_END})?",
        rules.day_month, None, _MONTH_CUES,
    ),
    _pattern(rf"\b(?P<mon>{_MON})\b\.?,?\s+{_OF}{_YEAR}{_END}", rules.month_year, False, _MONTH_CUES),
    _pattern(
        rf"(?P<cue>\b(?:{_IN}|year|between|class of)[\s\-]+){_YEAR}{_END}(?!\s+[a-z]+s\b(?<!was)(?<!is))",
        rules.year_only, False, _DIGIT,
    ),
    _pattern(rf"(?P<cue>\(){_YEAR}(?=\))", rules.year_only, False, _DIGIT),
    _pattern(rf"(?<!\w){_YEAR}\s?年", rules.year_only, False, _DIGIT),
    _pattern(
        r"\bthe\s+(?:early\s+|late\s+|mid-?\s*)?['’]?(?P<dec>(?:19|20)?\d0)['’]?s\b", rules.decade, False, _DIGIT
    ),
    _pattern(rf"\b{_SEASON}\s+(?:of\s+)?{_YEAR}{_END}", rules.season, False, _SEASON_CUES),
]  # fmt: skip

RELATIVE = [
    _pattern(
        rf"(?P<cue>\b(?:{_IN})[\s\-]+(?:early\s+|late\s+|mid-?\s*)?)(?P<which>(?:this|last|next)\s+|)(?P<mon>{_MON})\b(?!\s+\d)",
        rules.month_only, True, _MONTH_CUES,
    ),
    _pattern(rf"\b(?P<which>last|this|next)\s+(?P<mon>{_MON})\b(?!\s+\d)", rules.month_only, True, _MONTH_CUES),
    _pattern(
        rf"(?P<cue>\b(?:on|by|until|since|before|after)\s+)the\s+{_DAY}(?<=st|nd|rd|th){_AFTER}",
        rules.day_of_month, True, _DIGIT,
    ),
    _pattern(
        rf"\b(?:the\s+day\s+(?:before\s+yesterday|after\s+tomorrow)|yesterday{_PART}|tomorrow{_PART}|today|tonight"
        r"|last\s+night|this\s+(?:morning|afternoon|evening))\b(?!['’]s\s+\w+s\b)",
        rules.named_day, True,
        frozenset(["yesterday", "tomorrow", "today", "tonight", "night", "morning", "afternoon", "evening"]),
    ),
    _pattern(rf"(?<!\w)(?:{_WHICH_DAY}\s+)?{_WEEKDAY}{_PART}\b(?!s)", rules.weekday, True, _WEEKDAY_CUES),
    _pattern(
        r"\b(?:the\s+|this\s+)?(?P<which>last|past|previous|this|current|next|coming)\s+(?P<unit>week|weekend|month|year)\b"
        r"(?!['’-]s?\s?\w*old)",
        rules.period, True, _UNIT_CUES,
    ),
    _pattern(
        rf"\b{_COUNT}\s+(?P<unit>days?|weeks?|weekends?|months?|years?)\s+(?P<dir>ago|back|earlier|from\s+now|from\s+today)\b",
        rules.ago, True, _UNIT_CUES,
    ),
    _pattern(
        rf"\bin\s+{_COUNT}\s+(?P<unit>days?|weeks?|months?|years?)\b(?!['’]){_AFTER}", rules.in_units, True, _UNIT_CUES
    ),
    _pattern(
        r"\b(?:a\s+few|several|some)\s+(?P<unit>days|weeks|weekends|months|years)\s+(?:ago|back)\b",
        rules.few_ago, True, _UNIT_CUES,
    ),
    _pattern(
        rf"\b(?:the\s+|these\s+)?(?:last|past)\s+(?P<n>few|several|{_COUNTS})\s+(?P<unit>days|weeks|months|years)\b",
        rules.past_span, True, _UNIT_CUES,
    ),
    _pattern(rf"\b(?P<which>last|past|this|next|coming)\s+{_SEASON}\b", rules.season, True, _SEASON_CUES),
    _pattern(
        r"\b(?:in|during|over|since)\s+(?:the\s+)?(?P<season>spring|summer|autumn|winter)\b",
        rules.season, True, _SEASON_CUES,
    ),
    _pattern(
        r"\b(?:(?P<which>last|this|next)\s+)?"
        r"(?P<feast>christmas(?:\s+(?:eve|day))?|halloween|new\s+year['’]s(?:\s+(?:eve|day))?|valentine['’]s\s+day)"
        rf"\b(?:,?\s+{_YEAR}{_END})?",
        rules.feast, None, frozenset(["christmas", "halloween", "year", "valentine"]),
    ),
]  # fmt: skip
CUES = frozenset().union(*(p.cues for p in EXPLICIT + RELATIVE)) - _DIGIT
