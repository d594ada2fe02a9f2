"""BM25 (Robertson and Zaragoza 2009) over postings in mapped arrays, sorted by term, inside a term by row.

Rows of one granularity and namespace are contiguous, so the postings of a term inside that range are one slice, found by binary
search: document frequency, lengths and scores are the range's own. One tenant's words never weigh in another tenant's ranking, and
turns are not compared with sessions. A query costs the postings of its terms in the range. Memory: nothing but what the page
cache keeps, and the scores of the words asked for lately. k1 = 1.2, b = 0.75, idf = ln(1 + (N - df + 0.5) / (df + 0.5)).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipelines.lexical.terms import stem_terms, stems, surface_words

K1, B = 1.2, 0.75
KEPT_TERMS = 10_000
KEPT_A_ROW = 8  # postings, of twelve bytes
KEPT = 4_000_000  # postings at most, however many rows there are
WORD = 64  # postings take as much as a word has besides


def build(texts: Iterable[str], out: Path) -> None:
    """Write the postings of `texts` (row i is the i-th text) to the folder `out`."""
    vocabulary: dict[str, int] = {}
    surfaces: set[str] = set()
    terms, rows, counts, lengths = [], [], [], []
    for row, text in enumerate(texts):
        written = surface_words(text)
        surfaces.update(written)
        found = Counter(stems(written))
        lengths.append(sum(found.values()))
        terms.append(np.fromiter((vocabulary.setdefault(t, len(vocabulary)) for t in found), np.int32, len(found)))
        counts.append(np.fromiter(found.values(), np.int32, len(found)))
        rows.append(np.full(len(found), row, np.int32))
    term = np.concatenate(terms) if terms else np.empty(0, np.int32)
    words = sorted(vocabulary)  # no numpy strings: those are all as wide as the longest word
    rank = np.empty(len(vocabulary), np.int32)
    rank[np.fromiter((vocabulary[w] for w in words), np.int64, len(words))] = np.arange(len(words), dtype=np.int32)
    term = rank[term]
    all_rows = np.concatenate(rows) if rows else np.empty(0, np.int32)
    order = np.lexsort((all_rows, term))
    out.mkdir(parents=True)
    _save_words(words, out / "words.npy", out / "word_ends.npy")
    _save_words(sorted(surfaces), out / "surfaces.npy", out / "surface_ends.npy")
    np.save(out / "starts.npy", np.searchsorted(term[order], np.arange(len(words) + 1)).astype(np.int64))
    np.save(out / "rows.npy", all_rows[order])
    np.save(out / "counts.npy", (np.concatenate(counts) if counts else np.empty(0, np.int32))[order])
    np.save(out / "lengths.npy", np.array(lengths, np.int32))


def _save_words(words: list[str], bytes_: Path, ends: Path) -> None:
    encoded = [w.encode() for w in words]
    np.save(ends, np.cumsum([0, *map(len, encoded)], dtype=np.int64))
    np.save(bytes_, np.frombuffer(b"".join(encoded), np.uint8))


def _load_words(bytes_: Path, ends: Path) -> list[str]:
    whole, bounds = np.load(bytes_, mmap_mode="r").tobytes(), np.load(ends).tolist()
    return [whole[a:b].decode() for a, b in pairwise(bounds)]


@dataclass(frozen=True)
class Postings:
    """All of an index at once: `terms` in order, and of each posting its term's number, its row and the occurrences there, by term
    and row; the terms of each row; `lexicon` pairs of a word as written and the term it counts as."""

    terms: list[str]
    term: np.ndarray
    row: np.ndarray
    count: np.ndarray
    lengths: np.ndarray
    lexicon: dict[str, str]


class Lexical:
    """A mapped index of `build`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # plain views: every slice of a `memmap` costs microseconds, and a question takes thousands
        self._words, self._ends, self._starts, self._rows, self._counts, self._lengths = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
            for name in ("words", "word_ends", "starts", "rows", "counts", "lengths")
        )
        self._known: dict[str, int | None] = {}

    def __len__(self) -> int:
        return len(self._lengths)

    def everything(self) -> Postings:
        """The whole index in memory, for those who copy it."""
        counted = np.diff(self._starts).astype(np.int64)
        surfaces = _load_words(self._folder / "surfaces.npy", self._folder / "surface_ends.npy")
        return Postings(
            terms=_load_words(self._folder / "words.npy", self._folder / "word_ends.npy"),
            term=np.repeat(np.arange(len(counted), dtype=np.int32), counted),
            row=np.asarray(self._rows),
            count=np.asarray(self._counts),
            lengths=np.asarray(self._lengths),
            lexicon=dict(zip(surfaces, stems(surfaces), strict=True)),
        )

    def _word(self, i: int) -> bytes:
        return self._words[self._ends[i] : self._ends[i + 1]].tobytes()

    def _term(self, word: str) -> int | None:
        """Number of a term; those asked for lately are remembered, for a question asks for each at every granularity."""
        if word not in self._known:
            if len(self._known) >= KEPT_TERMS:
                self._known.clear()
            self._known[word] = self._found(word)
        return self._known[word]

    def _found(self, word: str) -> int | None:
        """By binary search in the sorted, mapped words (UTF-8 keeps the order of code points)."""
        wanted, low, high = word.encode(), 0, len(self._starts) - 1
        while low < high:
            middle = (low + high) // 2
            if self._word(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self._starts) - 1 and self._word(low) == wanted else None

    def places(self, word: str, bounds: np.ndarray) -> np.ndarray:
        """Where in the postings of a term rows `bounds` (int32, any order) begin: between those of the two ends of a range lie as
        many as rows of it have the term."""
        term = self._term(word)
        if term is None:
            return np.zeros(len(bounds), np.int64)
        a, b = int(self._starts[term]), int(self._starts[term + 1])
        return a + np.searchsorted(self._rows[a:b], bounds)

    def count(self, word: str, start: int, end: int) -> int:
        """How many of rows [start, end) have a term."""
        low, high = self.places(word, np.array([start, end], np.int32)).tolist()
        return high - low

    def postings_at(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, occurrences) of the postings in `places`."""
        return self._rows[low:high], self._counts[low:high]

    def postings(self, word: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows - start, occurrences) of a term inside rows [start, end)."""
        rows, counts = self.postings_at(*self.places(word, np.array([start, end], np.int32)).tolist())
        return rows - start, counts.astype(np.float32)

    def lengths(self, start: int, end: int) -> np.ndarray:
        """Terms in each of rows [start, end)."""
        return self._lengths[start:end]


NOTHING = np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32)
Part = tuple[Lexical, int, int]
"""Rows [start, end) of one index."""


@lru_cache(maxsize=64)
def _counted(text: str) -> tuple[tuple[str, int], ...]:
    """Terms of a question with how often it has them; one question is put to a collection of every granularity."""
    return tuple(Counter(stem_terms(text)).items())


class Collections:
    """Row ranges in collections, each with its own frequencies and lengths; a question is put to all of them at once. Keeps a
    number for each row, so that a question costs its postings alone, and what some of the last ones gave."""

    def __init__(self, collections: Sequence[Sequence[Part]]) -> None:
        parts = [part for found in collections for part in found]
        firsts = np.cumsum([0, *(end - start for _, start, end in parts)])
        owners = np.repeat(np.arange(len(collections)), [len(found) for found in collections])
        self._ends = firsts[np.cumsum([len(found) for found in collections])]
        self._ranges: list[_Ranges] = []
        for index in {id(index): index for index, _, _ in parts}.values():
            mine = [i for i, part in enumerate(parts) if part[0] is index]
            bounds = np.array([parts[i][1:] for i in mine], np.int32)
            self._ranges.append(_Ranges(index, bounds, owners[mine], firsts[mine], len(collections)))
        self._n = np.zeros(len(collections))
        norms = [np.empty(0, np.float32)]
        for number, found in enumerate(collections):
            lengths = np.concatenate(
                [np.empty(0, np.int32), *(index.lengths(start, end) for index, start, end in found)]
            )
            self._n[number] = len(lengths)
            average = max(float(lengths.sum()) / max(1, len(lengths)), 1.0)
            norms.append((K1 * (1.0 - B + B * lengths / average)).astype(np.float32))
        self._norms = np.concatenate(norms)
        self._known: dict[str, _Scored] = {}
        self._kept = 0

    def scores(self, text: str) -> list[np.ndarray]:
        """BM25 of a question -> f32 [rows] for each collection."""
        return np.split(self._score(text)[0], self._ends[:-1])

    def shares(self, text: str) -> list[np.ndarray]:
        """`scores` as a share, 0 to 1, of what a unit that is nothing but the question's words could reach.

        Unlike a z-score the share means the same in a collection of a hundred units and of a million.
        """
        scores, ideals = self._score(text)
        for part, ideal in zip(np.split(scores, self._ends[:-1]), ideals.tolist(), strict=True):
            if ideal > 0:
                part /= np.float32(ideal)
        return np.split(scores, self._ends[:-1])

    def _score(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(BM25 of all rows, of each collection the score of a unit that is nothing but the question's words)."""
        scores, ideals = np.zeros(len(self._norms), np.float32), np.zeros(len(self._n))
        for word, weight in _counted(text):
            found = self._of_word(word)
            ideals += weight * found.most
            scores[found.rows] += found.scores if weight == 1 else np.float32(weight) * found.scores
        return scores, ideals

    def _of_word(self, word: str) -> _Scored:
        """What a word gives. Those asked for lately are kept: the words that many questions have are those of many rows."""
        found = self._known.get(word)
        if found is None:
            found = self._scored(word)
            self._kept += WORD + len(found.rows)
            if self._kept > min(KEPT, KEPT_A_ROW * len(self._norms)):
                self._known.clear()
                self._kept = WORD + len(found.rows)
            self._known[word] = found
        return found

    def _scored(self, word: str) -> _Scored:
        places = [ranges.places(word) for ranges in self._ranges]
        df = sum(ranges.frequencies(at) for ranges, at in zip(self._ranges, places, strict=True))
        most = np.where(df, np.log1p((self._n - df + 0.5) / (df + 0.5)) * (K1 + 1.0), 0.0)
        gains = most.astype(np.float32)
        found = [ranges.postings(at, gains) for ranges, at in zip(self._ranges, places, strict=True)]
        rows, tf, gain = (np.concatenate(parts) for parts in zip(NOTHING, *found, strict=True))
        return _Scored(rows, gain * tf / (tf + self._norms[rows]), most)


@dataclass(frozen=True)
class _Scored:
    """BM25 of one word: `rows` that have it with their `scores`, and of each collection the `most` that a row can get."""

    rows: np.ndarray
    scores: np.ndarray
    most: np.ndarray


class _Ranges:
    """The row ranges of some collections that lie in one index; `firsts` number their rows among those of all collections."""

    def __init__(
        self, index: Lexical, bounds: np.ndarray, owners: np.ndarray, firsts: np.ndarray, collections: int
    ) -> None:
        self._index, self._bounds, self._owners = index, bounds.ravel(), owners
        self._shifts = firsts - bounds[:, 0]
        self._members = np.equal(owners[:, None], np.arange(collections)).astype(np.int64)

    def places(self, word: str) -> np.ndarray:
        """[ranges, 2]: where the postings of a word in a range begin and end."""
        return self._index.places(word, self._bounds).reshape(-1, 2)

    def frequencies(self, places: np.ndarray) -> np.ndarray:
        """[collections]: how many rows have a word."""
        return (places[:, 1] - places[:, 0]) @ self._members

    def postings(self, places: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows among those of all collections, occurrences, the gain of the word there) of the postings at `places`."""
        found = [self._index.postings_at(low, high) for low, high in places.tolist() if high > low]
        if not found:
            return NOTHING
        lengths = places[:, 1] - places[:, 0]
        rows, counts = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return (
            rows + np.repeat(self._shifts, lengths),
            counts.astype(np.float32),
            np.repeat(gains[self._owners], lengths),
        )


def scores(text: str, parts: Sequence[Part]) -> list[np.ndarray]:
    """BM25 of one question in the collection of `parts` -> f32 for each part."""
    return _of_parts(Collections([parts]).scores(text)[0], parts)


def shares(text: str, parts: Sequence[Part]) -> list[np.ndarray]:
    """`scores` as shares, 0 to 1 (`Collections.shares`)."""
    return _of_parts(Collections([parts]).shares(text)[0], parts)


def _of_parts(whole: np.ndarray, parts: Sequence[Part]) -> list[np.ndarray]:
    return np.split(whole, np.cumsum([end - start for _, start, end in parts])[:-1]) if parts else []
