"""k-means in torch, for cards that faiss was not built for: faiss's own Lloyd, round by round, on any torch device.

First centres are those that faiss draws for the seed. A list that gets no row takes half of another, drawn in proportion to
size by faiss's own generator: its centre copied, one of the two moved up by 1/1024 and the other down. Distances are float32
products (TF32 off) over blocks of rows, so memory is the centres, the rows (left on the host if they are too many) and one
block. Sums go list by list in the order of rows, without atomics, so that a card should give the same bits each time (it has
run on the CPU only). Equal distances go to the lowest list. The one thing to know: import it late, it loads torch.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
import torch

from pipelines.ann.kmeans import ROUNDS, Centres, clustering

HOST_BUDGET = 256 << 20
EPSILON = np.float32(1 / 1024)
SPLIT_SEED = 1234


class TorchKMeans:
    """A backend on one torch device. `budget`: bytes to use there, default half of a card's free memory, 256 MiB elsewhere."""

    name = "torch"

    def __init__(self, device: str, budget: int | None = None) -> None:
        self.device = torch.device(device)
        self.budget = budget or _half_of_free(self.device)

    def train(self, sample: np.ndarray, nlist: int, seed: int) -> faiss.IndexFlatL2:
        rows = Rows(sample, self.device, self.budget // 2)
        centres = _first_centres(sample, nlist, seed)
        for _ in range(ROUNDS):
            _, lists = self._nearest(rows, torch.from_numpy(centres).to(self.device), 1)
            centres = _split_empty(*_means(rows, lists[:, 0], centres, self.budget // 4))
        found = faiss.IndexFlatL2(sample.shape[1])
        found.add(centres)
        return found

    def searcher(self, centres: faiss.IndexFlatL2) -> Centres:
        return _Searcher(self, torch.from_numpy(centres.reconstruct_n(0, centres.ntotal)).to(self.device))

    def _nearest(self, rows: Rows, centres: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(squared distances, lists) [n, k]: see `Centres.search`."""
        distances, lists = np.empty((len(rows), k), np.float32), np.empty((len(rows), k), np.int64)
        squares = centres.square().sum(1)
        # three matrices of a block live at once: the products, the distances, a comparison
        step = max(1, self.budget // 4 // (12 * len(centres)))
        with _exact_products():
            for start in range(0, len(rows), step):
                block = rows[start : start + step]
                near = torch.addmm(squares, block, centres.T, alpha=-2).add_(block.square().sum(1, keepdim=True))
                for column in range(k):
                    at = near.argmin(1, keepdim=True)  # the lowest list among equals
                    distances[start : start + step, column] = near.gather(1, at)[:, 0].cpu()
                    lists[start : start + step, column] = at[:, 0].cpu()
                    near.scatter_(1, at, torch.inf)
        return distances, lists


class _Searcher:
    def __init__(self, backend: TorchKMeans, centres: torch.Tensor) -> None:
        self.backend, self.centres = backend, centres

    def search(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return self.backend._nearest(Rows(rows, self.backend.device, self.backend.budget // 2), self.centres, k)


class Rows:
    """Rows of a matrix on a device: all of them if they fit into `room` bytes, else sent when they are asked for."""

    def __init__(self, rows: np.ndarray, device: torch.device, room: int) -> None:
        self.device = device
        host = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
        self.rows = host.to(device) if rows.nbytes <= room else host

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | np.ndarray) -> torch.Tensor:
        if isinstance(which, np.ndarray):
            return self.rows[torch.from_numpy(which).to(self.rows.device)].to(self.device)
        return self.rows[which].to(self.device)


def _first_centres(sample: np.ndarray, nlist: int, seed: int) -> np.ndarray:
    """What faiss starts from: its clustering after no rounds."""
    drawn = clustering(sample, nlist, seed, 0)
    drawn.train(sample, faiss.IndexFlatL2(sample.shape[1]))
    return faiss.vector_to_array(drawn.centroids).reshape(nlist, -1).copy()


def _means(rows: Rows, lists: np.ndarray, centres: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean of the rows of each list [nlist, dim], rows of each list [nlist]); a list without rows keeps its centre."""
    order, counts = np.argsort(lists, kind="stable"), np.bincount(lists, minlength=len(centres))
    ends, means = np.cumsum(counts), centres.copy()
    step, first = max(1, room // (8 * centres.shape[1])), 0
    while first < len(counts):
        begin = int(ends[first] - counts[first])
        last = max(first + 1, int(np.searchsorted(ends, begin + step, side="right")))  # one list at least
        lengths = torch.from_numpy(counts[first:last]).to(rows.device)
        sums = torch.segment_reduce(rows[order[begin : ends[last - 1]]], "sum", lengths=lengths, unsafe=True)
        filled = counts[first:last] > 0
        means[first:last][filled] = (sums * (1 / lengths.clamp(min=1))[:, None]).cpu().numpy()[filled]
        first = last
    return means, counts


def _split_empty(centres: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Gives every empty list half of a full one, as faiss does (Clustering.cpp, split_clusters)."""
    sizes, rows, nlist = counts.astype(np.float64), int(counts.sum()), len(counts)
    generator = faiss.RandomGenerator(SPLIT_SEED)
    nudge = np.where(np.arange(centres.shape[1]) % 2 == 0, EPSILON, -EPSILON).astype(np.float32)
    for empty in np.flatnonzero(counts == 0):
        donor = 0
        while generator.rand_float() >= (sizes[donor] - 1) / max(rows - nlist, 1):
            donor = (donor + 1) % nlist
        centres[empty] = centres[donor] * (1 + nudge)
        centres[donor] *= 1 - nudge
        sizes[empty] = sizes[donor] / 2
        sizes[donor] -= sizes[empty]
    return centres


@contextmanager
def _exact_products() -> Iterator[None]:
    """float32 products in full: TF32 keeps 10 bits, and borders would move by thousandths."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _half_of_free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else HOST_BUDGET
