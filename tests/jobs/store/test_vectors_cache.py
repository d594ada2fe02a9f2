"""The mapped copy of all vectors: what it gives is what the lake holds, whatever happened to its files meanwhile."""

import shutil

import numpy as np
import pytest

from jobs.store.vectors import Vectors
from schemas.errors import StoreError
from schemas.ids import content_hash


@pytest.fixture
def filled(lake, make):
    """Three filesets of vectors [4] in two shards each, and what each text's vector is."""
    rng = np.random.default_rng(0)
    truth = {f"text {i}": rng.standard_normal(4).astype(np.float32) for i in range(60)}
    texts, filesets = list(truth), []
    for i in range(3):
        parts = [texts[20 * i : 20 * i + 15], texts[20 * i + 15 : 20 * i + 20]]
        filesets.append(make.fileset("embeddings", str(i) * 32, stage="embed"))
        tables = [make.embeddings({t: truth[t] for t in part}) for part in parts]
        make.write(lake, filesets[-1], *tables, params={"encoder": "toy@f32"})
    return filesets, truth


def look_up(vectors: Vectors, truth: dict, texts: list[str]) -> bool:
    found = vectors.get([content_hash(t) for t in texts])
    return np.array_equal(found, np.array([truth[t] for t in texts]))


def test_vectors_come_in_the_order_that_was_asked_for(lake, filled):
    filesets, truth = filled
    vectors = Vectors(lake, "toy@f32")
    vectors.sync(filesets)
    asked = np.random.default_rng(1).choice(list(truth), 100).tolist()
    assert look_up(vectors, truth, asked)
    assert vectors.get([]).shape == (0, 4)


def test_syncing_again_adds_nothing_and_new_filesets_add_themselves(lake, filled):
    filesets, truth = filled
    vectors = Vectors(lake, "toy@f32")
    for until in (1, 1, 2, 3, 3):
        vectors.sync(filesets[:until])
        assert vectors.vectors.shape == (20 * until, 4)
        assert look_up(vectors, truth, list(truth)[: 20 * until][::-1])


def test_a_text_without_a_vector_is_an_error_that_counts(lake, filled):
    vectors = Vectors(lake, "toy@f32")
    with pytest.raises(StoreError, match=r"2 texts have no vector of toy@f32"):
        vectors.get([content_hash("x"), content_hash("y")])
    vectors.sync(filled[0])
    with pytest.raises(StoreError, match="1 texts have no vector"):
        vectors.get([content_hash("text 0"), content_hash("x")])


def test_filesets_of_another_encoder_stay_out(lake, filled, make):
    filesets, truth = filled
    other = make.fileset("embeddings", "a" * 32, stage="embed", day=make.DAY.replace(year=2020))
    wrong = make.embeddings({t: [9.0] * 6 for t in truth}, encoder="other@f32")
    make.write(lake, other, wrong, params={"encoder": "other@f32"})
    vectors = Vectors(lake, "toy@f32")
    vectors.sync([other, *filesets])
    assert look_up(vectors, truth, list(truth))
    second = Vectors(lake, "other@f32")
    second.sync([other, *filesets])
    assert (second.get([content_hash("text 7")]) == 9.0).all()
    assert second.vectors.shape == (60, 6)


def test_a_new_process_finds_what_an_earlier_one_synced(local_lake, make):
    rows = make.embeddings({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    address = make.fileset("embeddings", stage="embed")
    make.write(local_lake, address, rows, params={"encoder": "toy@f32"})
    Vectors(local_lake, "toy@f32").sync([address])
    again = Vectors(local_lake, "toy@f32")
    assert again.get([content_hash("b")]).tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("damage", ["cut vectors", "longer vectors", "no vectors", "no index", "cut index", "all gone"])
def test_what_a_crash_left_of_the_cache_is_mended(local_lake, make, damage):
    truth = {f"t{i}": np.array([i, -i, 1], np.float32) for i in range(50)}
    first, second = (make.fileset("embeddings", c * 32, stage="embed") for c in "ab")
    make.write(
        local_lake, first, make.embeddings({t: truth[t] for t in list(truth)[:30]}), params={"encoder": "toy@f32"}
    )
    make.write(
        local_lake, second, make.embeddings({t: truth[t] for t in list(truth)[30:]}), params={"encoder": "toy@f32"}
    )
    vectors = Vectors(local_lake, "toy@f32")
    vectors.sync([first])
    file, index = vectors.folder / "vectors.f32", vectors.folder / vectors.state["index"]
    if damage == "cut vectors":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "longer vectors":
        file.write_bytes(file.read_bytes() + b"\1" * 77)
    elif damage == "no vectors":
        file.unlink()
    elif damage == "no index":
        shutil.rmtree(index)
    elif damage == "cut index":
        (index / "keys.npy").write_bytes((index / "keys.npy").read_bytes()[:200])
    else:
        shutil.rmtree(vectors.folder)
    again = Vectors(local_lake, "toy@f32")
    again.sync([first, second])
    assert look_up(again, truth, list(truth))
    assert look_up(Vectors(local_lake, "toy@f32"), truth, list(truth)[::-1])
