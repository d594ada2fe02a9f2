"""The folder of an ANN index: how it is written, that it is the same each time, what damage is noticed, what it costs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from pipelines import ann
from pipelines.ann import layout
from schemas.errors import StoreError, UsageError

PARAMS = ann.AnnParams(nlist=16)


def rows(n: int = 2000, dim: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.fixture
def index(tmp_path):
    ann.build(rows(), tmp_path / "index", ids=np.arange(2000) + 5, params=PARAMS)
    return tmp_path / "index"


def test_the_same_vectors_and_seed_give_the_same_bytes_from_memory_file_or_other_threads(tmp_path):
    np.save(tmp_path / "vectors.npy", rows())
    ann.build(rows(), tmp_path / "a", params=PARAMS)
    ann.build(tmp_path / "vectors.npy", tmp_path / "b", params=PARAMS, memory_budget=4 << 20)
    code = "import sys, faiss; from pipelines import ann; faiss.omp_set_num_threads(1)\n"
    code += "ann.build(sys.argv[1], sys.argv[2], params=ann.AnnParams(nlist=16))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "vectors.npy"), str(tmp_path / "c")], check=True)
    a, b, c = ((tmp_path / name / "manifest.json").read_bytes() for name in "abc")
    assert a == b == c


def test_another_seed_gives_another_index(tmp_path):
    ann.build(rows(), tmp_path / "a", params=PARAMS)
    ann.build(rows(), tmp_path / "b", params=ann.AnnParams(nlist=16, seed=1))
    a, b = (ann.open(tmp_path / name).manifest["files"]["lists"] for name in "ab")
    assert a["blocks"] != b["blocks"]


def test_the_manifest_names_every_file_and_nothing_else_is_left(index):
    manifest = json.loads((index / "manifest.json").read_bytes())
    named = {told["name"] for told in manifest["files"].values()} | {"manifest.json"}
    assert named == {str(p.relative_to(index)) for p in index.rglob("*") if p.is_file()}
    assert [p.name for p in index.parent.iterdir()] == ["index"]
    assert str(index) not in (index / "manifest.json").read_text()
    assert (manifest["dim"], manifest["n"], manifest["metric"], manifest["nlist"]) == (24, 2000, "ip", 16)


def test_a_copied_folder_opens_elsewhere(index, tmp_path):
    index.rename(tmp_path / "moved")
    assert (ann.open(tmp_path / "moved", verify="full").search(rows()[:3], 1)[0] >= 5).all()


@pytest.mark.parametrize("role", ["vectors", "lists", "sizes", "head", "rotation", "keys", "order"])
@pytest.mark.parametrize("verify", ["full", "touched", "none"])
def test_a_missing_or_cut_file_is_named_whatever_is_verified(index, role, verify):
    path = index / layout.file_name(role, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(StoreError, match=rf"{path.name} has \d+ bytes instead of.*build the index again"):
        ann.open(index, verify=verify)
    path.unlink()
    with pytest.raises(StoreError, match=f"{path.name} is missing"):
        ann.open(index, verify=verify)


def test_a_changed_byte_in_the_middle_of_a_large_file_is_found_by_full_and_at_its_ends_by_touched(tmp_path):
    ann.build(rows(20_000, 80), tmp_path / "index", params=PARAMS)  # 3.2 MB, four blocks
    path = tmp_path / "index" / layout.file_name("vectors", 0)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreError, match=r"bin has changed between bytes 1048576 and 2097151"):
        ann.open(tmp_path / "index", verify="full")
    assert len(ann.open(tmp_path / "index", verify="touched")) == 20_000
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreError, match="has changed between"):
        ann.open(tmp_path / "index", verify="touched")
    assert len(ann.open(tmp_path / "index", verify="none")) == 20_000


def test_no_flipped_byte_and_no_truncation_passes_full_verification(index):
    """1,000 damages, each of one file at a random place; an open index would be wrong somewhere after some of them."""
    random = np.random.default_rng(0)
    paths = sorted(p for p in index.iterdir() if p.is_file())
    for number in range(1000):
        path = paths[number % len(paths)]
        whole = path.read_bytes()
        place = int(random.integers(len(whole)))
        flipped = bytes([whole[place] ^ (1 << int(random.integers(8)))])
        path.write_bytes(whole[:place] + (flipped + whole[place + 1 :] if number % 4 else b""))
        with pytest.raises(StoreError):
            ann.open(index, verify="full")
        path.write_bytes(whole)
    assert len(ann.open(index, verify="full")) == 2000


def test_files_of_another_index_are_refused(index, tmp_path):
    ann.build(rows(seed=3), tmp_path / "other", ids=np.arange(2000), params=PARAMS)
    name = layout.file_name("lists", 0)
    (tmp_path / "other" / name).replace(index / name)
    with pytest.raises(StoreError, match=r"lists-000000\.bin"):
        ann.open(index)


def test_queries_of_another_encoder_are_refused(tmp_path):
    ann.build(rows(10), tmp_path / "index", encoder="all-MiniLM-L6-v2@f32")
    assert len(ann.open(tmp_path / "index", encoder="all-MiniLM-L6-v2@f32")) == 10
    with pytest.raises(UsageError, match="pin the encoder"):
        ann.open(tmp_path / "index", encoder="mpnet@f32")


@pytest.mark.parametrize("change", [lambda t: t[:-40], lambda t: t.replace('"n": 2000', '"n": 1999'), lambda t: "[]"])
def test_a_damaged_manifest_is_refused_whatever_is_verified(index, change):
    path = index / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(StoreError):
        ann.open(index, verify="none")


def test_another_format_version_asks_for_a_rebuild(index):
    path = index / "manifest.json"
    path.write_text(path.read_text().replace(f'"version": {layout.VERSION}', '"version": 99'))
    with pytest.raises(StoreError, match="format 9"):
        ann.open(index)


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is no index"):
        ann.open(tmp_path)


def test_building_never_overwrites_and_a_refused_build_leaves_nothing(index, tmp_path):
    with pytest.raises(UsageError, match="not an empty folder"):
        ann.build(rows(), index)
    bad = rows(20_000, 8)
    bad[19_999, 3] = np.nan
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="vector 19999"):
        ann.build(bad, tmp_path / "empty")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "index"] and not any((tmp_path / "empty").iterdir())
    ann.build(rows(10), tmp_path / "empty")
    assert len(ann.open(tmp_path / "empty")) == 10


@pytest.mark.parametrize(
    ("vectors", "options", "says"),
    [
        (np.zeros(5, np.float32), {}, "shape"),
        (np.zeros((5, 0), np.float32), {}, "dim >= 1"),
        (np.zeros((5, 2), np.int32), {}, "astype"),
        ("missing.npy", {}, "cannot read"),
        (rows(3), {"ids": np.array([1, 1, 2])}, "id 1 is given to more than one"),
        (rows(3), {"ids": np.array([1, -1, 2])}, "padding"),
        (rows(3), {"ids": np.arange(4)}, "give 3 integers"),
        (rows(3) * 1e6, {"params": ann.AnnParams(rerank_dtype="f16")}, "exceeds float16"),
        (rows(), {"params": ann.AnnParams(code="pq25x4")}, "more parts"),
        (rows(20_000), {"memory_budget": 1000}, "memory_budget"),
    ],
)
def test_vectors_that_cannot_be_indexed_are_refused_with_a_reason(tmp_path, vectors, options, says):
    with pytest.raises(UsageError, match=says):
        ann.build(vectors, tmp_path / "index", **options)


@pytest.mark.parametrize(
    "wrong",
    [{"metric": "cosine"}, {"nlist": 0}, {"replicas": 9}, {"eps": -1}, {"code": "pq8"}, {"rerank_dtype": "int8"}],
)
def test_unknown_parameters_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        ann.AnnParams(**wrong)


def test_a_file_in_fortran_order_or_cut_short_is_refused(tmp_path):
    np.save(tmp_path / "fortran.npy", np.asfortranarray(rows()))
    with pytest.raises(UsageError, match="Fortran"):
        ann.build(tmp_path / "fortran.npy", tmp_path / "index")
    np.save(tmp_path / "cut.npy", rows())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-400])
    with pytest.raises(UsageError, match="ends before"):
        ann.build(tmp_path / "cut.npy", tmp_path / "index")


MEASURED_BUILD = """
import resource, sys, threading
from pathlib import Path
from pipelines import ann
def anonymous():
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("RssAnon"))
ann.build(sys.argv[1], sys.argv[2] + "-warm", params=ann.AnnParams(nlist=8, code="flat"))
before, peak, stop = anonymous(), [0], threading.Event()
def watch():
    while not stop.wait(0.005):
        peak[0] = max(peak[0], anonymous())
thread = threading.Thread(target=watch)
thread.start()
ann.build(sys.argv[1], sys.argv[2], memory_budget=int(sys.argv[3]))
stop.set(); thread.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_follows_the_budget_not_the_file(tmp_path):
    np.save(tmp_path / "vectors.npy", rows(40_000, 320))
    budget = 44 << 20  # the vectors are 51 MB, their codes and replicas 14 MB
    command = [
        sys.executable,
        "-c",
        MEASURED_BUILD,
        str(tmp_path / "vectors.npy"),
        str(tmp_path / "index"),
        str(budget),
    ]
    used = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) << 10
    assert used < 1.15 * budget  # allocators round up; the file and its codes are 65 MB
