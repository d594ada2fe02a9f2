"""Deliveries into partitions: every record accounted for once, whatever is delivered again, elsewhere, or corrected."""

import datetime as dt
from pathlib import Path

import pytest

from jobs.groups import touched_groups
from jobs.read_sources import read_sources
from jobs.run import Run
from pipelines.embedding import EncoderId
from pipelines.readers import ReadParams, find_sources
from schemas.manifest import Catalogue, StoreInfo


class Nights:
    """Deliveries one after the other, each run starting from what the last one left."""

    def __init__(self, lake, now: dt.datetime) -> None:
        self.lake, self.now = lake, now
        self.catalogue = Catalogue()

    def deliver(self, *paths: Path, day: dt.date, **params: object) -> Run:
        run = Run(
            lake=self.lake,
            info=StoreInfo(buckets=1, created_at=self.now),
            run_id="r",
            now=self.now,
            encoder=EncoderId.parse("toy@f32"),
            parent=self.catalogue,
            catalogue=self.catalogue.copy(),
        )
        read_sources(run, find_sources([str(p) for p in paths]), ReadParams(**params), day=day)
        self.catalogue = run.catalogue
        return run

    def rows(self, table: str) -> list[dict]:
        return self.lake.read(table, self.catalogue.select(table)).to_pylist()


@pytest.fixture
def nights(local_lake, make):
    return Nights(local_lake, make.NOW)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_delivering_again_changes_nothing_on_any_day(nights, tmp_path, make):
    folder = write(tmp_path / "docs" / "a.md", "# One\n\nText.").parent
    before = nights.deliver(folder, day=make.DAY).catalogue
    assert nights.deliver(folder, day=make.DAY).catalogue == before
    later = nights.deliver(folder, day=make.DAY + dt.timedelta(days=9))
    assert later.catalogue == before
    assert [r["document_id"] for r in nights.rows("documents")] == ["docs/a.md"]


def test_the_same_file_in_two_corpora_is_two_documents(nights, tmp_path, make):
    for corpus in ("first", "second"):
        nights.deliver(write(tmp_path / corpus / "a.md", "# One\n\nText.").parent, day=make.DAY)
    assert sorted(r["document_id"] for r in nights.rows("documents")) == ["first/a.md", "second/a.md"]
    assert len(nights.rows("sources")) == 2


def test_what_is_read_is_new_known_or_in_quarantine(nights, tmp_path, make):
    lines = [f'{{"user": "ann", "text": "hello", "session_id": "s", "id": {i}}}' for i in range(3)]
    chat = write(tmp_path / "chat.jsonl", "\n".join([*lines, "{broken"]))
    nights.deliver(chat, day=make.DAY)
    more = '{"user": "ann", "text": "more", "session_id": "s", "id": 9}'
    nights.deliver(write(chat, "\n".join([*lines, more])), day=make.DAY + dt.timedelta(days=1))
    for row in nights.rows("sources"):
        assert row["rows_read"] == row["rows_new"] + row["rows_known"] + row["rows_quarantined"]
    assert sum(r["rows_new"] for r in nights.rows("sources")) == len(nights.rows("turns"))
    assert sum(r["rows_quarantined"] for r in nights.rows("sources")) == len(nights.rows("quarantine"))


def test_a_document_corrected_on_its_day_replaces_itself_and_on_a_later_day_stands_beside(nights, tmp_path, make):
    file = write(tmp_path / "docs" / "a.md", "first")
    nights.deliver(file.parent, day=make.DAY)
    nights.deliver(write(file, "corrected").parent, day=make.DAY)
    assert [r["text"] for r in nights.rows("documents")] == ["corrected"]
    nights.deliver(write(file, "edited").parent, day=make.DAY + dt.timedelta(days=1))
    assert [r["text"] for r in nights.rows("documents")] == ["corrected", "edited"]


def test_a_group_is_redone_when_what_it_supersedes_was_corrected(nights, tmp_path, make):
    file = write(tmp_path / "docs" / "a.md", "first")
    later = make.DAY + dt.timedelta(days=1)
    nights.deliver(file.parent, day=make.DAY)
    before = touched_groups(nights.deliver(write(file, "edited").parent, day=later), 0, later)
    run = nights.deliver(write(file, "first, corrected\n\nwith more units").parent, day=make.DAY)
    (after,) = touched_groups(run, 0, later)
    assert [(g.id, g.rows) for g in before] == [(after.id, after.rows)] == [("docs/a.md", 1)]
    assert before[0].hash != after.hash


def test_groups_of_a_day_are_those_it_touched(nights, tmp_path, make):
    nights.deliver(write(tmp_path / "docs" / "a.md", "a").parent, day=make.DAY)
    later = make.DAY + dt.timedelta(days=1)
    run = nights.deliver(write(tmp_path / "docs" / "b.md", "b").parent, day=later)
    assert [g.id for g in touched_groups(run, 0, make.DAY)] == ["docs/a.md"]
    assert [g.id for g in touched_groups(run, 0, later)] == ["docs/b.md"]


def test_a_file_that_goes_back_to_an_older_content_is_a_change_back(nights, tmp_path, make):
    file = tmp_path / "docs" / "a.md"
    for night, text in enumerate(["first", "second", "first"]):
        nights.deliver(write(file, text).parent, day=make.DAY + dt.timedelta(days=night))
    assert [r["text"] for r in nights.rows("documents")] == ["first", "second", "first"]
    before = nights.catalogue
    assert nights.deliver(file.parent, day=make.DAY + dt.timedelta(days=9)).catalogue == before


def test_a_record_does_not_move_to_an_earlier_day_of_a_later_delivery(nights, tmp_path, make):
    row = '{"session_id": "s", "speaker": "Ann", "message_id": "m1", "text": "hello"}\n'
    nights.deliver(write(tmp_path / "chat.jsonl", row), day=make.DAY)
    nights.deliver(write(tmp_path / "early" / "chat.jsonl", row + "\n"), day=make.DAY - dt.timedelta(days=3))
    assert [r["day"] for r in nights.rows("turns")] == [make.DAY]


def test_ids_that_would_clash_with_other_units_are_refused_and_the_rest_lands(nights, tmp_path, make):
    rows = [
        '{"session_id": "x", "speaker": "Ann", "message_id": "1", "text": "a message with the id chat/x/1"}',
        '{"session_id": "x/1", "speaker": "Ann", "message_id": "2", "text": "in a session with the id chat/x/1"}',
        '{"session_id": "y#summary", "speaker": "Ann", "message_id": "3", "text": "in a session named like a summary"}',
        '{"session_id": "z", "speaker": "Ann", "message_id": "4", "text": "fine"}',
    ]
    nights.deliver(write(tmp_path / "chat.jsonl", "\n".join(rows)), day=make.DAY)
    assert [r["turn_id"] for r in nights.rows("turns")] == ["chat/x/1", "chat/z/4"]
    assert sorted(r["source_ref"] for r in nights.rows("quarantine")) == ["chat/2", "chat/3"]
    (source,) = nights.rows("sources")
    assert (source["rows_read"], source["rows_new"], source["rows_quarantined"]) == (4, 2, 2)
