"""The memory-disk hybrid ANN index: vectors in, a self-describing folder out, recall with a promise.

`build` writes the folder, `open` maps it, `Index.search` answers, `insert`, `delete` and `compact` keep it up to date; several
folders open as one (`Shards`). Closure-replicated inverted lists with 4-bit product quantisation find candidates (SPANN, Chen
et al., NeurIPS 2021; fast-scan, Andre et al., VLDB 2015), exact distances over the mapped vectors rank them. Small collections
are scanned exactly. The one thing to know: effort is chosen from a recall curve that `build` measured on held-out rows, so
`recall_target` means something on *this* data.
"""

from __future__ import annotations

from pathlib import Path
from typing import overload

from pipelines.ann.build import build
from pipelines.ann.index import Index, open_index
from pipelines.ann.params import AnnParams
from pipelines.ann.shards import Shards
from schemas.errors import UsageError

__all__ = ["AnnParams", "Index", "Shards", "build", "open"]


@overload
def open(out: str | Path, verify: str = "touched", encoder: str | None = None) -> Index: ...
@overload
def open(out: list[Path] | list[str], verify: str = "touched", encoder: str | None = None) -> Shards: ...
def open(
    out: str | Path | list[Path] | list[str], verify: str = "touched", encoder: str | None = None
) -> Index | Shards:
    """The index in folder `out`, or the indexes in several folders as one.

    verify: "full" reads and checks every byte (1 GB/s), so that a damaged index is refused; "touched" checks sizes, small
    files and both ends of large ones, for indexes too large to read before the first query; "none" checks sizes. encoder: of
    the queries to come; refused where the index names another. Raises StoreError that says what is wrong.
    """
    if verify not in ("full", "touched", "none"):
        raise UsageError(f"verify is {verify!r}: use 'full', 'touched' or 'none'")
    if isinstance(out, str | Path):
        return open_index(Path(out), verify, encoder)
    return Shards([open_index(Path(folder), verify, encoder) for folder in out])
