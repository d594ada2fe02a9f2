"""Dates in the writings of real sources are read exactly; anything that has two readings is not read at all."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.readers.dates import Moment, read_moment
from schemas.errors import InvalidRecord

NOON = datetime(2023, 5, 8, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("2023-05-08T12:00:00", None), ("2023-05-08 12:00", None), ("2023-05-08T12:00:00Z", "+00:00"),
        ("2023-05-08T14:00:00+02:00", "+02:00"), ("2023-05-08 06:30:00 -0530", "-05:30"), ("2023-05-08 12:00:00 UTC", "+00:00"),
        ("2023/05/08 (Mon) 12:00", None), ("12:00 pm on 8 May, 2023", None), ("12:00pm on 8 May, 2023", None),
        ("Mon, 08 May 2023 14:00:00 +0200", "+02:00"), ("Mon, 08 May 2023 12:00:00 -0000", None),
        ("8 May 2023 12:00", None), ("May 8, 2023 12:00 PM", None),
        (1683547200, None), (1683547200000, None), (1683547200000000, None), (1683547200.0, None), ("1683547200", None),
        (datetime(2023, 5, 8, 12), None), (datetime(2023, 5, 8, 14, tzinfo=timezone(timedelta(hours=2))), "+02:00"),
    ],
)  # fmt: skip
def test_all_writings_of_one_noon_are_the_same_moment(written, zone):
    assert read_moment(written) == Moment(NOON, zone)


@pytest.mark.parametrize(
    "written", ["2023-05-08", "20230508", "2023/05/08", "8 May 2023", "May 8, 2023", date(2023, 5, 8), 20230508]
)
def test_a_day_is_its_midnight(written):
    assert read_moment(written) == Moment(datetime(2023, 5, 8, tzinfo=UTC), None)


@pytest.mark.parametrize(
    "written",
    [
        "05/08/2023",
        "yesterday",
        "12",
        "2023",
        2023,
        "25:00 on 8 May, 2023",
        float("nan"),
        float("inf"),
        [],
        " " * 100_000 + "UTC",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_what_is_no_plain_date_is_refused_by_name(written):
    with pytest.raises(InvalidRecord, match="not a date that can be read: write it as"):
        read_moment(written)


@given(st.datetimes(timezones=st.just(UTC)))
def test_iso_goes_round(moment):
    assert read_moment(moment.isoformat()) == Moment(moment, "+00:00")


@given(st.one_of(st.text(max_size=40), st.integers(), st.floats()))
def test_anything_is_read_or_refused(value):
    with contextlib.suppress(InvalidRecord):
        assert read_moment(value).at.utcoffset() == timedelta(0)
