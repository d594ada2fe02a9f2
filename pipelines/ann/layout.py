"""The folder of an index: one manifest that names every file with its size and checksums, written last.

    manifest.json             format, shape, parameters, segments, tombstones, recall curve, its own checksum
    base/vectors.npy          [n, dim] float32 or float16, as ranked
    base/lists.faiss          inverted lists (absent when the index is flat)
    base/keys.npy, order.npy  keys by row, rows by ascending key (absent when keys are row numbers)

A segment is a folder of such files: a night's delta will be another one, and a delete a file named under `tombstones`, so
neither rewrites `base`. Checksums are BLAKE2b (RFC 7693), 128 bits; `ends` covers the first and last 64 KiB, enough to know
headers and lengths without reading a large file. The one thing to know: a folder without a valid manifest is no index.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import StoreError

FORMAT, VERSION = "engraph-ann", 1
MANIFEST = "manifest.json"
REBUILD = "restore the folder from a copy or build the index again"
_END = 64 << 10


def describe(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Size and checksums of each file, after forcing it to disk."""
    described = {}
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        whole, ends = _digests(folder / name)
        described[name] = {"bytes": (folder / name).stat().st_size, "blake2b": whole, "ends": ends}
    return described


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes manifest.json with its own checksum and forces it to disk."""
    sealed = {**manifest, "checksum": _seal(manifest)}
    with (folder / MANIFEST).open("wb") as file:
        file.write(orjson.dumps(sealed, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an index folder. Raises StoreError if it is missing, damaged or of another version."""
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise StoreError(f"{folder} is no index: {MANIFEST} cannot be read ({error.strerror}); {REBUILD}") from error
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{folder / MANIFEST} is damaged: it is not JSON; {REBUILD}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{folder / MANIFEST} does not describe an ANN index; open the folder that ann.build wrote")
    if manifest.get("version") != VERSION:
        wrote = manifest.get("version")
        raise StoreError(f"{folder} has index format {wrote}, this release reads {VERSION}: build the index again")
    if _seal({name: value for name, value in manifest.items() if name != "checksum"}) != manifest.get("checksum"):
        raise StoreError(f"{folder / MANIFEST} is damaged: its checksum does not match; {REBUILD}")
    return manifest


def verify_files(folder: Path, manifest: dict[str, Any], verify: str) -> None:
    """Checks every named file: "touched" sizes and ends, "full" all bytes, "none" nothing. Raises one StoreError for all."""
    if verify == "none":
        return
    wrong = []
    for segment in manifest["segments"]:
        for name, expected in segment["files"].items():
            fault = _fault(folder / segment["name"] / name, expected, verify == "full")
            if fault:
                wrong.append(f"{segment['name']}/{name} {fault}")
    if wrong:
        raise StoreError(f"index {folder} is damaged: {'; '.join(wrong)}; {REBUILD}")


def _fault(path: Path, expected: dict[str, Any], full: bool) -> str | None:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != expected["bytes"]:
        return f"has {size} bytes instead of {expected['bytes']}"
    whole, ends = _digests(path) if full else (None, _ends_digest(path))
    if ends != expected["ends"]:
        return "has a changed beginning or end"
    if full and whole != expected["blake2b"]:
        return "has a changed middle"
    return None


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _digests(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return whole, _ends_digest(path)


def _ends_digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(_END))
        file.seek(max(0, path.stat().st_size - _END))
        digest.update(file.read(_END))
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Forces a folder's entries (a rename in it) to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
