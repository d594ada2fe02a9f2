"""Time in questions: expressions become windows, windows move what lies in them ahead, and nothing is lost."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from pipelines.recall import Query, Recall
from pipelines.recall.shard import NO_DAY
from pipelines.recall.times import EVER, WIDENED, Window, read_time

ASKED = dt.date(2023, 6, 14)  # a Wednesday


def days(*parts: tuple[int, int, int]) -> list[int]:
    return [dt.date(*p).toordinal() for p in parts]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("What did Ann paint on May 7, 2023?", (2023, 5, 7), (2023, 5, 7)),
        ("What happened in August 2022?", (2022, 8, 1), (2022, 8, 31)),
        ("Where did I go yesterday?", (2023, 6, 13), (2023, 6, 13)),
        ("Who came between March 3, 2023 and April 2, 2023?", (2023, 3, 3), (2023, 4, 2)),
    ],
)
def test_expressions_are_resolved_as_of_the_day_asked(text, first, last):
    window = read_time(text, ASKED).window
    assert [window.first, window.last] == days(first, last)


def test_before_and_after_leave_one_end_open():
    before = read_time("What did she do before May 7, 2023?", ASKED).window
    assert (before.first, before.last) == (1, *days((2023, 5, 6)))
    after = read_time("What did she do after May 7, 2023?", ASKED).window
    assert (after.first, after.last) == (*days((2023, 5, 8)), EVER)


def test_words_of_the_expression_are_not_looked_for():
    assert read_time("What did Ann paint on May 7, 2023?", ASKED).text.split() == ["What", "did", "Ann", "paint", "?"]
    plain = read_time("What did Ann paint?", ASKED)
    assert plain.window is None and plain.text == "What did Ann paint?"


def test_first_and_last_of_a_kind_are_told_apart():
    asked = ["When was the first time Ann skied?", "What is the most recent plan?", "Who skis?"]
    assert [read_time(text, ASKED).order for text in asked] == [-1, 1, 0]


def test_a_window_is_widened_and_holds_nothing_of_unknown_time():
    window = Window(1000, 1001, "then")
    known = np.array([1000 - WIDENED - 1, 1000 - WIDENED, 1001 + WIDENED, 1001 + WIDENED + 1, NO_DAY])
    assert window.holds(known).tolist() == [False, True, True, False, False]


@pytest.fixture(scope="module")
def weeks(make, tmp_path_factory):
    """The same words said in five sessions, ten days apart from 1 March 2026."""
    sessions = [make.turns("a", f"s{i}", ["Ann: the garden again", "Bob: yes"], hours=240 * i) for i in range(5)]
    return make.corpus(make.units_of(sessions, []), tmp_path_factory.mktemp("weeks") / "shard")


def asked(corpus, make, text: str, **more) -> list:
    return Recall([corpus.shard], make.encode).recall(Query(text, k=10, **more), explain=True)


def test_what_lies_in_the_window_comes_first_and_the_rest_is_kept(weeks, make):
    answer = asked(weeks, make, "What about the garden on March 21, 2026?")
    assert answer.hits[0].session_id == "a/s2"
    assert len(answer.hits) == 10
    assert answer.hits[0].via["time"] == pytest.approx(4.5)
    assert any("2026-03-21" in reason for reason in answer.why[answer.hits[0].unit_id])
    assert all("time" not in h.via for h in answer.hits if h.session_id != "a/s2")


def test_asked_at_moves_what_relative_words_mean(weeks, make):
    for day, session in ((12, "a/s1"), (22, "a/s2")):
        moment = dt.datetime(2026, 3, day, tzinfo=dt.UTC)
        assert asked(weeks, make, "What about the garden yesterday?", asked_at=moment).hits[0].session_id == session


def test_without_a_day_asked_now_counts_unless_nothing_is_remembered_of_it(weeks, make):
    text = "What about the garden yesterday?"
    now = dt.datetime(2026, 3, 12, tzinfo=dt.UTC)
    assert asked(weeks, make, text, now=now).hits[0].session_id == "a/s1"
    later = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
    assert asked(weeks, make, text, now=later).hits[0].session_id == "a/s4"  # as of the last thing remembered


def test_a_window_that_holds_nothing_changes_nothing(weeks, make):
    plain = asked(weeks, make, "What about the garden?")
    empty = asked(weeks, make, "What about the garden in May 1999?")
    assert all("time" not in h.via for h in empty.hits)
    assert [h.unit_id for h in empty.hits[:5]] == [h.unit_id for h in plain.hits[:5]]
    assert any("sets nothing apart" in note for note in empty.notes)


def test_arrival_is_no_event_time(make, weeks, tmp_path):
    units = weeks.units
    arrived = pa.array(["arrival"] * units.num_rows, units["time_source"].type)
    corpus = make.corpus(
        units.set_column(units.column_names.index("time_source"), "time_source", arrived), tmp_path / "shard"
    )
    assert (corpus.shard.days == NO_DAY).all()
    assert all("time" not in h.via for h in asked(corpus, make, "What about the garden on March 21, 2026?").hits)


def test_later_ones_first_where_the_latest_is_asked_for(weeks, make):
    latest = asked(weeks, make, "the latest about the garden").hits[0]
    earliest = asked(weeks, make, "the earliest about the garden").hits[0]
    assert (latest.session_id, earliest.session_id) == ("a/s4", "a/s0")
