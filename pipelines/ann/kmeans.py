"""k-means for the centres of lists, and the search for the nearest centres, on whatever device there is.

Lloyd's algorithm (IEEE Trans. Inf. Theory 28, 1982), ten rounds, from a random sample of the rows as first centres. Training
costs rounds * sample * nlist * dim multiply-adds and assignment n * nlist * dim: at 10 million vectors nearly all of a build,
so a card pays there. The choice: faiss on a card if faiss was built for one, else torch on CUDA, else faiss on the CPU; a small
build stays on the CPU, whose result is finished before a card has started.

The one thing to know: the device is no part of an index's identity. The CPU gives the same bits for the same seed always, a
card is meant to give the same bits as itself (neither card path has run yet). Between the two a vector may change its list
where two centres are equally near but for rounding; torch and faiss, both on the CPU, agreed on every one of 20,000 vectors of
64 dimensions, clustered or random, in 200 and 500 lists.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type, return-value"

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np

ROUNDS = 10
DEVICE_FROM = 2 * 10**11  # multiply-adds: two seconds of two cores; torch and a CUDA context take as long to start
NVIDIA = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")


class Centres(Protocol):
    """Trained centres that can be searched."""

    def search(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(squared distances float32, lists int64) [n, k] of the nearest centres to float32 rows [n, dim], nearest first."""
        ...


class Backend(Protocol):
    """Where k-means is computed."""

    name: str

    def train(self, sample: np.ndarray, nlist: int, seed: int) -> faiss.IndexFlatL2:
        """The l2 index of `nlist` centres of float32 `sample` [s, dim], s >= nlist."""
        ...

    def searcher(self, centres: faiss.IndexFlatL2) -> Centres:
        """The same centres where this backend searches them."""
        ...


class FaissOnCpu:
    """faiss on the cores; the result does not depend on their number."""

    name = "faiss"

    def train(self, sample: np.ndarray, nlist: int, seed: int) -> faiss.IndexFlatL2:
        centres = faiss.IndexFlatL2(sample.shape[1])
        clustering(sample, nlist, seed, ROUNDS).train(sample, centres)
        return centres

    def searcher(self, centres: faiss.IndexFlatL2) -> Centres:
        return centres


class FaissOnGpu:
    """The same clustering with assignments on the first card; needs a faiss that was built for CUDA."""

    name = "faiss-gpu"

    def train(self, sample: np.ndarray, nlist: int, seed: int) -> faiss.IndexFlatL2:
        centres = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatL2(sample.shape[1]))
        clustering(sample, nlist, seed, ROUNDS).train(sample, centres)
        return faiss.index_gpu_to_cpu(centres)

    def searcher(self, centres: faiss.IndexFlatL2) -> Centres:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, centres)


def clustering(sample: np.ndarray, nlist: int, seed: int, rounds: int) -> faiss.Clustering:
    """faiss's clustering over the whole sample, however small or large it is for the lists."""
    found = faiss.Clustering(sample.shape[1], nlist)
    found.niter, found.seed = rounds, seed
    found.min_points_per_centroid, found.max_points_per_centroid = 1, len(sample)
    return found


def choose_backend(work: int) -> Backend:
    """The backend for `work` multiply-adds in training and assignment together. Imports torch only where there is a card."""
    if work < DEVICE_FROM:
        return FaissOnCpu()
    if faiss.get_num_gpus() > 0:
        return FaissOnGpu()
    if any(Path(sign).exists() for sign in NVIDIA) and importlib.util.find_spec("torch"):
        import torch

        if torch.cuda.is_available():
            from pipelines.ann.torch_kmeans import TorchKMeans

            return TorchKMeans("cuda")
    return FaissOnCpu()
