"""Times as sources write them -> aware UTC and the zone that was given.

Formats: ISO 8601, RFC 5322 (e-mail), epoch seconds to nanoseconds (told apart by size), `2023/05/20 (Sat) 02:21`,
`1:56 pm on 8 May, 2023`, `8 May 2023`, `May 8, 2023`. A closed list on purpose: a guessing parser reads 05/08/2023 as one
of two days, and a wrong date is worse than a refused one. A time without a zone is taken as UTC and its zone stays None.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from email.utils import parsedate_to_datetime

from schemas.errors import InvalidRecord

FORMATS = (
    "%Y/%m/%d (%a) %H:%M",
    "%I:%M %p on %d %B, %Y",
    "%I:%M %p on %d %B %Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d %B %Y",
    "%d %B, %Y",
    "%d %b %Y",
    "%B %d, %Y",
    "%b %d, %Y",
    "%d %B %Y %H:%M",
    "%B %d, %Y %H:%M",
    "%B %d, %Y %I:%M %p",
    "%b %d, %Y %I:%M %p",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S.%f %z",
    "%Y-%m-%d %I:%M %p",
)
LONGEST = 100  # characters; the longest e-mail dates have about 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time (aware, UTC) and the offset that the source gave (`+02:00`), None where it gave none."""

    at: datetime
    zone: str | None


def is_given(value: object) -> bool:
    """Whether a field says anything at all: None and blank text do not."""
    return value is not None and not (isinstance(value, str) and not value.strip())


def read_moment(value: object) -> Moment:
    """Any of the formats above. Raises `InvalidRecord` that names the value and says how to write it."""
    try:
        found = None if isinstance(value, str) and len(value) > LONGEST else _read(value)
        if found is not None:
            return _in_utc(found)
    except (ValueError, OverflowError, TypeError):
        pass
    raise InvalidRecord(f"{str(value)[:80]!r} is not a date that can be read: write it as 2023-05-08T13:56:00+02:00")


def _read(value: object) -> datetime | Moment | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _day_number(value) or _epoch(value)
    return _text(value.strip()) if isinstance(value, str) else None


def _day_number(number: float) -> datetime | None:
    """20230508 is a day and 2023 a year, not seconds of 1970. Raises ValueError for the year, which is no date."""
    if 1900 <= number <= 2100:
        raise ValueError(number)
    if 1900_01_01 <= number <= 2100_12_31 and number == int(number):
        return datetime.strptime(str(int(number)), "%Y%m%d")
    return None


def _epoch(number: float) -> Moment:
    """Seconds below 1e11 (year 5138), then milli-, micro- and nanoseconds. An epoch has no zone of its own."""
    if not math.isfinite(number):
        raise ValueError(number)
    size = abs(number)
    scale = 1 if size < 1e11 else 10**3 if size < 1e14 else 10**6 if size < 1e17 else 10**9
    whole, rest = divmod(number, scale)
    return Moment(EPOCH + timedelta(seconds=whole, microseconds=round(rest * 10**6 / scale)), None)


def _text(text: str) -> datetime | Moment | None:
    if re.fullmatch(r"-?\d{9,19}(\.\d+)?", text):
        return _epoch(float(text) if "." in text else int(text))
    text = re.sub(r"\s*\b(UTC|GMT)$", "+00:00", text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    spaced = re.sub(r"(?<=\d)(am|pm)\b", r" \1", " ".join(text.split()), flags=re.IGNORECASE)
    for form in FORMATS:
        try:
            return datetime.strptime(spaced, form)
        except ValueError:
            continue
    return parsedate_to_datetime(text) if re.match(r"[A-Za-z]{3},|\d{1,2} [A-Za-z]{3}", text) else None


def _in_utc(found: datetime | Moment) -> Moment:
    if isinstance(found, Moment):
        return found
    offset = found.utcoffset()
    if offset is None:
        return Moment(found.replace(tzinfo=UTC), None)
    minutes = round(offset.total_seconds() / 60)
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return Moment(found.astimezone(UTC), zone)
