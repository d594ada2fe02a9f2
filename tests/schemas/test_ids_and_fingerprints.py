"""Ids and fingerprints never change under equal input: stores that exist are named by them, so some values are written down."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.fingerprint import fingerprint
from schemas.ids import (
    bucket_of,
    content_hash,
    derived_id,
    hash_bucket,
    qualify,
    record_hash,
    unit_key,
    unit_keys,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Params:
    size: int = 3
    name: str = "a"
    inner: tuple[float, ...] = (0.5,)


def test_a_path_is_qualified_once():
    assert qualify("conv-26", "D3:12") == "conv-26/D3:12"
    assert qualify("conv-26", "conv-26/D3:12") == "conv-26/D3:12"
    assert qualify("conv-26", "conv-26#summary") == "conv-26#summary"
    assert qualify("conv-26", "conv-26") == "conv-26"
    assert qualify("conv-2", "conv-26/D3:12") == "conv-2/conv-26/D3:12"


@given(texts, texts)
def test_qualifying_twice_changes_nothing_more(namespace, path):
    once = qualify(namespace, path)
    assert qualify(namespace, once) == once


def test_derived_ids_say_kind_and_number():
    assert derived_id("conv-26/session_3", "summary") == "conv-26/session_3#summary"
    assert derived_id("docs/handbook.md", "passage", 12) == "docs/handbook.md#passage-12"


def test_hashes_keep_the_values_that_existing_stores_are_named_by():
    assert content_hash("abc") == "cf4ab791c62b8d2b2109c90275287816"
    assert record_hash("turn", None, 3) == "8e95bac446768981dcb51f0cfb422dd6"
    assert unit_key("conv-26/D3:12") == 7443077369438189047
    assert bucket_of("conv-26", 16) == 3
    assert hash_bucket(content_hash("abc"), 16) == 1
    assert fingerprint("segment", 1, {"b": 2, "a": [1, 2.5, None, True]}) == "c0f273a5ac9efea44989b51bc3ca4846"


@given(st.lists(texts, max_size=20))
def test_unit_keys_fit_63_bits_and_agree_with_the_single_one(ids):
    keys = unit_keys(ids)
    assert keys.dtype == np.int64
    assert keys.tolist() == [unit_key(i) for i in ids]
    assert (keys >= 0).all()


@given(texts, st.integers(1, 4096))
def test_buckets_are_in_range(text, buckets):
    assert 0 <= bucket_of(text, buckets) < buckets
    assert 0 <= hash_bucket(content_hash(text), buckets) < buckets


@given(st.dictionaries(texts, values, min_size=2))
def test_the_order_of_keys_does_not_enter_a_fingerprint(mapping):
    turned = dict(reversed(mapping.items()))
    assert fingerprint(mapping) == fingerprint(turned)


@given(values, values)
def test_equal_values_have_equal_fingerprints_and_different_ones_different(a, b):
    same = repr(a) == repr(b)
    if same:
        assert fingerprint(a) == fingerprint(b)
    elif a != b:
        assert fingerprint(a) != fingerprint(b)


def test_a_dataclass_is_hashed_by_its_fields_and_any_change_shows():
    assert fingerprint(Params()) == fingerprint(Params(size=3, inner=(0.5,)))
    changed = [Params(size=4), Params(name="b"), Params(inner=(0.5, 0.5)), Params(inner=(0.25,))]
    assert len({fingerprint(p) for p in [Params(), *changed]}) == 5
    assert fingerprint("segment", 1, Params()) != fingerprint("segment", 2, Params())


def test_sets_are_hashed_without_their_order_and_dates_by_their_day():
    assert fingerprint({"b", "a", "c"}) == fingerprint(frozenset("cab"))
    assert fingerprint(dt.date(2026, 1, 1)) != fingerprint(dt.date(2026, 1, 2))


def test_what_has_no_stable_text_is_refused():
    with pytest.raises(TypeError, match="object cannot be part of a fingerprint"):
        fingerprint("stage", object())
