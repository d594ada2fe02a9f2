"""Inserts, deletes and compaction against brute force over what should be there; readers and killed writers meanwhile."""

import multiprocessing
import os
import shutil

import numpy as np
import pytest

from pipelines import ann
from pipelines.ann import coarse, layout
from schemas.errors import StoreError, StoreLocked, UsageError

DIM, N = 24, 3000
PARAMS = ann.AnnParams(nlist=30, rerank_dtype="f32")


def clustered(n: int, seed: int) -> np.ndarray:
    rng, shared = np.random.default_rng(seed), np.random.default_rng(99)
    vectors = shared.standard_normal((40, DIM))[rng.integers(40, size=n)] + 0.6 * rng.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Model:
    """What an index should answer: a dict of vectors, searched by float64 arithmetic."""

    def __init__(self, metric: str) -> None:
        self.metric, self.vectors = metric, {}

    def search(self, queries, k, allowed=None):
        keys = np.array(sorted(self.vectors if allowed is None else set(allowed) & set(self.vectors)), np.int64)
        if not len(keys):
            return np.full((len(queries), k), -1)
        x = np.stack([self.vectors[key] for key in keys]).astype(np.float64)
        q = queries.astype(np.float64)
        score = -(q @ x.T) if self.metric == "ip" else ((q[:, None] - x[None]) ** 2).sum(-1)
        found = keys[np.argsort(score, axis=1, kind="stable")[:, :k]]
        return np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=-1)


def everything(index):
    return {"nprobe": max(1, index.manifest["nlist"]), "rerank": index.manifest["entries"] + 1}


@pytest.mark.parametrize("kind", ["ivf", "grouped", "flat"])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_any_run_of_changes_answers_as_brute_force_over_what_is_left(tmp_path, monkeypatch, metric, kind):
    params = ann.AnnParams(metric=metric, nlist=None if kind == "flat" else 30, rerank_dtype="f32")
    if kind == "grouped":
        monkeypatch.setattr(coarse, "GROUPED_FROM", 8)
    vectors, queries, model = clustered(N, 0), clustered(25, 1), Model(metric)
    ann.build(vectors, tmp_path / "index", params=params)
    model.vectors = dict(enumerate(vectors))
    index, rng = ann.open(tmp_path / "index"), np.random.default_rng(3)
    for step in range(12):
        if step % 4 == 3:
            index.compact()
        elif step % 2:
            gone = rng.choice(sorted(model.vectors), 120, replace=False)
            assert index.delete(np.concatenate([gone, gone[:5], [10**12]])) == 120
            model.vectors = {key: v for key, v in model.vectors.items() if key not in set(gone)}
        else:
            more, ids = clustered(90, 10 + step), np.arange(90) * 7 + 10**6 * (step + 1)
            index.insert(more, ids)
            model.vectors |= dict(zip(ids.tolist(), more, strict=True))
        assert len(index) == len(model.vectors)
        true = model.search(queries, 10)
        assert np.array_equal(index.search(queries, 10, **everything(index))[0], true)
        assert np.array_equal(index.search(queries, 10, recall_target=1)[0], true)
        allowed = rng.choice(sorted(model.vectors), 200)
        assert np.array_equal(index.search(queries, 10, filter=allowed)[0], model.search(queries, 10, allowed))
        again = ann.open(tmp_path / "index", verify="full")
        assert np.array_equal(again.search(queries, 10, **everything(again))[0], true)


def test_a_deleted_key_is_gone_at_once_and_may_come_back_with_another_vector(tmp_path):
    ann.build(clustered(N, 0), tmp_path / "index", params=PARAMS)
    index, vector = ann.open(tmp_path / "index"), clustered(1, 50)
    index.delete(np.array([7]))
    assert not (index.search(clustered(N, 0)[7], 20)[0] == 7).any()
    assert (index.search(clustered(N, 0)[7], 20, filter=np.array([7]))[0] == -1).all()
    index.insert(vector, np.array([7]))
    keys, scores = index.search(vector[0], 1)
    assert keys[0] == 7 and scores[0] == pytest.approx(1, abs=1e-5)
    with pytest.raises(UsageError, match="id 7 is in the index already"):
        index.insert(vector, np.array([7]))
    index.compact()
    assert index.search(vector[0], 1)[0][0] == 7 and len(index) == N


def test_row_numbers_go_on_where_no_ids_are_given(tmp_path):
    ann.build(clustered(N, 0), tmp_path / "index", params=PARAMS)
    index, more = ann.open(tmp_path / "index"), clustered(50, 1)
    index.insert(more)
    index.insert(more[:0])
    assert "keys" not in index.manifest["files"]
    assert np.array_equal(index.search(more, 1)[0][:, 0], np.arange(N, N + 50))
    index.delete(np.arange(10))
    index.compact()
    assert np.array_equal(index.search(more, 1)[0][:, 0], np.arange(N, N + 50))
    index.insert(clustered(1, 60))
    assert index.search(clustered(1, 60)[0], 1)[0][0] == N + 50


def test_everything_can_be_deleted_and_filled_again(tmp_path):
    ann.build(clustered(N, 0), tmp_path / "index", params=PARAMS)
    index = ann.open(tmp_path / "index")
    assert index.delete(np.arange(N)) == N
    assert len(index) == 0 and (index.search(clustered(2, 1), 5)[0] == -1).all()
    index.compact()
    assert (ann.open(tmp_path / "index").search(clustered(2, 1), 5)[0] == -1).all()
    index.insert(clustered(30, 2), np.arange(30))
    assert np.array_equal(index.search(clustered(30, 2), 1)[0][:, 0], np.arange(30))


def test_compaction_frees_the_bytes_of_what_was_deleted(tmp_path):
    vectors = clustered(N, 0)
    ann.build(vectors, tmp_path / "index", params=PARAMS)
    index = ann.open(tmp_path / "index")
    index.delete(np.arange(0, N, 2))
    secret = vectors[4].tobytes()
    assert any(secret in path.read_bytes() for path in (tmp_path / "index").iterdir())
    index.compact()
    assert not any(secret in path.read_bytes() for path in (tmp_path / "index").iterdir())
    assert (tmp_path / "index" / index.manifest["files"]["vectors"]["name"]).stat().st_size == N // 2 * DIM * 4


def test_a_reader_keeps_its_view_while_others_change_and_compact(tmp_path):
    ann.build(clustered(N, 0), tmp_path / "index", params=PARAMS)
    reader, writer, queries = ann.open(tmp_path / "index"), ann.open(tmp_path / "index"), clustered(10, 1)
    before = reader.search(queries, 10)
    writer.delete(np.unique(before[0]))
    writer.insert(queries, np.arange(10) + 10**6)
    writer.compact()
    for a, b in zip(before, reader.search(queries, 10), strict=True):
        assert np.array_equal(a, b)
    reader._view.prober._cold_for = 1
    assert np.array_equal(before[0], reader.search(queries, 10)[0])
    reader.insert(clustered(3, 5), np.arange(3) + 10**7)  # moves on from what the other wrote
    assert len(reader) == N - len(np.unique(before[0])) + 13
    assert np.array_equal(reader.search(queries, 1)[0][:, 0], np.arange(10) + 10**6)


def test_two_writers_do_not_meet(tmp_path):
    ann.build(clustered(300, 0), tmp_path / "index")
    index = ann.open(tmp_path / "index")
    with layout.writing(tmp_path / "index"), pytest.raises(StoreLocked, match="wait until it has finished"):
        index.delete(np.array([1]))


def test_lists_that_grew_are_split_and_lists_that_shrank_are_merged(tmp_path):
    vectors = clustered(N, 0)
    ann.build(vectors, tmp_path / "index", params=PARAMS)
    index = ann.open(tmp_path / "index")
    crowd = vectors[0] + 0.05 * np.random.default_rng(1).standard_normal((1500, DIM))
    index.insert(crowd.astype(np.float32), np.arange(1500) + 10**6)
    near = index.search(vectors[200], 150)[0]
    index.delete(near[near < 10**6])
    sizes = _sizes(index)
    index.compact()
    assert _sizes(index).max() < sizes.max() / 2
    assert _sizes(index).min() > 0


def _sizes(index):
    opened = index._view.opened
    alive = opened.live()
    return np.array([alive[opened.list_file.rows(number)].sum() for number in range(index.manifest["nlist"])])


def _change_until_killed(folder, number):
    index = ann.open(folder)
    for step in range(1000):
        index.insert(clustered(40, step), np.arange(40) + 10**6 * (step + 1))
        index.delete(np.arange(step * 5, step * 5 + 5))
        if step % 3 == 2:
            index.compact()


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.45, 0.8])
def test_a_killed_writer_leaves_a_whole_index_that_takes_the_next_change(tmp_path, seconds):
    ann.build(clustered(1500, 0), tmp_path / "index", params=ann.AnnParams(nlist=15, rerank_dtype="f32"))
    writer = multiprocessing.get_context("fork").Process(target=_change_until_killed, args=(tmp_path / "index", 0))
    writer.start()
    writer.join(seconds)
    os.kill(writer.pid, 9)
    writer.join()
    index = ann.open(tmp_path / "index", verify="full")
    manifest = index.manifest
    assert (len(index) - 1500) % 5 == 0
    keys = index.search(clustered(5, 0), len(index) + 10, recall_target=1)[0]
    assert ((keys >= 0).sum(axis=1) == len(index)).all()
    index.insert(clustered(3, 777), np.arange(3) + 10**12)
    assert np.array_equal(index.search(clustered(3, 777), 1)[0][:, 0], np.arange(3) + 10**12)
    left = {path.name for path in (tmp_path / "index").iterdir()} - {"manifest.json", ".lock"}
    assert left == {told["name"] for told in index.manifest["files"].values()}
    assert index.manifest["generation"] == manifest["generation"] + 1


def test_damage_after_changes_is_found_too(tmp_path):
    ann.build(clustered(N, 0), tmp_path / "index", params=PARAMS)
    index = ann.open(tmp_path / "index")
    index.insert(clustered(500, 1))
    index.delete(np.arange(50))
    rng = np.random.default_rng(0)
    for role, told in index.manifest["files"].items():
        copy = tmp_path / f"copy-{role}"
        shutil.copytree(tmp_path / "index", copy)
        whole = bytearray((copy / told["name"]).read_bytes())
        whole[int(rng.integers(len(whole)))] ^= 4
        (copy / told["name"]).write_bytes(whole)
        with pytest.raises(StoreError, match=role):
            ann.open(copy, verify="full")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i: i.insert(clustered(2, 0)[:, :5]), "index has dim 24, vectors have 5"),
        (lambda i: i.insert(clustered(2, 0), np.array([1])), "give 2 integers"),
        (lambda i: i.insert(np.full((1, DIM), np.nan, np.float32)), "NaN"),
        (lambda i: i.delete(np.array([0.5])), "int64 keys"),
    ],
)
def test_a_change_that_cannot_be_meant_says_why_and_changes_nothing(tmp_path, change, says):
    ann.build(clustered(400, 0), tmp_path / "index", params=ann.AnnParams(nlist=8))
    index = ann.open(tmp_path / "index")
    with pytest.raises(UsageError, match=says):
        change(index)
    assert len(ann.open(tmp_path / "index", verify="full")) == 400 and index.manifest["generation"] == 0
    index.insert(clustered(1, 1))
    assert len(index) == 401


def test_nights_of_changes_keep_recall_and_compaction_restores_it(tmp_path):
    """30 nights of 1 % inserts and 0.5 % deletes, small: tests/soak/test_ann_nights_and_growth.py measures time too.

    Means of three seeds: two k-means of the same vectors differ by 0.01 at so few lists."""
    changed, compacted, fresh = np.mean([_recalls_after_nights(tmp_path / str(s), s) for s in range(3)], axis=0)
    assert changed >= fresh - 0.005
    assert compacted >= fresh - 0.005


def _recalls_after_nights(folder, seed: int) -> tuple[float, float, float]:
    """Recall@10 of an index after its nights, the same compacted, and one built of what is left."""
    vectors, queries = clustered(13_000, 0), clustered(300, 1)
    params = ann.AnnParams(nlist=100, seed=seed)
    ann.build(vectors[:10_000], folder / "index", params=params)
    index, rng, alive = ann.open(folder / "index"), np.random.default_rng(0), set(range(10_000))
    for night in range(30):
        ids = np.arange(10_000 + night * 100, 10_100 + night * 100)
        index.insert(vectors[ids], ids)
        gone = rng.choice(sorted(alive), 50, replace=False)
        index.delete(gone)
        alive = (alive | set(ids.tolist())) - set(gone.tolist())
    left = np.array(sorted(alive))
    ann.build(vectors[left], folder / "fresh", ids=left, params=params)
    true = left[np.argsort(-(queries @ vectors[left].T), axis=1)[:, :10]]

    def recall(one):
        found = one.search(queries, 10, nprobe=12, rerank=60)[0]
        return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, true, strict=True)])

    changed = recall(index)
    index.compact()
    assert len(index) == len(left)
    return changed, recall(index), recall(ann.open(folder / "fresh"))
