"""The date grammar: what each expression means on Monday, 8 May 2023, and what is no date at all."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.extraction.dates import resolve_dates

MONDAY = datetime(2023, 5, 8, 13, 56)

CASES = {
    # explicit
    "on 7 May 2023 we": "2023-05-07",
    "7th of May, 2023": "2023-05-07",
    "May 7th, 2022": "2022-05-07",
    "Sept. 3, 2021": "2021-09-03",
    "2023-05-07": "2023-05-07",
    "2023-05-07T10:00": "2023-05-07",
    "7/5/2023": "2023-07-05",
    "25/12/2022": "2022-12-25",
    "7.5.2023": "2023-05-07",
    "5/7/23": "2023-05-07",
    "May 7-9, 2023": "2023-05-07/2023-05-09",
    "2023年5月7日": "2023-05-07",
    "el 7 de mayo de 2023": "2023-05-07",
    "am 7. Mai 2023": "2023-05-07",
    "Sep 2021": "2021-09",
    "March of 2022": "2022-03",
    "in 2022 I": "2022",
    "born (2019)": "2019",
    "the 1990s": "1990-01-01/1999-12-31",
    "the summer of 2021": "2021-06-01/2021-08-31",
    "Christmas 2020": "2020-12-25",
    # without a year
    "May 7": "2023-05-07",
    "on 12 December": "2022-12-12",
    "June 2nd": "2023-06-02",
    "in August": "2022-08",
    "in early March": "2023-03",
    "last May": "2022-05",
    "next August": "2023-08",
    "on the 15th.": "2023-04-15",
    "Halloween": "2022-10-31",
    # relative
    "yesterday": "2023-05-07",
    "the day before yesterday": "2023-05-06",
    "last night": "2023-05-07",
    "tomorrow morning": "2023-05-09",
    "last Friday": "2023-05-05",
    "last Monday": "2023-05-01",
    "next Friday": "2023-05-12",
    "this Friday": "2023-05-12",
    "on Tuesday": "2023-05-02",
    "I will go on Tuesday": "2023-05-09",
    "this past Saturday": "2023-05-06",
    "last week": "2023-05-01/2023-05-07",
    "next week": "2023-05-15/2023-05-21",
    "this weekend": "2023-05-13/2023-05-14",
    "last weekend": "2023-05-06/2023-05-07",
    "next month": "2023-06",
    "last year": "2022",
    "two days ago": "2023-05-06",
    "a week ago": "2023-05-01/2023-05-07",
    "three months ago": "2023-02",
    "a year ago": "2022",
    "a few weeks ago": "2023-04-03/2023-04-30",
    "in two weeks.": "2023-05-22/2023-05-28",
    "the past three months": "2023-02-08/2023-05-08",
    "last summer": "2022-06-01/2022-08-31",
    "this winter": "2023-12-01/2024-02-29",
    "over the summer": "2023-06-01/2023-08-31",
}
NO_DATES = [
    "it cost $2023", "version 2.3.2022.1", "2000 people came", "he may 5 times", "May I come", "I march 3 miles", "3/4 cup",
    "on the 5th floor", "every Friday", "on Fridays", "Feb 30, 2023", "three years old", "10.5.2", "the sun is up",
    "call 555-12-2023",
    "999999 days ago", "a second chance", "in 2023 words", "room 2019", "x2023-05-07", "",
]  # fmt: skip


@pytest.mark.parametrize(("text", "meaning"), CASES.items())
def test_an_expression_means_these_days(text: str, meaning: str) -> None:
    assert [d.iso() for d in resolve_dates(text, MONDAY)] == [meaning]


@pytest.mark.parametrize("text", NO_DATES)
def test_numbers_names_and_impossible_days_are_no_dates(text: str) -> None:
    assert resolve_dates(text, MONDAY) == []


def test_several_dates_come_in_order_and_do_not_overlap() -> None:
    text = "We met yesterday, on May 1 and in 2019."
    found = resolve_dates(text, MONDAY)
    assert [text[d.start : d.end] for d in found] == [d.surface for d in found] == ["yesterday", "May 1", "2019"]
    assert [d.relative for d in found] == [True, True, False]


def test_the_future_is_read_from_the_same_sentence_only() -> None:
    assert resolve_dates("I will call. We met on Friday.", MONDAY)[0].first == date(2023, 5, 5)
    assert resolve_dates("We're going to meet on Friday.", MONDAY)[0].first == date(2023, 5, 12)


@pytest.mark.parametrize("reference", [datetime(1, 1, 1), datetime(9999, 12, 31), datetime(2024, 2, 29)])
@pytest.mark.parametrize("text", [*CASES, *NO_DATES])
def test_the_ends_of_the_calendar_raise_nothing(text: str, reference: datetime) -> None:
    for d in resolve_dates(text, reference):
        assert d.first <= d.last


@given(st.text(max_size=60), st.sampled_from([*CASES, "31/31/2023", "May 99", "0 days ago"]), st.datetimes())
def test_any_text_gives_ordered_ranges_inside_it(around: str, expression: str, reference: datetime) -> None:
    text = f"{around} {expression} {around}"
    end = 0
    for d in resolve_dates(text, reference):
        assert end <= d.start < d.end <= len(text)
        assert d.first <= d.last
        end = d.end
