"""A catalogue of filesets: what goes into a snapshot's JSON comes out of it, and selections are ordered and complete."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from schemas.manifest import Catalogue, Fileset

DAYS = st.dates(dt.date(2024, 1, 1), dt.date(2024, 1, 9))
filesets = st.lists(
    st.builds(
        Fileset,
        table=st.sampled_from(["turns", "memory_units", "embeddings"]),
        stage=st.sampled_from(["read", "segment", "bound"]),
        day=DAYS,
        bucket=st.integers(0, 3),
        fingerprint=st.text("0123456789abcdef", min_size=32, max_size=32),
    ),
    max_size=30,
)


def catalogue_of(found: list[Fileset]) -> Catalogue:
    catalogue = Catalogue()
    for fileset in found:
        catalogue.put(fileset)
    return catalogue


def newest(found: list[Fileset]) -> set[Fileset]:
    """The last fileset put for each address."""
    return set({(f.table, f.stage, f.day, f.bucket): f for f in found}.values())


@given(filesets)
def test_json_and_back_is_the_same_catalogue(found):
    catalogue = catalogue_of(found)
    assert Catalogue.from_json(catalogue.to_json()) == catalogue
    assert set(catalogue) == newest(found)
    assert catalogue.to_json() == catalogue_of(sorted(newest(found))).to_json()


@given(filesets, DAYS, st.integers(0, 3))
def test_selections_are_what_a_plain_filter_gives(found, day, bucket):
    catalogue, all_ = catalogue_of(found), newest(found)
    order = lambda f: (f.day, f.bucket, f.stage)  # noqa: E731
    turns = [f for f in all_ if f.table == "turns"]
    assert catalogue.select("turns") == sorted(turns, key=order)
    assert catalogue.select("turns", before=day) == sorted((f for f in turns if f.day < day), key=order)
    assert catalogue.select("turns", until=day, bucket=bucket) == sorted(
        (f for f in turns if f.day <= day and f.bucket == bucket), key=order
    )
    assert catalogue.select("turns", stage="read", day=day) == sorted(
        (f for f in turns if f.stage == "read" and f.day == day), key=order
    )


@given(filesets)
def test_a_copy_changes_on_its_own(found):
    catalogue = catalogue_of(found)
    copy = catalogue.copy()
    for fileset in newest(found):
        copy.drop(fileset.table, fileset.stage, fileset.day, fileset.bucket)
    assert list(copy) == []
    assert set(catalogue) == newest(found)
    assert all(catalogue.get(f.table, f.stage, f.day, f.bucket) == f for f in newest(found))
