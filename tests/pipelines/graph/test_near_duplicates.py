"""Near-duplicates: exactly what a loop over all pairs finds, only to the past, the same by night and in one build."""

import datetime as dt
import re
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.graph.near_duplicates import (
    COMPARED,
    NearDuplicateParams,
    band_keys,
    candidate_pairs,
    jaccard,
    near_duplicate_edges,
    shingle_sets,
    signatures,
)
from schemas.ids import content_hash
from schemas.tables import TABLES

DAY = dt.date(2026, 3, 1)
PARAMS = NearDuplicateParams()
# A band of one row: a pair at 0.9 is missed with a chance of 1e-128, so that a loop over all pairs must agree.
EVERY_PAIR = NearDuplicateParams(bands=128, rows=1, offered=1_000)
COLUMNS = ["unit_id", "version", "namespace", "granularity", "text", "content_hash", "event_time", "day"]
SCHEMA = pa.schema([TABLES["memory_units"].schema.field(name) for name in COLUMNS])


def unit(
    unit_id: str, text: str, *, ns: str = "n", granularity: str = "turn", hour: int = 0, day: int = 0, version: int = 1
) -> dict:
    return {
        "unit_id": unit_id,
        "version": version,
        "namespace": ns,
        "granularity": granularity,
        "text": text,
        "content_hash": content_hash(text),
        "event_time": dt.datetime(2026, 2, 1, hour, tzinfo=dt.UTC),
        "day": DAY + dt.timedelta(days=day),
    }


def edges_of(rows: list[dict], params: NearDuplicateParams = PARAMS, *, night: int | None = None) -> list[dict]:
    """Edges of all rows as one build, or those that the night of one day adds."""
    rows = rows if night is None else [r for r in rows if r["day"] <= DAY + dt.timedelta(days=night)]
    is_new = np.array([night is None or r["day"] == DAY + dt.timedelta(days=night) for r in rows], bool)
    found = near_duplicate_edges(pa.Table.from_pylist(rows, schema=SCHEMA), is_new, params, day=DAY)
    return TABLES["edges"].validate(found).to_pylist()


def links(edges: list[dict]) -> set[tuple[str, str, float]]:
    return {(e["source"], e["target"], round(e["weight"], 6)) for e in edges}


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def coefficient(a: str, b: str) -> float:
    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def in_time(row: dict) -> tuple:
    return row["day"], row["event_time"], row["unit_id"]


def brute(rows: list[dict]) -> set[tuple[str, str, float]]:
    """The rule of the module, by a loop over all pairs and sets of tuples of words."""
    part = [r for r in sorted(rows, key=in_time) if r["granularity"] in COMPARED and len(shingles(r["text"])) >= 9]
    found: dict[str, tuple[str, str, float]] = {}
    for earlier, later in combinations(part, 2):
        same = all(earlier[c] == later[c] for c in ("namespace", "granularity"))
        if same and (weight := coefficient(earlier["text"], later["text"])) >= 0.9:
            found.setdefault(later["unit_id"], (later["unit_id"], earlier["unit_id"], round(weight, 6)))
    return set(found.values())


LETTERS = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
BASES = [" ".join(LETTERS[i : i + n]) for i, n in ((0, 60), (1, 60), (30, 40), (70, 14), (70, 12), (70, 3))]


@st.composite
def edited_texts(draw) -> str:
    words = draw(st.sampled_from(BASES)).split()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.sampled_from([0, len(words) // 2, len(words)]))
        words[at:at] = [draw(st.sampled_from(["x1", "x2"]))]
    text = " ".join(words)
    return draw(st.sampled_from([text, text, text.upper(), text + "."]))


corpora = st.lists(
    st.builds(
        unit,
        unit_id=st.integers(0, 999).map(lambda i: f"u{i}"),
        text=edited_texts(),
        ns=st.sampled_from("nm"),
        granularity=st.sampled_from(["turn", "passage", "fact"]),
        hour=st.integers(0, 2),
        day=st.integers(0, 2),
        version=st.integers(1, 3),
    ),
    unique_by=lambda r: r["unit_id"],
    max_size=14,
)


@given(corpora)
def test_edges_are_those_that_a_loop_over_all_pairs_finds(rows):
    assert links(edges_of(rows, EVERY_PAIR)) == brute(rows)


@given(corpora)
def test_edges_go_to_the_past_of_one_namespace_and_granularity_with_exact_weights(rows):
    by_id = {r["unit_id"]: r for r in rows}
    edges = edges_of(rows)
    assert len({e["source"] for e in edges}) == len(edges)
    for e in edges:
        source, target = by_id[e["source"]], by_id[e["target"]]
        assert in_time(target) < in_time(source)
        assert (target["namespace"], target["granularity"]) == (source["namespace"], source["granularity"])
        assert e["weight"] == pytest.approx(coefficient(source["text"], target["text"]), abs=1e-6)
        assert e["weight"] >= np.float32(0.9)
        assert (e["owner"], e["owner_version"], e["namespace"]) == (e["source"], source["version"], source["namespace"])


@given(corpora, st.sampled_from([1, 16]))
def test_linking_night_by_night_gives_the_edges_of_one_build(rows, offered):
    params = NearDuplicateParams(offered=offered)
    nightly = [e for night in range(3) for e in edges_of(rows, params, night=night)]
    assert links(nightly) == links(edges_of(rows, params))
    assert len(nightly) == len(edges_of(rows, params))


@given(corpora, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, random):
    assert edges_of(random.sample(rows, len(rows))) == edges_of(rows)


def made_up_texts(n: int) -> list[str]:
    """Texts of 40 to 120 made-up words; every second one is an earlier one with one to three edits."""
    rng = np.random.default_rng(7)
    vocabulary, texts = np.array([f"w{i}" for i in range(5_000)]), []
    for i in range(n):
        if i % 2 == 0:
            texts.append(" ".join(rng.choice(vocabulary, rng.integers(40, 120))))
            continue
        words = texts[rng.integers(len(texts))].split()
        for _ in range(rng.integers(1, 4)):
            at = rng.choice([0, len(words), rng.integers(len(words))])
            words[at : at + rng.integers(0, 2)] = list(rng.choice(vocabulary, rng.integers(0, 3)))
        texts.append(" ".join(words))
    return texts


def test_banding_finds_nearly_all_that_a_loop_over_all_pairs_finds():
    texts = list(dict.fromkeys(made_up_texts(1_200)))
    sets = shingle_sets(texts, PARAMS)
    left, right = np.triu_indices(len(texts), 1)
    exact = jaccard(sets, left, right)
    near = exact >= 0.9
    keys = band_keys(signatures(sets, PARAMS), PARAMS)
    found = (keys[left[near]] == keys[right[near]]).any(1)
    assert near.sum() > 300
    assert found.mean() >= 0.999
    far = exact < 0.3
    assert (keys[left[far]] == keys[right[far]]).any(1).mean() < 1e-4


def test_the_chance_that_banding_finds_a_pair_at_the_threshold_is_above_a_thousandth_short_of_certain():
    assert PARAMS.recall(PARAMS.threshold) > 0.999
    assert PARAMS.recall(0.5) < 0.07


def test_signatures_agree_as_often_as_sets_overlap():
    words = [f"w{i}" for i in range(3_000)]
    texts = [" ".join(words[i : i + 400]) for i in (0, 40, 130, 200, 2_000)]
    sets = shingle_sets(texts, PARAMS)
    signed = signatures(sets, PARAMS)
    left, right = np.triu_indices(len(texts), 1)
    # five deviations of a share among 128 draws
    assert np.abs((signed[left] == signed[right]).mean(1) - jaccard(sets, left, right)).max() < 5 * 0.5 / np.sqrt(128)


def test_hashes_are_the_same_in_every_process_and_on_every_machine():
    sets = shingle_sets(["The quick brown fox jumps over the lazy dog"], PARAMS)
    assert sets.values.tolist() == [
        4613693428282416105, 12327514169205513661, 12836930240501206835, 14779993504710511063, 17876429348876310839,
    ]  # fmt: skip
    assert signatures(sets, PARAMS)[0, :3].tolist() == [619003605, 2616422064, 274154137]
    keys = band_keys(signatures(sets, PARAMS), PARAMS)
    assert keys[0, :2].tolist() == [10086980997398280820, 17157458375628514444]


def test_shingles_do_not_reach_from_one_text_into_the_next():
    sets = shingle_sets(["a b c", "", "d e f g h", "d e f g h i", "a b c d e"], PARAMS)
    assert sets.sizes().tolist() == [0, 0, 1, 2, 1]
    assert np.isin(sets.values[0], sets.values[1:3])


def test_long_texts_give_the_same_signatures_alone_and_among_others():
    texts = [
        " ".join(f"w{i % 70_001}" for i in range(start, start + n)) for start, n in ((0, 90_000), (5, 3), (9, 40_000))
    ]
    together = signatures(shingle_sets(texts, PARAMS), PARAMS)
    alone = [signatures(shingle_sets([text], PARAMS), PARAMS) for text in texts]
    assert np.array_equal(together, np.concatenate(alone))


THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"


@pytest.mark.parametrize(
    ("first", "second", "weight"),
    [
        (THIRTEEN, THIRTEEN, 1.0),
        (THIRTEEN, THIRTEEN.upper().replace(" ", ", ") + "!", 1.0),
        (THIRTEEN, "_" + THIRTEEN.replace("f", "ｆ") + "_", 1.0),
        (THIRTEEN, THIRTEEN + " fourteen", 0.9),
        (THIRTEEN, THIRTEEN + " fourteen fifteen", None),
        (THIRTEEN.removesuffix(" thirteen"), THIRTEEN.removesuffix(" thirteen"), None),
        ("no " * 100, "no " * 100, None),
        ("私は昨日友達と一緒に新しい映画館へ行きました。", "私は昨日友達と一緒に新しい映画館へ行きました", 1.0),
    ],
)
def test_what_counts_as_a_near_duplicate(first, second, weight):
    expected = set() if weight is None else {("b", "a", weight)}
    assert links(edges_of([unit("a", first), unit("b", second, hour=1)])) == expected


def test_a_copy_of_a_near_duplicate_is_linked_to_the_earliest_too_also_on_a_later_night():
    rows = [unit("a", THIRTEEN), unit("b", THIRTEEN + " x", hour=1), unit("c", THIRTEEN + " x", day=1)]
    assert links(edges_of(rows)) == {("b", "a", 0.9), ("c", "a", 0.9)}
    assert links(edges_of(rows, night=1)) == {("c", "a", 0.9)}


def test_ten_thousand_copies_are_all_linked_to_the_first():
    rows = [unit(f"u{i:05}", THIRTEEN) for i in range(10_000)]
    edges = edges_of(rows)
    assert {e["target"] for e in edges} == {"u00000"}
    assert [e["source"] for e in edges] == [f"u{i:05}" for i in range(1, 10_000)]


def test_a_bucket_offers_only_its_first_texts_however_many_there_are():
    keys = np.zeros((5_000, 2), np.uint64)
    keys[:, 1] = np.arange(5_000)
    scope, new = np.zeros(5_000, int), np.arange(5_000) >= 4_000
    later, earlier = candidate_pairs(keys, scope, new, 3)
    assert later.tolist() == np.repeat(np.arange(4_000, 5_000), 3).tolist()
    assert earlier.tolist() == [0, 1, 2] * 1_000


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(0, 99))
def test_candidates_are_the_first_of_each_bucket_of_the_scope(n, offered, seed):
    rng = np.random.default_rng(seed)
    keys, scope = rng.integers(0, 3, (n, 2)).astype(np.uint64), rng.integers(0, 2, n)
    is_new = rng.random(n) < 0.7
    expected = set()
    for text in np.flatnonzero(is_new):
        for band in range(2):
            same = np.flatnonzero((keys[:, band] == keys[text, band]) & (scope == scope[text]))
            expected |= {(int(text), int(e)) for e in same[:offered] if e < text}
    found = candidate_pairs(keys, scope, is_new, offered)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == sorted(expected)


def test_no_units_give_no_edges():
    assert edges_of([]) == []
    assert edges_of([unit("a", "Thanks!"), unit("b", "Thanks!")]) == []
