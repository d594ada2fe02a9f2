"""The centres of the lists: in what order lists lie on disk, and how a search compares them, all where they are few, by groups
where they are many.

Comparing 4,000 centres costs a query more than scanning its lists. Beyond `GROUPED_FROM` centres these are clustered themselves
into about sqrt(n) groups, and a query looks into the nearest quarter of the groups, more where it probes many lists, all where it
probes a sixth of the lists. A graph over the centres (faiss IndexHNSWFlat) was no faster and missed more of them. What groups
miss is in the measured recall curve, which searches the same way. The one thing to know: the order of the centres, by which lists
are numbered, is that of the flat index they came from.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np

from pipelines.ann.kmeans import FaissOnCpu

NEIGHBOURS = 64  # of each centre, among which the next one is sought
GROUPED_FROM = 2_000
LEAST_SHARE = 4  # of the groups, one in as many is looked into at least
SPARE = 6  # groups hold as many times the lists that are probed, on average


def in_line(near: faiss.IndexFlatL2) -> faiss.IndexFlatL2:
    """The same centres, each followed by the nearest of its neighbours that has no place yet.

    Lists lie in the file in this order, so that the lists of a query are neighbours on disk: 40 of 1,000 are 22 stretches, in
    k-means' order 39.
    """
    count = near.ntotal
    points = near.reconstruct_n(0, count)
    neighbours = near.search(points, min(NEIGHBOURS, count))[1]
    free, order, at, first_free = np.ones(count, np.bool_), np.empty(count, np.int64), 0, 0
    for place in range(count):
        order[place], free[at] = at, False
        beside = neighbours[at][free[neighbours[at]]]
        while first_free < count and not free[first_free]:
            first_free += 1
        at = int(beside[0]) if len(beside) else first_free
    line = faiss.IndexFlatL2(near.d)
    line.add(points[order])
    return line


def grouped(flat: faiss.IndexFlat, seed: int = 0) -> faiss.Index:
    """`flat`, or its centres by groups where they are many; numbers of centres stay."""
    if flat.ntotal < GROUPED_FROM:
        return flat
    centres = flat.reconstruct_n(0, flat.ntotal)
    by_distance = FaissOnCpu().train(centres, round(flat.ntotal**0.5), seed)
    _, owner = by_distance.search(centres, 1)
    heads = faiss.IndexFlat(flat.d, flat.metric_type)
    heads.add(by_distance.reconstruct_n(0, by_distance.ntotal))
    index = faiss.IndexIVFFlat(heads, flat.d, heads.ntotal, flat.metric_type)
    index.is_trained = True
    index.add_core(len(centres), faiss.swig_ptr(centres), None, faiss.swig_ptr(np.ascontiguousarray(owner[:, 0])))
    index.make_direct_map()
    index.referenced_objects = [heads]
    return index


def centres(lists: Any) -> np.ndarray:
    """float32 [nlist, dim] of an opened index, in the order of its lists."""
    return faiss.downcast_index(lists.quantizer).reconstruct_n(0, lists.nlist)


def flat(lists: Any) -> faiss.IndexFlat:
    """The centres of an opened index, all to be compared, by its metric."""
    index = faiss.IndexFlat(lists.d, lists.metric_type)
    index.add(centres(lists))
    return index


def effort(lists: Any, nprobe: int) -> faiss.SearchParameters | None:
    """How the centres are searched for the `nprobe` nearest; None where all are compared."""
    index = faiss.downcast_index(lists.quantizer)
    if not isinstance(index, faiss.IndexIVFFlat):
        return None
    groups = max(index.nlist // LEAST_SHARE, math.ceil(SPARE * index.nlist * nprobe / lists.nlist))
    return faiss.SearchParametersIVF(nprobe=min(index.nlist, groups))


def parameters(lists: Any, nprobe: int, selector: faiss.IDSelector | None = None) -> faiss.SearchParametersIVF:
    """Parameters of a search of `nprobe` lists among the rows that `selector` lets through."""
    given: dict[str, Any] = {"nprobe": nprobe}
    if selector is not None:
        given["sel"] = selector
    inner = effort(lists, nprobe)
    if inner is not None:
        given["quantizer_params"] = inner
    params = faiss.SearchParametersIVF(**given)
    params.kept = (selector, inner)  # faiss points at them
    return params
