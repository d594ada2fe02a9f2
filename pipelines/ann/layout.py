"""The folder of an index: one manifest that names every file with its size and checksums, written last.

    manifest.json          format, shape, parameters, files, recall curve, its own checksum; swapped by one rename
    vectors-<g>.bin        [n, dim] float16 or float32, row after row; inserts append to it
    lists-<g>.bin          inverted lists: codes and rows (this and the next three are absent when the index is flat)
    sizes-<g>.npy          [nlist] entries of each list
    head-<g>.faiss         the empty index: centres (by groups where they are many) and codewords
    rotation-<g>.npy       [dim, code_dim] from vectors to coded vectors
    keys-<g>.npy, order-<g>.npy   keys by row, rows by ascending key (absent when keys are row numbers)
    dead-<g>.npy           rows that were deleted, ascending (absent when there are none)

<g> is the generation that wrote the file: a change writes new files and then the manifest, so a reader sees the old index or
the new one, and one that is open keeps what it has mapped. Of `vectors` only the bytes that the manifest counts exist.

Checksums are BLAKE2b (RFC 7693), 64 bits for each block of 1 MiB. "full" reads every block, "touched" the first and last of
each file and so all of the small ones, "none" only sizes. The one thing to know: a folder without a valid manifest is no index.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from schemas.errors import StoreError, StoreLocked

FORMAT, VERSION = "engraph-ann", 3
MANIFEST, LOCK = "manifest.json", ".lock"
REBUILD = "restore the folder from a copy or build the index again"
BLOCK = 1 << 20
_DIGITS = 16  # hexadecimal, of a block's checksum


def file_name(role: str, generation: int) -> str:
    """ "vectors", 3 -> "vectors-000003.bin"."""
    ending = {"vectors": "bin", "lists": "bin", "head": "faiss"}.get(role, "npy")
    return f"{role}-{generation:06d}.{ending}"


def describe(path: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Name, size and checksums of a file, after forcing it to disk. `before`: what described the shorter file it grew from;
    its full blocks are not read again."""
    known = before["blocks"][: before["bytes"] // BLOCK * _DIGITS] if before else ""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        start = len(known) // _DIGITS
        blocks = "".join(_digest(file, number) for number in range(start, _blocks(size)))
    return {"name": path.name, "bytes": size, "blocks": known + blocks}


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Makes `manifest` what the folder holds, by one rename, and forces it to disk."""
    sealed = {**manifest, "checksum": _seal(manifest)}
    partial = folder / f".{MANIFEST}.{os.getpid()}"
    with partial.open("wb") as file:
        file.write(_as_bytes(sealed))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)
    sync_folder(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an index folder. Raises StoreError if it is missing, damaged or of another version."""
    try:
        raw = (folder / MANIFEST).read_bytes()
        manifest = orjson.loads(raw)
    except OSError as error:
        raise StoreError(f"{folder} is no index: {MANIFEST} cannot be read ({error.strerror}); {REBUILD}") from error
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{folder / MANIFEST} is damaged: it is not JSON; {REBUILD}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{folder / MANIFEST} does not describe an ANN index; open the folder that ann.build wrote")
    if manifest.get("version") != VERSION:
        wrote = manifest.get("version")
        raise StoreError(f"{folder} has index format {wrote}, this release reads {VERSION}: build the index again")
    # written again it must be the same bytes, or a change in what JSON ignores would go unseen
    told = manifest.pop("checksum", None)
    if _seal(manifest) != told or _as_bytes({**manifest, "checksum": told}) != raw:
        raise StoreError(f"{folder / MANIFEST} is damaged: its checksum does not match; {REBUILD}")
    return manifest


def verify_files(folder: Path, manifest: dict[str, Any], verify: str) -> None:
    """Checks every named file as far as `verify` says. Raises one StoreError for all faults."""
    faults = [(told["name"], _fault(folder / told["name"], told, verify)) for told in manifest["files"].values()]
    wrong = [f"{name} {fault}" for name, fault in faults if fault]
    if wrong:
        raise StoreError(f"index {folder} is damaged: {'; '.join(wrong)}; {REBUILD}")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Holds the folder against other writers. Raises StoreLocked if there is one."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StoreLocked(f"another process changes the index {folder}: wait until it has finished") from error
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path, manifest: dict[str, Any]) -> None:
    """Removes files that the manifest does not name: earlier generations, and what a killed writer left."""
    named = {told["name"] for told in manifest["files"].values()} | {MANIFEST, LOCK}
    for path in folder.iterdir():
        if path.name not in named and path.is_file():
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Forces a folder's entries (a rename in it) to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(path: Path, told: dict[str, Any], verify: str) -> str | None:
    if not path.is_file():
        return "is missing"
    size, wanted = path.stat().st_size, told["bytes"]
    # an insert that was killed leaves vectors behind the ones that count
    if size < wanted or (size > wanted and not path.name.startswith("vectors-")):
        return f"has {size} bytes instead of {wanted}"
    count = _blocks(wanted)
    numbers = {"none": [], "touched": sorted({0, count - 1})}.get(verify, range(count)) if count else []
    with path.open("rb") as file:
        for number in numbers:
            if _digest(file, number, wanted) != told["blocks"][number * _DIGITS : (number + 1) * _DIGITS]:
                last = min((number + 1) * BLOCK, wanted) - 1
                return f"has changed between bytes {number * BLOCK} and {last}"
    return None


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _digest(file: Any, number: int, size: int | None = None) -> str:
    file.seek(number * BLOCK)
    data = file.read(BLOCK if size is None else min(BLOCK, size - number * BLOCK))
    return hashlib.blake2b(data, digest_size=_DIGITS // 2).hexdigest()


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _as_bytes(manifest: dict[str, Any]) -> bytes:
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
