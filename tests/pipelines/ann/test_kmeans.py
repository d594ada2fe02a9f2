"""k-means in torch beside faiss's on the same data: the same lists, equal recall, memory within a budget. All on the CPU."""

import subprocess
import sys

import faiss
import numpy as np
import pytest
import torch

from pipelines import ann
from pipelines.ann.kmeans import DEVICE_FROM, NVIDIA, FaissOnCpu, choose_backend
from pipelines.ann.params import Plan
from pipelines.ann.postings import closure
from pipelines.ann.torch_kmeans import TorchKMeans

N, DIM, NLIST = 20_000, 64, 200
PLAN = Plan("ivf", "float32", NLIST, 32, DIM, 2, 0.1)


def clustered(n: int, seed: int) -> np.ndarray:
    random, shared = np.random.default_rng(seed), np.random.default_rng(99)
    vectors = shared.standard_normal((100, DIM))[random.integers(100, size=n)] + 0.6 * random.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scattered(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


@pytest.fixture(scope="module", params=[clustered, scattered], ids=["clustered", "random"])
def trained(request):
    """(vectors, queries, centres of faiss, centres of torch), both trained on the same 8,000 rows."""
    vectors = request.param(N, 0)
    sample = np.ascontiguousarray(vectors[: 40 * NLIST])
    return (
        vectors,
        request.param(200, 1),
        FaissOnCpu().train(sample, NLIST, 7),
        TorchKMeans("cpu").train(sample, NLIST, 7),
    )


def test_nearly_every_vector_has_the_same_list_as_with_faiss(trained):
    vectors, _, ours, theirs = trained
    same = (ours.search(vectors, 1)[1] == theirs.search(vectors, 1)[1]).mean()
    assert same > 0.98


def test_closure_gives_the_same_entries_for_the_same_centres(trained):
    vectors, _, centres, _ = trained
    mine, others = (closure(found, vectors, PLAN) for found in (centres, TorchKMeans("cpu").searcher(centres)))
    a, b = (set(zip(*map(np.ndarray.tolist, found), strict=True)) for found in (mine, others))
    assert len(a) > 1.05 * N  # replicas are among them
    assert len(a & b) > 0.9999 * len(a | b)


def test_lists_found_with_torch_recall_as_much_at_equal_nprobe(trained, tmp_path):
    vectors, queries, _, _ = trained
    true = faiss.knn(queries, vectors, 10, faiss.METRIC_L2)[1]
    found = []
    for backend in (FaissOnCpu(), TorchKMeans("cpu")):
        out = tmp_path / backend.name
        ann.build(vectors, out, params=ann.AnnParams(metric="l2", nlist=NLIST), backend=backend)
        keys, _ = ann.open(out, verify="full").search(queries, 10, nprobe=4, rerank=200)
        found.append(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(keys, true, strict=True)]))
    assert abs(found[0] - found[1]) < 0.01 and found[0] > 0.2


def test_the_manifest_names_a_backend_that_is_not_the_reference(tmp_path):
    vectors = clustered(1000, 0)
    for backend in (None, TorchKMeans("cpu")):
        ann.build(vectors, tmp_path / str(backend), params=ann.AnnParams(nlist=8), backend=backend)
    plain, by_torch = (ann.open(path).manifest["written_by"] for path in sorted(tmp_path.iterdir(), reverse=True))
    assert plain == {"faiss": faiss.__version__}
    assert by_torch == {"faiss": faiss.__version__, "kmeans": "torch"}


def test_a_small_budget_changes_no_list():
    vectors = clustered(3000, 0)
    rich, poor = TorchKMeans("cpu"), TorchKMeans("cpu", budget=64 << 10)
    a, b = (backend.train(vectors, 30, 0).reconstruct_n(0, 30) for backend in (rich, poor))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_blocks_keep_to_the_budget():
    backend, widest = TorchKMeans("cpu", budget=1 << 20), []
    centres = torch.from_numpy(clustered(200, 3))

    class Watched:
        def __len__(self):
            return N

        def __getitem__(self, which):
            widest.append(len(range(N)[which]))
            return torch.zeros((widest[-1], DIM))

    backend._nearest(Watched(), centres, 2)
    assert max(widest) * 3 * 4 * len(centres) <= backend.budget // 4 and sum(widest) == N


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    vectors, backend = clustered(3000, 0), TorchKMeans("cpu")
    a, b, c = (backend.train(vectors, 30, seed).reconstruct_n(0, 30) for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_lists_without_rows_are_filled_as_faiss_fills_them():
    # integers: equal distances are equal, whatever the order of the sums
    corners = np.random.default_rng(0).integers(-3, 4, (5, 8)).astype(np.float32)
    five = np.repeat(corners, 64, axis=0)
    ours, theirs = (backend.train(five, 12, 0).reconstruct_n(0, 12) for backend in (TorchKMeans("cpu"), FaissOnCpu()))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert len(np.unique(ours, axis=0)) == 12


def test_equally_near_lists_are_taken_in_their_order():
    centres = faiss.IndexFlatL2(DIM)
    centres.add(np.repeat(clustered(2, 0), 3, axis=0))
    distances, lists = TorchKMeans("cpu").searcher(centres).search(clustered(2, 0), 4)
    assert lists.tolist() == [[0, 1, 2, 3], [3, 4, 5, 0]]
    assert (np.diff(distances, axis=1) >= 0).all()


def test_callers_matmul_precision_is_left_as_it_was():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        TorchKMeans("cpu").train(clustered(500, 0), 8, 0)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_small_builds_and_machines_without_a_card_stay_with_faiss_on_the_cpu():
    assert isinstance(choose_backend(DEVICE_FROM - 1), FaissOnCpu)
    if not torch.cuda.is_available() and not faiss.get_num_gpus():
        assert isinstance(choose_backend(DEVICE_FROM * 1000), FaissOnCpu)
    code = f"from pipelines import ann\nfrom pipelines.ann.kmeans import choose_backend\nchoose_backend({DEVICE_FROM * 9})\n"
    code += f"import sys, os\nassert 'torch' not in sys.modules or any(map(os.path.exists, {NVIDIA!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
