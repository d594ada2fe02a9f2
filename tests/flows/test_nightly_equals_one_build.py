"""Nights are days of one build: what is decided for a day rests on that day and the days before, never on when it was run."""

from __future__ import annotations

import shutil

import pytest

import engraph

DAYS = [f"2026-01-1{n}" for n in range(1, 6)]


@pytest.fixture(scope="module")
def five_days(corpus_in, say, tmp_path_factory):
    """Sessions that go on, new ones, an edited turn, documents, a re-delivery, a broken line."""

    corpus = corpus_in(tmp_path_factory.mktemp("days") / "notes")

    def deliver(day, name, *parts):
        corpus.chat(f"day={day}/{name}", [row for part in parts for row in part])

    first = say("ann", "s1", range(6), day="2026-01-11")
    deliver(DAYS[0], "ann.jsonl", first)
    deliver(DAYS[0], "bo.jsonl", say("bo", "s1", range(5), day="2026-01-11"))
    corpus.boat().rename(corpus.text(f"day={DAYS[0]}/boat.md", ""))
    deliver(
        DAYS[1],
        "ann.jsonl",
        say("ann", "s1", range(6, 9), day="2026-01-11"),
        say("ann", "s2", range(4), day="2026-01-12"),
    )
    corpus.garden().rename(corpus.text(f"day={DAYS[1]}/garden.md", ""))
    deliver(DAYS[2], "again.jsonl", first)
    deliver(DAYS[2], "bo.jsonl", say("bo", "s1", range(5, 11), day="2026-01-11"))
    broken = corpus.folder / f"day={DAYS[2]}" / "bo.jsonl"
    broken.write_text(broken.read_text() + '{"text": ""}\n')
    edited = say("ann", "s2", range(4), day="2026-01-12")
    edited[1]["text"] = "No, the submarine stays in Reykjavik."
    deliver(DAYS[3], "ann.jsonl", edited, say("ann", "s2", range(4, 6), day="2026-01-12"))
    deliver(DAYS[4], "carla.jsonl", say("carla", "s1", range(4), day="2026-01-15"))
    deliver(
        DAYS[4],
        "ann.jsonl",
        say("ann", "s3", range(4), day="2026-01-15"),
        say("ann", "s1", range(9, 11), day="2026-01-11"),
    )
    return corpus.folder


@pytest.fixture(scope="module")
def one_build(five_days, ingest):
    """All days in one command; their folders make the days."""
    store = five_days.parent / "store"
    ran = ingest(five_days, store=store, day=None, expect=3)
    assert ran.json["snapshot"] == 1
    return store


def test_five_nights_give_the_tables_of_one_build(five_days, one_build, tmp_path, ingest, differences):
    for n, day in enumerate(DAYS, 1):
        ran = ingest(five_days / f"day={day}", store=tmp_path / "nights", day=day, expect=3 if n == 3 else 0)
        assert ran.json["snapshot"] == n
    assert differences(tmp_path / "nights", one_build) == []
    with engraph.open(tmp_path / "nights") as nights, engraph.open(one_build) as one:
        assert nights.snapshot.filesets.keys() == one.snapshot.filesets.keys()
        assert "SUPERSEDE" in set(one.table("operations")["operation"].to_pylist())
        for question in ("Where does the submarine stay?", "Which day is Carla moving?", "the sail"):
            for granularity in ("turn", "segment", "passage"):
                found = [[h.unit_id for h in s.recall(question, k=5, granularity=granularity)] for s in (nights, one)]
                assert found[0] == found[1]


@pytest.mark.soak
def test_nights_delivered_with_all_that_came_before_are_the_same(five_days, one_build, tmp_path, ingest, differences):
    """A source that grows in place: every night reads all days' folders again, arrival days come from the folders."""
    growing = tmp_path / "growing" / five_days.name
    for n, day in enumerate(DAYS, 1):
        shutil.copytree(five_days / f"day={day}", growing / f"day={day}")
        ingest(growing, store=tmp_path / "nights", day=None, expect=3 if n >= 3 else 0)
    assert differences(tmp_path / "nights", one_build) == []


@pytest.mark.soak
def test_the_order_of_the_file_names_decides_nothing(five_days, one_build, tmp_path, ingest, differences):
    turned = tmp_path / "turned" / five_days.name
    shutil.copytree(five_days, turned)
    (turned / f"day={DAYS[2]}" / "bo.jsonl").rename(turned / "kept")
    for n, file in enumerate(sorted(turned.glob("day=*/*.jsonl"), reverse=True)):
        file.rename(file.with_name(f"{n:02d}.jsonl"))
    (turned / "kept").rename(turned / f"day={DAYS[2]}" / "bo.jsonl")
    ingest(turned, store=tmp_path / "turned-store", day=None, expect=3)
    assert differences(one_build, tmp_path / "turned-store") == []


@pytest.mark.soak
def test_a_day_that_comes_late_is_put_where_it_belongs(five_days, tmp_path, ingest, differences):
    """Days 1, 5 and then 2: what day 5 decided on the sessions of day 2 is decided again."""
    some = tmp_path / "some" / five_days.name
    for n in (0, 1, 4):
        shutil.copytree(five_days / f"day={DAYS[n]}", some / f"day={DAYS[n]}")
    for n in (0, 4, 1):
        ingest(some / f"day={DAYS[n]}", store=tmp_path / "late", day=DAYS[n])
    ingest(some, store=tmp_path / "one", day=None)
    assert differences(tmp_path / "late", tmp_path / "one") == []
