"""Documents cut into sections, passages, sentences: slices of the text that cover it and keep to their sizes."""

import datetime as dt
import time
import timeit
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.segmentation import PassageParams, segment_documents
from pipelines.segmentation.documents import section_spans
from schemas.ids import content_hash
from schemas.tables import TABLES

SMALL = PassageParams(max_tokens=12, overlap_tokens=4, fill=0.6)


def words(texts: list[str]) -> np.ndarray:
    return np.array([len(t.split()) for t in texts], np.int32)


def characters(texts: list[str]) -> np.ndarray:
    return np.array([len(t) for t in texts], np.int32)


def document(text: str, media_type: str = "text/markdown", name: str = "d.md") -> pa.Table:
    row = {
        "document_id": f"n/{name}",
        "namespace": "n",
        "title": "t",
        "text": text,
        "media_type": media_type,
        "published_at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        "zone": None,
        "time_source": "document",
        "source_ref": name,
        "content_hash": content_hash(text),
        "record_hash": content_hash(text),
        "day": dt.date(2026, 3, 1),
    }
    return TABLES["documents"].from_rows([row])


def spans(units: pa.Table, granularity: str) -> list[tuple[int, int]]:
    found = [u for u in units.to_pylist() if u["granularity"] == granularity]
    return [(u["source_spans"][0]["start"], u["source_spans"][0]["end"]) for u in found]


def without_space(text: str) -> str:
    return "".join(text.split())


WORD = st.text(st.characters(exclude_categories=["Cs", "Zs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12)
SENTENCE = st.builds(
    lambda ws, stop: " ".join(ws) + stop, st.lists(WORD, min_size=1, max_size=40), st.sampled_from([".", "!", "。", ""])
)
BLOCK = st.one_of(
    SENTENCE,
    st.builds(lambda n, s: "#" * n + " " + s, st.integers(1, 6), SENTENCE),
    st.builds(lambda s: f"```\n# {s}\n```", SENTENCE),
    st.sampled_from(
        ["# Empty", "## Empty too", "```", "~~~", "   ", "- item\n- item", "x" * 300, "猫" * 60, "a " * 200]
    ),
)
MARKDOWN = st.builds(
    lambda blocks, gap: gap.join(blocks), st.lists(BLOCK, max_size=10), st.sampled_from(["\n\n", "\n", "\r\n\r\n"])
)


@given(MARKDOWN | st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([words, characters]))
@example("a b c " + "x" * 500 + ". " + "one " * 300, words)
@example(" \n ", words)
def test_units_are_slices_that_cover_the_text_and_keep_to_their_sizes(text, count):
    units = segment_documents(document(text), SMALL, count)
    rows = units.to_pylist()
    for unit in rows:
        (span,) = unit["source_spans"]
        assert 0 <= span["start"] <= span["end"] <= len(text)
        assert unit["text"] == text[span["start"] : span["end"]] == unit["text"].strip()
    assert len({u["unit_id"] for u in rows}) == len(rows)
    sections, passages, sentences = (spans(units, g) for g in ("section", "passage", "sentence"))
    for tiled in (sections, sentences):
        assert all(a < b for a, b in tiled)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(tiled))
        assert without_space("".join(text[a:b] for a, b in tiled)) == without_space(text)
    for a, b in [*passages, *sentences]:
        assert sum(s <= a and b <= e for s, e in sections) == 1
    assert all(count([text[a:b]])[0] <= SMALL.max_tokens for a, b in sentences)
    if count is words:
        assert all(count([text[a:b]])[0] <= SMALL.max_tokens for a, b in passages)
    boundaries = {a for a, _ in sentences}, {b for _, b in sentences}
    assert all(a in boundaries[0] and b in boundaries[1] for a, b in passages)
    assert all(late[0] > early[0] and late[1] > early[1] for early, late in pairwise(passages))
    by_id = {u["unit_id"]: u["source_spans"][0] for u in rows}
    for unit in rows:
        if unit["parent_id"]:
            parent, (span,) = by_id[unit["parent_id"]], unit["source_spans"]
            assert parent["start"] <= span["start"]
            assert span["end"] <= parent["end"]
    assert segment_documents(document(text), SMALL, count).equals(units)


def numbered(sizes: list[int]) -> str:
    """A paragraph of sentences with that many words each."""
    return " ".join(" ".join([f"S{i}"] + ["word"] * (n - 1)) + "." for i, n in enumerate(sizes))


def passages_of(sizes: list[int], params: PassageParams) -> list[list[int]]:
    """Numbers of the sentences in each passage."""
    text = numbered(sizes)
    found = spans(segment_documents(document(text), params, words), "passage")
    return [[int(w[1:]) for w in text[a:b].replace(".", "").split() if w.startswith("S")] for a, b in found]


def test_each_passage_begins_with_the_last_sentences_of_the_one_before():
    assert passages_of([4] * 7, PassageParams(max_tokens=12, overlap_tokens=4)) == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert passages_of([4] * 7, PassageParams(max_tokens=12, overlap_tokens=8)) == [[i, i + 1, i + 2] for i in range(5)]
    assert passages_of([4] * 7, PassageParams(max_tokens=12, overlap_tokens=3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_an_overlap_that_leaves_no_room_for_the_next_sentence_is_left_out():
    assert passages_of([4, 4, 4, 10, 4], PassageParams(max_tokens=12, overlap_tokens=4)) == [[0, 1, 2], [3], [4]]


def test_a_passage_ends_with_a_paragraph_once_it_is_full_enough():
    text = numbered([4, 4]) + "\n\n" + numbered([4, 4])
    ends = [b for _, b in spans(segment_documents(document(text), PassageParams(12, 4, 0.6), words), "passage")]
    assert ends[0] == len(numbered([4, 4]))
    late = [b for _, b in spans(segment_documents(document(text), PassageParams(12, 4, 0.9), words), "passage")]
    assert late[0] > ends[0]


def test_headings_open_sections_but_not_inside_code_and_not_in_plain_text():
    text = "intro\n\n# One\n\nbody\n\n```\n# not a heading\n```\n\n## Two\n\nmore\n#hashtag\n"
    found = [text[a:b].splitlines()[0] for a, b in section_spans(text, "text/markdown")]
    assert found == ["intro", "# One", "## Two"]
    assert len(section_spans(text, "text/plain")) == 1


def test_a_heading_without_a_body_is_a_section_of_its_own():
    text = "# One\n\n# Two\n\n# Three\nbody"
    assert [text[a:b] for a, b in section_spans(text, "text/markdown")] == ["# One", "# Two", "# Three\nbody"]


def test_a_sentence_without_spaces_is_cut_where_it_must_be():
    text = "x" * 100
    found = spans(segment_documents(document(text), SMALL, characters), "sentence")
    assert max(b - a for a, b in found) <= SMALL.max_tokens
    assert "".join(text[a:b] for a, b in found) == text


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_a_document_of_white_space_is_one_empty_document(text):
    (unit,) = segment_documents(document(text), SMALL, words).to_pylist()
    assert (unit["granularity"], unit["text"]) == ("document", "")
    assert unit["source_spans"][0]["start"] == unit["source_spans"][0]["end"] == len(text)


def test_many_headings_and_fences_take_time_in_proportion():
    """The best of five, garbage collection off (`timeit`): what else the machine does is no matter, the ratio is."""

    def seconds(n: int) -> float:
        text = "# Heading\n```\n# code\n```\n" * n
        assert len(section_spans(text, "text/markdown")) == n
        return min(
            timeit.repeat(lambda: section_spans(text, "text/markdown"), timer=time.process_time, number=1, repeat=5)
        )

    assert seconds(16_000) < 80 * max(seconds(1_000), 1e-3)  # in proportion: 16, in its square: 256
