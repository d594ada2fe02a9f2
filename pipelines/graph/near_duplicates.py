"""Units -> `near_duplicate` edges: texts that are nearly word for word the same, decided exactly.

MinHash signatures (Broder 1997) of the sets of word shingles, LSH banding of the signatures for candidates (Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4), then the exact Jaccard coefficient of the sets. The signatures only choose what is
compared; a weight never depends on them.

The rule: a unit has one edge at most, to the earliest near-duplicate before it in its namespace and granularity, in the order
(arrival day, event time, id). Equal texts are decided once, and a bucket of the LSH offers only its first `offered` texts. All this
looks at earlier units alone, so nights and one build agree, no pair waits for another, and the work is linear: 10,000 copies are a
single text; a text has at most bands x offered = 256 candidates (35 to 45 among 4,000 letters of one form, few elsewhere). The
price: where the letters of a form are nearly near-duplicates (0.88 on average), 5 % of the units that have one get no edge.

Cost: reading and hashing all units given, also the earlier ones (40,000 turns a second on one core, 1 KB each), and comparing the
new ones. Sets are of 64-bit hashes: among 10 million shingles two are mistaken for each other with a chance of 3e-6.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import csr_array

from pipelines.ranges import numbers_in
from schemas.tables import TABLES

RELATION, CREATED_BY = "near_duplicate", "near_duplicates@1"
# Texts as they came. What is derived (facts, notes, summaries) is merged, not linked; rounds, segments and sentences
# only say again what their turns and passages say.
COMPARED = ("turn", "session", "passage", "section", "document")
SCOPE = ("namespace", "granularity")
ORDER = ("day", "event_time", "unit_id")
_CJK = "぀-ヿ㐀-䶿一-鿿가-힯"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")  # no spaces in CJK: a character is a word
_BASE = np.uint64(0x9E3779B97F4A7C15)
_IN_CACHE = 1 << 15  # shingles: two arrays of 256 KiB stay in the second-level cache; at 1 << 18 the speed is half
_PAIRS = 1 << 16  # pairs compared at once: bounds memory, costs nothing


@dataclass(frozen=True)
class NearDuplicateParams:
    """What a near-duplicate is (`words`, `threshold`, `min_shingles`) and how candidates are found.

    Below 9 shingles (13 words) no two different sets reach 0.9: the closest are n / (n + 1). What is left there are words that
    people say again and again ("Thanks, see you tomorrow"), so texts that short take no part, not even exact copies. 16 bands of
    8 rows find a pair at 0.9 with a chance of 0.9999, at 0.8 of 0.95, at 0.5 of 0.06.
    """

    words: int = 5
    threshold: float = 0.9
    min_shingles: int = 9
    bands: int = 16
    rows: int = 8
    offered: int = 16

    def recall(self, jaccard: float) -> float:
        """The chance that two texts with this Jaccard coefficient share a bucket."""
        return 1.0 - (1.0 - jaccard**self.rows) ** self.bands


class ShingleSets(NamedTuple):
    """The distinct shingles of n texts: those of text i are `values[starts[i] : starts[i + 1]]`, ascending."""

    values: np.ndarray
    starts: np.ndarray

    def sizes(self) -> np.ndarray:
        return np.diff(self.starts)


class _WordHashes(dict):
    """Each distinct word is hashed once: BLAKE2b, so that every process and machine gets the same."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = value = int.from_bytes(digest, "little")
        return value


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def shingle_sets(texts: Iterable[str], params: NearDuplicateParams) -> ShingleSets:
    """Distinct runs of `params.words` words of each text, compatibility forms and case folded, as uint64 hashes."""
    hashes, flat, ends = _WordHashes(), array("Q"), array("q", [0])
    for text in texts:
        flat.extend(map(hashes.__getitem__, _WORD.findall(unicodedata.normalize("NFKC", text).casefold())))
        ends.append(len(flat))
    words, text_of = np.frombuffer(flat, np.uint64), np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    n = max(len(words) - params.words + 1, 0)
    rolled = np.zeros(n, np.uint64)
    for i in range(params.words):
        rolled = rolled * _BASE + words[i : i + n]
    inside = text_of[:n] == text_of[params.words - 1 : params.words - 1 + n]
    return _distinct(text_of[:n][inside], _mixed(rolled[inside]), len(ends) - 1)


def _distinct(text_of: np.ndarray, values: np.ndarray, n: int) -> ShingleSets:
    order = np.lexsort((values, text_of))
    text_of, values = text_of[order], values[order]
    keep = np.ones(len(values), bool)
    keep[1:] = (values[1:] != values[:-1]) | (text_of[1:] != text_of[:-1])
    return ShingleSets(values[keep], np.searchsorted(text_of[keep], np.arange(n + 1)))


def signatures(sets: ShingleSets, params: NearDuplicateParams) -> np.ndarray:
    """MinHash signatures -> uint32 [n, bands * rows]; empty sets get the largest value everywhere.

    The permutations are h -> a h + b modulo 2^64, of which the upper half is kept (Dietzfelbinger et al. 1997): the hashes are
    mixed already, and the usual modulus 2^61 - 1 would need a division each.
    """
    n, width = len(sets.starts) - 1, params.bands * params.rows
    seeds = _mixed(np.arange(1, 2 * width + 1, dtype=np.uint64) * _BASE)
    factors, shifts = seeds[:width] | np.uint64(1), seeds[width:]
    signed = np.full((n, width), np.iinfo(np.uint32).max, np.uint32)
    some = np.flatnonzero(sets.sizes())
    begins = sets.starts[some]
    cuts = np.unique([*np.searchsorted(begins, np.arange(0, len(sets.values), _IN_CACHE)), len(some)])
    for first, last in pairwise(cuts.tolist()):
        values = sets.values[begins[first] : sets.starts[some[last - 1] + 1]]
        at, image = begins[first:last] - begins[first], np.empty_like(values)
        least = np.empty((width, last - first), np.uint64)
        for i in range(width):
            np.add(np.multiply(values, factors[i], out=image), shifts[i], out=image)
            np.minimum.reduceat(image, at, out=least[i])
        signed[some[first:last]] = (least >> np.uint64(32)).T
    return signed


def band_keys(signed: np.ndarray, params: NearDuplicateParams) -> np.ndarray:
    """One 64-bit key for each band of each signature -> uint64 [n, bands]; equal keys are one bucket of a band."""
    bands = signed.reshape(len(signed), params.bands, params.rows).astype(np.uint64)
    keys = np.zeros(bands.shape[:2], np.uint64)
    for row in range(params.rows):
        keys = _mixed(keys + _BASE + bands[:, :, row])
    return keys


def jaccard(sets: ShingleSets, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Exact Jaccard coefficients of the pairs (left[i], right[i]) of texts -> f64; of two empty sets 0."""
    codes = np.unique(sets.values, return_inverse=True)[1]
    matrix = csr_array(
        (np.ones(len(codes), np.int32), codes, sets.starts), shape=(len(sets.starts) - 1, len(codes) + 1)
    )
    sizes, out = sets.sizes(), np.empty(len(left))
    for start in range(0, len(left), _PAIRS):
        a, b = left[start : start + _PAIRS], right[start : start + _PAIRS]
        both = np.asarray(matrix[a].multiply(matrix[b]).sum(axis=1)).ravel()
        out[start : start + _PAIRS] = both / np.maximum(sizes[a] + sizes[b] - both, 1)
    return out


def candidate_pairs(
    keys: np.ndarray, scope: np.ndarray, is_new: np.ndarray, offered: int
) -> tuple[np.ndarray, np.ndarray]:
    """(text, earlier text), distinct and ascending: each new text with the first `offered` texts of its buckets that are before it.

    Texts are in time order; `keys` [n, bands], `scope` [n] (texts of two scopes never share a bucket), `is_new` [n].
    """
    n, found = len(keys), [np.empty(0, np.int64)]
    for key in keys.T:
        order = np.lexsort((key, scope))  # stable: time order inside a bucket
        begins = np.ones(n, bool)
        begins[1:] = (np.diff(scope[order]) != 0) | (key[order][1:] != key[order][:-1])
        begin = np.maximum.accumulate(np.where(begins, np.arange(n), 0))
        count = np.where(is_new[order], np.minimum(np.arange(n) - begin, offered), 0)
        found.append(np.repeat(order, count) * n + order[numbers_in(begin, begin + count)])
    return np.divmod(np.unique(np.concatenate(found)), max(n, 1))


def near_duplicate_edges(units: pa.Table, is_new: np.ndarray, params: NearDuplicateParams, *, day: dt.date) -> pa.Table:
    """Each unit that `is_new` to its earliest near-duplicate -> rows of `edges` in time order, weighted by Jaccard coefficient.

    `units` are all that stand, of any namespaces, in any order: unit_id, version, namespace, granularity, text, content_hash,
    event_time, day. Those of granularities that are not `COMPARED` are passed over.
    """
    frame = pl.DataFrame(units).with_columns(is_new=pl.Series(is_new, dtype=pl.Boolean))
    frame = frame.filter(pl.col("granularity").is_in(COMPARED)).sort(ORDER)
    texts = frame.group_by(*SCOPE, "content_hash", maintain_order=True).agg(
        pl.col("unit_id").first().alias("target"), pl.col("text").first(), pl.col("is_new").any()
    )
    linked = frame.filter("is_new").join(_decided(texts, params), on=[*SCOPE, "content_hash"], maintain_order="left")
    edges = linked.filter(pl.col("target") != pl.col("unit_id")).select(
        pl.col("unit_id").alias("source"), "target", pl.col("weight").cast(pl.Float32), "namespace",
        pl.col("unit_id").alias("owner"), pl.col("version").alias("owner_version"),
        relation=pl.lit(RELATION), created_by=pl.lit(CREATED_BY), day=pl.lit(day),
    )  # fmt: skip
    schema = TABLES["edges"].schema
    return edges.select(schema.names).to_arrow().cast(schema)


def _decided(texts: pl.DataFrame, params: NearDuplicateParams) -> pl.DataFrame:
    """For each of `texts` (in time order) that takes part: the unit its units are linked to, and the weight.

    That is the first unit of its earliest near-duplicate; where there is none, its own first unit, for the copies of it.
    """
    sets = shingle_sets(texts["text"], params)
    taking_part = np.flatnonzero(sets.sizes() >= params.min_shingles)
    keys = band_keys(signatures(sets, params), params)[taking_part]
    scope = texts.select(pl.struct(SCOPE).rank("dense")).to_series().to_numpy()[taking_part]
    later, earlier = candidate_pairs(keys, scope, texts["is_new"].to_numpy()[taking_part], params.offered)
    later, earlier = taking_part[later], taking_part[earlier]
    weight = jaccard(sets, later, earlier)
    near = weight >= params.threshold
    at, first = np.unique(later[near], return_index=True)
    target, weights = np.arange(len(texts)), np.ones(len(texts))
    target[at], weights[at] = earlier[near][first], weight[near][first]
    decided = texts.select(*SCOPE, "content_hash", pl.col("target").gather(target), weight=pl.Series(weights))
    return decided[taking_part]
