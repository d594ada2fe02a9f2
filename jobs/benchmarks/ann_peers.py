"""The indexes that `bench ann` races, each behind the same three steps: build into a folder, open it, search at an effort.

A peer is opened and searched in a process of its own, with its own best defaults: M 16 and efConstruction 200 for graphs, as
many lists as ours for faiss's, degree 64 for DiskANN. `efforts` go from quick to thorough. A wheel that is not installed is
a row that says so. The one thing to know: every `search` takes float32 [b, dim] and threads and returns row numbers [b, K].
"""

# faiss ships incomplete type stubs (read_index gives the base class)
# mypy: disable-error-code="attr-defined, union-attr, arg-type"

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np

from pipelines import ann
from pipelines.cores import usable_cores

K, M, EF_CONSTRUCTION = 10, 16, 200
Search = Callable[[np.ndarray, int, Any], np.ndarray]
"""(queries [b, dim], threads, effort) -> rows [b, K]."""
GRAPH_EFFORTS = (10, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512)
OUR_EFFORTS = (
    (8, 20), (12, 30), (16, 30), (24, 40), (32, 40), (32, 60), (40, 50), (40, 60), (48, 60), (64, 60), (64, 80), (96, 80),
    (128, 100), (144, 100), (160, 100), (192, 150), (256, 200), (384, 200), (512, 300),
)  # fmt: skip


class Peer(Protocol):
    """One index in the race. `module` is the wheel it needs, `install` its name for pip."""

    label: str
    module: str
    install: str
    efforts: tuple

    def build(self, base: Path, folder: Path, metric: str) -> None:
        """Index the `.npy` file `base` into the existing `folder`."""
        ...

    def open(self, folder: Path, metric: str) -> Search: ...


class Engraph:
    label, module, install, efforts = "Engraph ann", "faiss", "", OUR_EFFORTS

    def build(self, base: Path, folder: Path, metric: str) -> None:
        ann.build(base, folder, params=ann.AnnParams(metric=metric))

    def open(self, folder: Path, metric: str) -> Search:
        index = ann.open(folder)

        def search(queries: np.ndarray, threads: int, effort: tuple[int, int]) -> np.ndarray:
            return index.search(queries, K, nprobe=effort[0], rerank=effort[1], threads=threads)[0]

        return search


class FaissHnsw:
    label, module, install, efforts = "faiss HNSW", "faiss", "", GRAPH_EFFORTS

    def build(self, base: Path, folder: Path, metric: str) -> None:
        vectors = np.load(base, mmap_mode="r")
        index = faiss.IndexHNSWFlat(vectors.shape[1], M, _metric(metric))
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.add(np.asarray(vectors, np.float32))
        faiss.write_index(index, str(folder / "index"))

    def open(self, folder: Path, metric: str) -> Search:
        index = faiss.read_index(str(folder / "index"))

        def search(queries: np.ndarray, threads: int, effort: int) -> np.ndarray:
            faiss.omp_set_num_threads(threads)
            index.hnsw.efSearch = effort
            return index.search(queries, K)[1]

        return search


class FaissFlat:
    label, module, install, efforts = "faiss Flat", "faiss", "", (0,)

    def build(self, base: Path, folder: Path, metric: str) -> None:
        vectors = np.load(base, mmap_mode="r")
        index = faiss.IndexFlat(vectors.shape[1], _metric(metric))
        index.add(np.asarray(vectors, np.float32))
        faiss.write_index(index, str(folder / "index"))

    def open(self, folder: Path, metric: str) -> Search:
        index = faiss.read_index(str(folder / "index"))

        def search(queries: np.ndarray, threads: int, effort: int) -> np.ndarray:
            faiss.omp_set_num_threads(threads)
            return index.search(queries, K)[1]

        return search


class FaissOnDisk:
    label, module, install = "faiss IVFFlat on disk", "faiss", ""
    efforts = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)

    def build(self, base: Path, folder: Path, metric: str) -> None:
        vectors = np.asarray(np.load(base, mmap_mode="r"), np.float32)
        n, dim = vectors.shape
        nlist = max(1, min(1024, n // 40))
        heads = faiss.IndexFlat(dim, _metric(metric))
        index = faiss.IndexIVFFlat(heads, dim, nlist, _metric(metric))
        index.train(vectors[:: max(1, n // (40 * nlist))])
        lists = faiss.OnDiskInvertedLists(nlist, index.code_size, str(folder / "lists"))
        index.replace_invlists(lists)
        index.add(vectors)
        faiss.write_index(index, str(folder / "index"))

    def open(self, folder: Path, metric: str) -> Search:
        index = faiss.read_index(str(folder / "index"), faiss.IO_FLAG_ONDISK_SAME_DIR)

        def search(queries: np.ndarray, threads: int, effort: int) -> np.ndarray:
            faiss.omp_set_num_threads(threads)
            index.nprobe = effort
            return index.search(queries, K)[1]

        return search


class Hnswlib:
    label, module, install, efforts = "hnswlib", "hnswlib", "hnswlib", GRAPH_EFFORTS

    def build(self, base: Path, folder: Path, metric: str) -> None:
        import hnswlib

        vectors = np.load(base, mmap_mode="r")
        index = hnswlib.Index(metric, vectors.shape[1])
        index.init_index(len(vectors), ef_construction=EF_CONSTRUCTION, M=M, random_seed=0)
        index.set_num_threads(usable_cores())
        index.add_items(np.asarray(vectors, np.float32))
        index.save_index(str(folder / "index"))
        (folder / "shape").write_text(json.dumps(vectors.shape))

    def open(self, folder: Path, metric: str) -> Search:
        import hnswlib

        n, dim = json.loads((folder / "shape").read_text())
        index = hnswlib.Index(metric, dim)
        index.load_index(str(folder / "index"), max_elements=n)

        def search(queries: np.ndarray, threads: int, effort: int) -> np.ndarray:
            index.set_ef(effort)
            return index.knn_query(queries, K, num_threads=threads)[0].astype(np.int64)

        return search


class Usearch:
    label, module, install, efforts = "usearch, mapped", "usearch", "usearch", GRAPH_EFFORTS

    def build(self, base: Path, folder: Path, metric: str) -> None:
        from usearch.index import Index

        vectors = np.asarray(np.load(base, mmap_mode="r"), np.float32)
        kind = {"ip": "ip", "l2": "l2sq"}[metric]
        index = Index(ndim=vectors.shape[1], metric=kind, dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
        index.add(np.arange(len(vectors)), vectors, threads=usable_cores())
        index.save(str(folder / "index"))

    def open(self, folder: Path, metric: str) -> Search:
        from usearch.index import Index

        index: Any = Index.restore(str(folder / "index"), view=True)

        def search(queries: np.ndarray, threads: int, effort: int) -> np.ndarray:
            index.expansion_search = effort
            return np.atleast_2d(index.search(queries, K, threads=threads).keys).astype(np.int64)

        return search


class Lance:
    label, module, install = "LanceDB IVF_HNSW_SQ", "lancedb", "lancedb"
    efforts = ((1, 2), (4, 2), (8, 4), (16, 4), (32, 8))

    def build(self, base: Path, folder: Path, metric: str) -> None:
        import lancedb
        import pyarrow as pa

        vectors = np.asarray(np.load(base, mmap_mode="r"), np.float32)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        rows = pa.table({"row": np.arange(len(vectors)), "vector": column})
        table: Any = lancedb.connect(str(folder)).create_table("vectors", rows)
        kind = {"ip": "dot", "l2": "l2"}[metric]
        table.create_index(
            metric=kind,
            index_type="IVF_HNSW_SQ",
            num_partitions=max(1, len(vectors) // 4096),
            m=M,
            ef_construction=EF_CONSTRUCTION,
            vector_column_name="vector",
        )

    def open(self, folder: Path, metric: str) -> Search:
        from concurrent.futures import ThreadPoolExecutor

        import lancedb

        table = lancedb.connect(str(folder)).open_table("vectors")
        pool = ThreadPoolExecutor(usable_cores())
        kind = {"ip": "dot", "l2": "l2"}[metric]

        def one(query: np.ndarray, effort: tuple[int, int]) -> np.ndarray:
            found = table.search(query).distance_type(kind).nprobes(effort[0]).refine_factor(effort[1])
            rows = found.select(["row"]).limit(K).to_arrow()["row"].to_numpy()
            return np.pad(rows, (0, K - len(rows)), constant_values=-1)

        def search(queries: np.ndarray, threads: int, effort: tuple[int, int]) -> np.ndarray:
            if threads == 1:
                return np.stack([one(query, effort) for query in queries])
            return np.stack(list(pool.map(lambda query: one(query, effort), queries)))

        return search


class DiskAnn:
    label, module, install = "DiskANN, direct I/O", "diskannpy", "diskannpy-rust"
    efforts = (10, 16, 24, 32, 48, 64, 96, 128, 192)

    def build(self, base: Path, folder: Path, metric: str) -> None:
        import diskannpy

        vectors = np.asarray(np.load(base, mmap_mode="r"), np.float32)
        # unit vectors, which is what metric ip stands for here, rank alike by l2
        diskannpy.build_disk_index(
            data=vectors,
            distance_metric="l2",
            index_directory=str(folder),
            complexity=100,
            graph_degree=64,
            build_memory_maximum=4.0,
            num_threads=usable_cores(),
            num_of_pq_chunks=max(1, vectors.shape[1] // 4),
        )
        (folder / "shape").write_text(json.dumps(vectors.shape))

    def open(self, folder: Path, metric: str) -> Search:
        import diskannpy

        _, dim = json.loads((folder / "shape").read_text())
        index = diskannpy.StaticDiskIndex(
            str(folder), usable_cores(), 4, distance_metric="l2", vector_dtype=np.float32, dimensions=dim
        )

        def search(queries: np.ndarray, threads: int, effort: int) -> np.ndarray:
            if len(queries) == 1:
                return np.asarray(index.search(queries[0], K, effort).identifiers, np.int64)[None]
            return np.asarray(index.batch_search(queries, K, effort, threads).identifiers, np.int64)

        return search


PEERS: dict[str, Peer] = {
    "engraph": Engraph(),
    "faiss-hnsw": FaissHnsw(),
    "hnswlib": Hnswlib(),
    "usearch": Usearch(),
    "faiss-on-disk": FaissOnDisk(),
    "lancedb": Lance(),
    "diskann": DiskAnn(),
    "faiss-flat": FaissFlat(),
}


def installed(peer: Peer) -> bool:
    return importlib.util.find_spec(peer.module) is not None


def _metric(metric: str) -> int:
    return faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
