"""Files, folders, globs and URLs give the same names whichever way a corpus is delivered."""

from __future__ import annotations

import hashlib
from datetime import date

import fsspec
import pytest

from pipelines.readers import ReadParams, SourceFile, file_hash, find_sources, read_source
from schemas.errors import UsageError


@pytest.fixture
def corpus(tmp_path):
    for name in (
        "corpus/a.txt",
        "corpus/sub/b.md",
        "corpus/.hidden/c.txt",
        "corpus/.d.txt",
        "corpus/day=2024-01-02/e.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"words of {name}")
    return tmp_path / "corpus"


def named(patterns) -> list[tuple]:
    return [(s.source_ref, s.corpus) for s in find_sources([str(p) for p in patterns])]


def test_a_folder_is_walked_without_hidden_files(corpus):
    assert named([corpus]) == [("a.txt", "corpus"), ("day=2024-01-02/e.txt", "corpus"), ("sub/b.md", "corpus")]


def test_a_single_file_is_its_own_corpus(corpus):
    assert named([corpus / "a.txt"]) == [("a.txt", "a")]


def test_globs_reach_down_and_each_file_comes_once(corpus):
    assert named([f"{corpus}/**/*.md", f"{corpus}/sub/*"]) == [("sub/b.md", "corpus")]


def test_one_night_is_named_like_the_whole_corpus(corpus):
    for pattern in (corpus / "day=2024-01-02", f"{corpus}/day=2024-01-02/*.txt", f"{corpus}/day=*/*.txt"):
        (source,) = find_sources([str(pattern)])
        assert (source.source_ref, source.corpus, source.day) == ("day=2024-01-02/e.txt", "corpus", date(2024, 1, 2))


def test_brackets_in_a_file_name_are_no_pattern(tmp_path):
    (tmp_path / "a[1].txt").write_text("words")
    assert named([tmp_path / "a[1].txt"]) == [("a[1].txt", "a[1]")]


@pytest.mark.parametrize("missing", ["nothing.txt", "nothing/*.txt"])
def test_what_does_not_exist_is_a_usage_error_that_says_what_to_give(tmp_path, missing):
    with pytest.raises(UsageError, match="give a file, a folder"):
        find_sources([str(tmp_path / missing)])


def test_an_unknown_protocol_is_a_usage_error():
    with pytest.raises(UsageError, match="cannot open source"):
        find_sources(["nosuch://x/y"])


def test_urls_are_sources_too():
    fs = fsspec.filesystem("memory")
    fs.pipe("/readers-test/deep/a.txt", b"words")
    try:
        (source,) = find_sources(["memory://readers-test"])
        assert (source.source_ref, source.corpus) == ("deep/a.txt", "readers-test")
        (record,) = read_source(source, ReadParams())
        assert record.text == "words" and file_hash(source) == hashlib.blake2b(b"words", digest_size=16).hexdigest()
    finally:
        fs.rm("/readers-test", recursive=True)


def test_a_missing_file_has_no_hash():
    with pytest.raises(UsageError, match="cannot read"):
        file_hash(SourceFile("/nonexistent/a", "a", "a", None))
