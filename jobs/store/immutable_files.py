"""Files of a bucket for readers that ask about each of them again and again, though it does not change.

DuckDB asks for existence, size and time of a file several times for every query that names it, and reads its footer each time;
Arrow asks three times before it reads. On a bucket each of these is a request of some ten milliseconds. Here a file is asked about
once, one whose size a manifest tells not at all, and small files are kept whole.
"""

from __future__ import annotations

import datetime as dt
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from fsspec import AbstractFileSystem

from jobs.store.bucket import ONE_REQUEST, is_s3

SMALL = 1 << 20
KEPT_BYTES = 64 << 20
WRITTEN = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)  # of what never changes any time will do


class ImmutableFiles(AbstractFileSystem):
    """A read-only view of `fs`, in which files stay as they were when they were first asked about. `sizes` are bytes of files by
    path, as far as they are known."""

    cachable = False

    def __init__(self, fs: AbstractFileSystem, sizes: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.fs, self.protocol = fs, fs.protocol
        self._given: Mapping[str, int] = {} if sizes is None else sizes
        self._asked: dict[str, int] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()

    def _strip_protocol(self, path: Any) -> Any:
        return self.fs._strip_protocol(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        size = self._given.get(name, self._asked.get(name))
        if size is None:
            found = self.fs.info(name)
            if found["type"] != "file":
                return dict(found)
            size = self._asked[name] = int(found["size"])
        return {"name": name, "size": size, "type": "file", "LastModified": WRITTEN}

    def modified(self, path: str) -> dt.datetime:
        return WRITTEN

    def ls(self, path: str, detail: bool = True, **more: Any) -> list:
        return list(self.fs.ls(path, detail=detail, **more))

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        if mode != "rb":
            raise OSError(f"{path} is read only")
        size = self.info(path)["size"]
        if size <= SMALL:
            return io.BytesIO(self._whole(path))
        return self.fs.open(path, mode, **({"size": size} if is_s3(self.fs) else {}))  # s3fs asks for it otherwise

    def _whole(self, path: str) -> bytes:
        """A small file's bytes; of the kept ones those that were read last stay."""
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        payload = self.fs.cat_file(path, **ONE_REQUEST) if is_s3(self.fs) else self.fs.cat_file(path)
        with self._lock:
            if path not in self._kept:
                self._kept[path] = payload
                self._bytes += len(payload)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return payload
