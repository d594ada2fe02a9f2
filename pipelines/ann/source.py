"""Vectors to be indexed, read in blocks: an array in memory or a `.npy` file that is never loaded whole.

Files are read with plain reads into one block at a time, not mapped: mapped pages would count towards the memory of a build
that promised a budget. Every pass over the source is sequential, so a cold disk delivers its full rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schemas.errors import UsageError


class VectorSource:
    """`n` vectors of `dim` dimensions, stored as `dtype`; `blocks` and `take` give float32.

    Raises UsageError for anything that is not a C-ordered two-dimensional float array, or has no dimensions.
    """

    def __init__(self, vectors: np.ndarray | str | Path, rows: np.ndarray | None = None) -> None:
        """rows: the rows of an array that count, ascending; default all."""
        self._array: np.ndarray | None = None
        self._rows = rows
        if isinstance(vectors, str | Path):
            self._path = Path(vectors)
            shape, self.dtype, self._offset = _npy_header(self._path)
        else:
            self._array = np.asarray(vectors)
            shape, self.dtype = self._array.shape, self._array.dtype
        if len(shape) != 2 or shape[1] < 1:
            raise UsageError(f"vectors have shape {shape}: give [n, dim] with dim >= 1")
        if self.dtype.kind != "f":
            raise UsageError(f"vectors are {self.dtype}: convert them with .astype(numpy.float32)")
        self.n, self.dim = int(shape[0]) if rows is None else len(rows), int(shape[1])

    def blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, float32 [<= rows, dim]) in order. Raises UsageError at a row that is not finite."""
        for start, block in self._raw_blocks(rows):
            block = np.ascontiguousarray(block, dtype=np.float32)
            if not np.isfinite(block).all():
                bad = start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                raise UsageError(f"vector {bad} holds NaN or infinity: remove that row, or encode its text again")
            yield start, block

    def take(self, rows: np.ndarray, block_rows: int) -> np.ndarray:
        """float32 [len(rows), dim] of ascending `rows`, in one sequential pass."""
        out = np.empty((len(rows), self.dim), np.float32)
        for start, block in self._raw_blocks(block_rows):
            low, high = np.searchsorted(rows, (start, start + len(block)))
            out[low:high] = block[rows[low:high] - start]
        return out

    def _raw_blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        if self._array is not None:
            for start in range(0, self.n, rows):
                chosen = slice(start, start + rows) if self._rows is None else self._rows[start : start + rows]
                yield start, self._array[chosen]
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for start in range(0, self.n, rows):
                count = min(rows, self.n - start)
                block = np.fromfile(file, self.dtype, count * self.dim)
                if len(block) < count * self.dim:
                    raise UsageError(f"{self._path} ends before its {self.n} rows: write the file again")
                yield start, block.reshape(count, self.dim)


def _npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and first byte of the data of a `.npy` file."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except OSError as error:
        raise UsageError(f"cannot read vectors from {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no .npy file of numbers ({error}): write it with numpy.save") from error
    if fortran:
        raise UsageError(f"{path} is in Fortran order: save numpy.ascontiguousarray(vectors)")
    return shape, dtype, offset
