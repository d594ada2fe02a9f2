"""A local, mapped copy of all vectors of one encoder, looked up by content hash.

Stages need the vectors of arbitrary texts (a session's turns, a namespace's history) while the lake stores them by day and hash
bucket. This cache keeps one append-only file of f32 rows and one sorted index; bringing it up to date costs what is new, a lookup
is a binary search and a mapped gather. It can be deleted at any time and is rebuilt from the lake.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from jobs.store.lake import Lake
from schemas.errors import StoreError
from schemas.ids import content_hash
from schemas.manifest import Fileset

KEY = "S32"
EMPTY: dict = {"dim": 0, "rows": 0, "filesets": [], "index": None}


class Vectors:
    """Vectors of one encoder: `sync` brings filesets in, `get` looks content hashes up."""

    def __init__(self, lake: Lake, encoder: str) -> None:
        self.lake, self.encoder = lake, encoder
        safe = encoder.replace("/", "--")
        if lake.local:
            self.folder = lake.local_path(f"cache/vectors/{safe}")
        elif "memory" in lake.fs.protocol:  # nobody else can see that store: the copy lives as long as this object
            self._temporary = tempfile.TemporaryDirectory(prefix="engraph-vectors-")
            self.folder = Path(self._temporary.name)
        else:
            self.folder = _of_this_machine(lake) / safe
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock")
        self._load()

    def _load(self) -> None:
        try:
            self._map()
        except (
            FileNotFoundError
        ):  # another process has just put a newer index in the place of the one that the state named
            with self._lock:
                self._map()

    def _map(self) -> None:
        state = self.folder / "state.json"
        self.state = json.loads(state.read_text()) if state.exists() else dict(EMPTY)
        if not self._whole():
            self.state = dict(EMPTY)
        if not self.state["rows"]:
            self.keys, self.rows = np.empty(0, KEY), np.empty(0, np.int64)
            self.vectors = np.empty((0, self.state["dim"]), np.float32)
            return
        index = self.folder / self.state["index"]
        self.keys = np.load(index / "keys.npy", mmap_mode="r")
        self.rows = np.load(index / "rows.npy", mmap_mode="r")
        shape = (self.state["rows"], self.state["dim"])
        self.vectors = np.memmap(self.folder / "vectors.f32", np.float32, "r", shape=shape)

    def _whole(self) -> bool:
        """Whether the files hold what the state says; a machine that lost power may have kept less."""
        if not self.state["rows"]:
            return True
        index, vectors = self.folder / self.state["index"], self.folder / "vectors.f32"
        rows = np.dtype(KEY).itemsize * self.state["rows"], np.dtype(np.int64).itemsize * self.state["rows"]
        promised = {vectors: 4 * self.state["rows"] * self.state["dim"]}
        promised |= dict(zip((index / "keys.npy", index / "rows.npy"), rows, strict=True))
        return all(file.exists() and file.stat().st_size >= size for file, size in promised.items())

    def sync(self, filesets: Iterable[Fileset]) -> None:
        """Bring the vectors of `filesets` (table embeddings) in, but those of other encoders: a draft that changes its
        encoder still names the old one's filesets until every day is redone."""
        wanted = list(filesets)
        if not self._missing(wanted):
            return
        with self._lock:  # an engine's processes on this machine share the folder: the first one brings it up to date
            self._load()
            missing = self._missing(wanted)
            if missing:
                self._bring_in(missing)

    def _missing(self, filesets: list[Fileset]) -> list[Fileset]:
        known = set(self.state["filesets"])
        return [f for f in filesets if f.folder not in known]

    def _bring_in(self, missing: list[Fileset]) -> None:
        keys, n = [np.asarray(self.keys)], self.state["rows"]
        mode = "r+b" if (self.folder / "vectors.f32").exists() else "w+b"
        with (self.folder / "vectors.f32").open(mode) as f:
            f.seek(n * self.state["dim"] * 4)
            f.truncate()
            mine = [f for f in missing if self.lake.manifest(f).params.get("encoder") == self.encoder]
            for batch in self.lake.batches("embeddings", mine, columns=["content_hash", "vector"]):
                if not batch.num_rows:
                    continue
                self.state["dim"] = batch["vector"].type.list_size
                f.write(np.ascontiguousarray(as_matrix(batch["vector"])).tobytes())
                keys.append(np.array(batch["content_hash"].to_pylist(), KEY))
            f.flush()
            os.fsync(f.fileno())
        self._write_index(np.concatenate(keys), [f.folder for f in missing])

    def _write_index(self, keys: np.ndarray, folders: list[str]) -> None:
        rows = np.concatenate([np.asarray(self.rows), np.arange(len(self.rows), len(keys))])
        order = np.argsort(keys, kind="stable")
        name = f"index-{len(self.state['filesets']) + len(folders)}-{len(keys)}"
        (self.folder / name).mkdir(exist_ok=True)
        np.save(self.folder / name / "keys.npy", keys[order])
        np.save(self.folder / name / "rows.npy", rows[order])
        old = self.state["index"]
        self.state |= {"rows": len(keys), "filesets": self.state["filesets"] + folders, "index": name}
        temporary = self.folder / "state.json.tmp"
        temporary.write_text(json.dumps(self.state))
        temporary.replace(self.folder / "state.json")
        if old and old != name:
            for file in (self.folder / old).iterdir():
                file.unlink()
            (self.folder / old).rmdir()
        self._load()

    def clear(self) -> None:
        """Remove the copy, so that it holds nothing that the lake no longer has; the next `sync` makes it anew."""
        with self._lock:
            for name in ("state.json", "vectors.f32"):
                (self.folder / name).unlink(missing_ok=True)
            for index in self.folder.glob("index-*"):
                shutil.rmtree(index)
            self._load()

    def get(self, content_hashes: pa.ChunkedArray | pa.Array | list[str]) -> np.ndarray:
        """f32 [n, dim] for n content hashes, in their order.

        Raises:
            StoreError: a text has no vector; its embed stage did not run.
        """
        values = content_hashes if isinstance(content_hashes, list) else content_hashes.to_pylist()
        wanted = np.array(values, KEY)
        if not len(wanted):
            return np.empty((0, self.state["dim"]), np.float32)
        at = np.searchsorted(self.keys, wanted)
        found = at < len(self.keys)
        found[found] = self.keys[at[found]] == wanted[found]
        if not found.all():
            lost = int((~found).sum())
            raise StoreError(f"{lost} texts have no vector of {self.encoder}: run the ingest again to embed them")
        return np.asarray(self.vectors[self.rows[at]])


def _of_this_machine(lake: Lake) -> Path:
    """Where this machine keeps its copy of a store that lies elsewhere; one for each user and store."""
    own = Path(tempfile.gettempdir()) / f"engraph-{getpass.getuser()}"
    own.mkdir(mode=0o700, exist_ok=True)
    return own / content_hash(lake.url) / "vectors"


def as_matrix(vectors: pa.FixedSizeListArray | pa.ChunkedArray) -> np.ndarray:
    """f32 [n, dim] view of an Arrow fixed-size list column."""
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.combine_chunks()
        if isinstance(vectors, pa.ChunkedArray):
            vectors = pa.concat_arrays(vectors.chunks)
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(vectors), vectors.type.list_size)
