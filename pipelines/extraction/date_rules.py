"""What each date expression means: one small function per pattern of `date_grammar`.

A function gets the match, the reference day and whether the words before speak of the future, and returns the first and last
day, or None where there is none; a day that does not exist raises ValueError and year 10000 OverflowError, which `dates` takes
as no date. Choices between the field's readings are listed in `dates`.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import date, timedelta

from dateutil.relativedelta import relativedelta

Range = tuple[date, date]
Rule = Callable[[re.Match[str], date, bool], Range | None]

MONTH_NAMES = {
    1: "january jan januar janvier enero gennaio janeiro januari",
    2: "february feb februar février febrero febbraio fevereiro februari",
    3: "march mar märz mars marzo março maart",
    4: "april apr avril abril aprile",
    5: "may mai mayo maggio maio mei",
    6: "june jun juni juin junio giugno junho",
    7: "july jul juli juillet julio luglio julho",
    8: "august aug août agosto augustus",
    9: "september sep sept septembre septiembre settembre setembro",
    10: "october oct oktober okt octobre octubre ottobre outubro",
    11: "november nov novembre noviembre novembro",
    12: "december dec dezember dez décembre diciembre dicembre dezembro",
}
MONTHS = {name: n for n, names in MONTH_NAMES.items() for name in names.split()}
DAYS = {
    name: n
    for n, names in enumerate(
        (
            "monday mon",
            "tuesday tue tues",
            "wednesday wed",
            "thursday thu thur thurs",
            "friday fri",
            "saturday sat",
            "sunday sun",
        )
    )
    for name in names.split()
}
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
FEASTS = {
    "christmas eve": (12, 24),
    "christmas": (12, 25),
    "christmas day": (12, 25),
    "halloween": (10, 31),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
    "new year's": (1, 1),
    "valentine's day": (2, 14),
}
NUMBERS = {
    "a": 1, "an": 1, "one": 1, "couple": 2, "a couple": 2, "couple of": 2, "a couple of": 2, "two": 2, "three": 3, "four": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip


def month_range(year: int, month: int) -> Range:
    return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])


def year_range(year: int) -> Range:
    return date(year, 1, 1), date(year, 12, 31)


def _one(day: date) -> Range:
    return day, day


def _week(day: date) -> Range:
    monday = day - timedelta(days=day.weekday())
    return monday, monday + timedelta(days=6)


def _full_year(digits: str, ref: date) -> int:
    """Two digits mean the year within 80 back and 20 ahead of the reference."""
    year = int(digits)
    if len(digits) > 2:
        return year
    year += ref.year // 100 * 100
    return year - 100 if year > ref.year + 20 else year


def _settle(of_year: Callable[[int], Range], ref: date, future: bool) -> Range:
    """The occurrence of a yearly period that is meant: the latest begun one, or the coming one (see the module's text)."""
    this, before, after = of_year(ref.year), of_year(ref.year - 1), of_year(ref.year + 1)
    if future:
        return next(r for r in (before, this, after) if r[1] >= ref or r is after)
    for r in (this, after):
        if ref < r[0] <= ref + timedelta(days=60):
            return r
    return this if this[0] <= ref else before


def _group(m: re.Match[str], name: str) -> str:
    """A named group in lower case with single spaces; "" where the pattern has none or it did not take part."""
    return " ".join((m.groupdict().get(name) or "").lower().split())


def _count(m: re.Match[str]) -> int:
    words = _group(m, "n")
    return int(words) if words.isdigit() else NUMBERS[words]


def _unit(m: re.Match[str]) -> str:
    return _group(m, "unit").rstrip("s")


def ymd(m: re.Match[str], ref: date, future: bool) -> Range | None:
    return _one(date(int(m["y"]), int(m["m"]), int(m["d"])))


def numeric(m: re.Match[str], ref: date, future: bool) -> Range | None:
    a, b, year = int(m["a"]), int(m["b"]), _full_year(m["yy"], ref)
    day_first = m["sep"] == "." or a > 12
    return _one(date(year, b, a) if day_first else date(year, a, b))


def day_month(m: re.Match[str], ref: date, future: bool) -> Range | None:
    month = MONTHS[m["mon"].lower()]
    first, last = int(m["d"]), int(m["d2"] or m["d"])

    def in_year(year: int) -> Range:
        return date(year, month, first), date(year, month, last)

    if first > last:
        return None
    if m["y"]:
        return in_year(int(m["y"]))
    if (month, last) == (2, 29):
        return next((in_year(y) for y in range(ref.year, ref.year - 8, -1) if calendar.isleap(y) and y > 0), None)
    return _settle(in_year, ref, future)


def month_year(m: re.Match[str], ref: date, future: bool) -> Range | None:
    return month_range(int(m["y"]), MONTHS[m["mon"].lower()])


def month_only(m: re.Match[str], ref: date, future: bool) -> Range | None:
    month, which = MONTHS[m["mon"].lower()], _group(m, "which").strip()
    if which == "last":
        return month_range(ref.year - (month >= ref.month), month)
    if which == "next":
        return month_range(ref.year + (month <= ref.month), month)
    if which == "this":
        return month_range(ref.year, month)
    return _settle(lambda year: month_range(year, month), ref, future)


def year_only(m: re.Match[str], ref: date, future: bool) -> Range | None:
    return year_range(int(m["y"]))


def decade(m: re.Match[str], ref: date, future: bool) -> Range | None:
    start = int(m["dec"])
    start = start if start > 99 else start + (1900 if start >= 30 else 2000)
    return date(start, 1, 1), date(start + 9, 12, 31)


def day_of_month(m: re.Match[str], ref: date, future: bool) -> Range | None:
    day = int(m["d"])
    firsts = [ref.replace(day=1) + relativedelta(months=k) for k in ((0, 1, 2) if future else (0, -1, -2))]
    days = [f.replace(day=day) for f in firsts if day <= calendar.monthrange(f.year, f.month)[1]]
    return next((_one(d) for d in days if (d >= ref if future else d <= ref)), None)


def named_day(m: re.Match[str], ref: date, future: bool) -> Range | None:
    words = " ".join(m.group().lower().split())
    shift = 0
    if "yesterday" in words or words == "last night":
        shift = -2 if "before" in words else -1
    elif "tomorrow" in words:
        shift = 2 if "after" in words else 1
    return _one(ref + timedelta(days=shift))


def weekday(m: re.Match[str], ref: date, future: bool) -> Range | None:
    name, which = m["wd"].lower(), _group(m, "which")
    back = (ref.weekday() - DAYS[name.rstrip(".")]) % 7
    if which == "this":
        return _one(ref - timedelta(days=ref.weekday() - DAYS[name.rstrip(".")]))
    if which in ("next", "this coming", "coming") or (not which and future):
        return _one(ref + timedelta(days=7 - back))
    return _one(ref - timedelta(days=back or 7))


def period(m: re.Match[str], ref: date, future: bool) -> Range | None:
    """last/this/next week, weekend, month, year; `past` means the same as `last`."""
    step = {"last": -1, "past": -1, "previous": -1, "this": 0, "current": 0, "next": 1, "coming": 1}[_group(m, "which")]
    unit = m["unit"].lower()
    if unit == "week":
        return _week(ref + timedelta(weeks=step))
    if unit == "weekend":
        # on a Sunday `last weekend` is a week ago, and the weekend of today is `this`
        saturday = _week(ref)[0] + timedelta(days=5, weeks=step)
        return saturday, saturday + timedelta(days=1)
    if unit == "month":
        day = ref.replace(day=1) + relativedelta(months=step)
        return month_range(day.year, day.month)
    return year_range(ref.year + step)


def ago(m: re.Match[str], ref: date, future: bool) -> Range | None:
    sign = -1 if _group(m, "dir") in ("ago", "back", "earlier") else 1
    return _shifted(ref, _unit(m), sign * _count(m))


def _shifted(ref: date, unit: str, n: int) -> Range:
    if unit == "day":
        return _one(ref + timedelta(days=n))
    if unit == "week":
        return _week(ref + timedelta(weeks=n))
    if unit == "weekend":
        saturday = _week(ref + timedelta(weeks=n))[0] + timedelta(days=5)
        return saturday, saturday + timedelta(days=1)
    if unit == "month":
        day = ref.replace(day=1) + relativedelta(months=n)
        return month_range(day.year, day.month)
    return year_range(ref.year + n)


def in_units(m: re.Match[str], ref: date, future: bool) -> Range | None:
    return _shifted(ref, _unit(m), _count(m))


def few_ago(m: re.Match[str], ref: date, future: bool) -> Range | None:
    """`a few` is two to five."""
    unit = _unit(m)
    return _shifted(ref, unit, -5)[0], _shifted(ref, unit, -2)[1]


def past_span(m: re.Match[str], ref: date, future: bool) -> Range | None:
    """`the past three weeks`: from that long ago to the reference."""
    n = 4 if _group(m, "n") in ("few", "several") else _count(m)
    span = {"day": relativedelta(days=n), "week": relativedelta(weeks=n), "month": relativedelta(months=n)}
    return ref - span.get(_unit(m), relativedelta(years=n)), ref


def season(m: re.Match[str], ref: date, future: bool) -> Range | None:
    month, which, year = SEASONS[m["season"].lower()], _group(m, "which"), _group(m, "y")

    def in_year(year: int) -> Range:
        last = date(year, month, 1) + relativedelta(months=3) - timedelta(days=1)
        return date(year, month, 1), last

    if year:
        return in_year(int(year))
    years = [in_year(y) for y in range(ref.year - 2, ref.year + 2)]
    if which in ("last", "past"):
        return next((r for r in reversed(years) if r[1] < ref), None)
    if which in ("next", "coming"):
        return next((r for r in years if r[0] > ref), None)
    if which == "this":
        return next((r for r in years if r[1] >= ref), None)
    return _settle(in_year, ref, future)


def feast(m: re.Match[str], ref: date, future: bool) -> Range | None:
    name, which = _group(m, "feast").replace("’", "'"), _group(m, "which")
    month, day = FEASTS[name]
    days = [date(y, month, day) for y in range(ref.year - 1, ref.year + 2)]
    if m["y"]:
        return _one(date(int(m["y"]), month, day))
    if which == "last":
        return next((_one(d) for d in reversed(days) if d < ref), None)
    if which == "next":
        return next((_one(d) for d in days if d > ref), None)
    return _settle(lambda year: _one(date(year, month, day)), ref, future)
