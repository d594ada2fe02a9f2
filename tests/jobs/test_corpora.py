"""Days of configured corpora: which there are, what lies in them, and how a listing is compared with what was read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from jobs.corpora import corpus_days
from schemas.errors import UsageError
from schemas.forms import BackfillForm, check_names
from schemas.settings import Corpus, load_settings

NOW = dt.datetime(2026, 3, 6, 1, 30, tzinfo=dt.UTC)


def corpus(folder: Path, source: str, **more) -> dict[str, Corpus]:
    return {"chats": Corpus(source=f"{folder}/{source}", **more)}


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n")
    return folder


def days(corpora: dict[str, Corpus], **more) -> list[str]:
    return [str(d.day) for d in corpus_days(corpora, now=NOW, **more)]


def test_every_ended_day_with_files_is_found_and_today_is_left_for_tomorrow(tmp_path):
    lay(tmp_path, *(f"day=2026-03-0{n}/chat.jsonl" for n in (1, 3, 5, 6)))
    (tmp_path / "day=2026-03-02").mkdir()  # nothing arrived
    assert days(corpus(tmp_path, "day={day}/*.jsonl")) == ["2026-03-01", "2026-03-03", "2026-03-05"]
    assert days(corpus(tmp_path, "day={day}")) == ["2026-03-01", "2026-03-03", "2026-03-05"]


def test_a_day_ends_where_the_corpus_comes_from(tmp_path):
    lay(tmp_path, "2026-03-05.jsonl", "2026-03-06.jsonl")
    assert days(corpus(tmp_path, "{day}.jsonl", timezone="Pacific/Kiritimati")) == ["2026-03-05"]
    assert days(corpus(tmp_path, "{day}.jsonl", timezone="America/New_York")) == []  # there it is still the 5th


def test_days_before_the_first_one_and_names_that_are_no_days_are_left_out(tmp_path):
    lay(tmp_path, "2026-02-31.jsonl", "2026-03-01.jsonl", "2026-03-02.jsonl", "notes.jsonl")
    assert days(corpus(tmp_path, "{day}.jsonl")) == ["2026-03-01", "2026-03-02"]
    assert days(corpus(tmp_path, "{day}.jsonl", first_day="2026-03-02")) == ["2026-03-02"]
    assert days(corpus(tmp_path, "{day}.jsonl"), last=dt.date(2026, 3, 1)) == ["2026-03-01"]


def test_a_day_whose_folder_leads_nowhere_is_there_with_the_reason(tmp_path):
    lay(tmp_path, "day=2026-03-01/chat.jsonl")
    (tmp_path / "day=2026-03-02").symlink_to("/not/mounted")
    found = corpus_days(corpus(tmp_path, "day={day}"), now=NOW)
    assert [str(d.day) for d in found] == ["2026-03-01", "2026-03-02"]
    assert found[1].error and "is its disk mounted" in found[1].error


def test_a_file_that_changed_is_seen_without_reading_it(tmp_path):
    lay(tmp_path, "day=2026-03-01/chat.jsonl")
    corpora = corpus(tmp_path, "day={day}")
    (before,) = corpus_days(corpora, now=NOW)
    (tmp_path / "day=2026-03-01/chat.jsonl").write_text("{}\n{}\n")
    (after,) = corpus_days(corpora, now=NOW)
    assert before.files[0].to_row()["source_ref"] == "day=2026-03-01/chat.jsonl"
    assert before.files[0].to_row() != after.files[0].to_row()


def test_a_source_that_grows_in_place_belongs_to_the_day_of_the_run(tmp_path):
    lay(tmp_path, "export.jsonl")
    (found,) = corpus_days(corpus(tmp_path, "export.jsonl"), now=NOW)
    assert (str(found.day), found.dated) == ("2026-03-06", False)


def test_a_bucket_is_listed_like_a_folder():
    import fsspec

    fs = fsspec.filesystem("memory")
    for day in ("2026-03-01", "2026-03-04"):
        fs.pipe_file(f"/corpora-test/day={day}/chat.jsonl", b"{}\n")
    found = corpus_days({"c": Corpus(source="memory://corpora-test/day={day}/*.jsonl")}, now=NOW)
    fs.rm("/corpora-test", recursive=True)
    assert [str(d.day) for d in found] == ["2026-03-01", "2026-03-04"]
    assert found[0].files[0].bytes == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('timezone = "Mars/Olympus"', "no time zone"),
        ('kind = "novel"', "conversation"),
        ('first_day = "March"', "date"),
        ('sauce = "x"', "not permitted"),
    ],
)
def test_a_corpus_that_cannot_be_is_told_by_its_setting(tmp_path, line, told):
    (tmp_path / "engraph.toml").write_text(f'[corpora.chats]\nsource = "x/{{day}}"\n{line}\n')
    with pytest.raises(UsageError, match=told) as refused:
        load_settings(str(tmp_path / "store"), None)
    assert "corpora.chats" in str(refused.value)


def test_a_window_is_the_last_seven_days_unless_it_says_otherwise():
    today = dt.date(2026, 3, 8)
    assert BackfillForm().window(today) == (dt.date(2026, 3, 1), dt.date(2026, 3, 7))
    assert BackfillForm(from_day="2026-02-01").window(today) == (dt.date(2026, 2, 1), dt.date(2026, 3, 7))
    with pytest.raises(UsageError, match="lies in the future"):
        BackfillForm(from_day="2026-04-01", to_day="2026-04-02").window(today)
    with pytest.raises(UsageError, match="comes after"):
        BackfillForm(from_day="2026-03-08").window(today)
    with pytest.raises(ValueError, match="swap them"):
        BackfillForm(from_day="2026-03-05", to_day="2026-03-04")


def test_a_name_that_settings_do_not_have_is_refused_with_those_they_have():
    assert check_names("corpora", [], {"b": 1, "a": 2}) == ["a", "b"]
    with pytest.raises(UsageError, match=r"no \[corpora.c\] in the settings: there is a, b"):
        check_names("corpora", ["c"], {"b": 1, "a": 2})


def test_a_relative_source_lies_beside_the_settings_file(tmp_path):
    lay(tmp_path, "inbox/day=2026-03-01/chat.jsonl")
    (tmp_path / "engraph.toml").write_text('[corpora.chats]\nsource = "inbox/day={day}"\n')
    settings = load_settings(str(tmp_path / "store"), None)
    assert days(settings.corpora) == ["2026-03-01"]
