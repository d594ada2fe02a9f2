"""Session -> segments, cut where the talk turns to something new (EM-LLM, arXiv 2407.09450, sections 3.1 and 3.2).

Surprise without a language model: the novelty of a turn is 1 - cos(its vector, moving average of the vectors before it). A boundary
stands where novelty exceeds mean + gamma * sigma of a trailing window; each is then moved to the split that has the highest
modularity in the similarity graph of its two neighbours' turns. Linear in turns, quadratic only in `max_turns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa

from pipelines.segmentation.conversations import joined_unit
from pipelines.segmentation.units import CountTokens, draft_units, no_token_count
from schemas.ids import derived_id

EXTRACTOR = "surprise@1"


@dataclass(frozen=True)
class SurpriseParams:
    """gamma: standard deviations above the mean; decay: of the moving average; sizes in turns."""

    gamma: float = 1.0
    decay: float = 0.8
    window: int = 64
    min_turns: int = 3
    max_turns: int = 16


def novelty(vectors: np.ndarray, decay: float) -> np.ndarray:
    """1 - cosine of each row of unit-norm `vectors` [n, dim] to the moving average of the rows before it -> [n], first 0."""
    out = np.zeros(len(vectors))
    if not len(vectors):
        return out
    average = vectors[0].astype(np.float64)
    for t in range(1, len(vectors)):
        out[t] = 1.0 - float(average @ vectors[t]) / max(float(np.linalg.norm(average)), 1e-12)
        average = decay * average + (1.0 - decay) * vectors[t]
    return out


def boundaries(vectors: np.ndarray, params: SurpriseParams) -> list[int]:
    """Starts of segments, ascending, the first 0, for unit-norm turn vectors [n, dim] of one session."""
    n = len(vectors)
    surprise = novelty(vectors, params.decay)
    starts = [0]
    for t in range(1, n):
        seen = surprise[max(1, t - params.window) : t] if t > 2 else surprise[1:n]
        high = surprise[t] > seen.mean() + params.gamma * seen.std()
        size = t - starts[-1]
        if (high and size >= params.min_turns and n - t >= params.min_turns) or size >= params.max_turns:
            starts.append(t)
    return _refine(vectors, starts, params)


def _refine(vectors: np.ndarray, starts: list[int], params: SurpriseParams) -> list[int]:
    """Move each boundary to the split of highest modularity between its neighbours."""
    refined = [0]
    ends = [*starts[1:], len(vectors)]
    for i, start in enumerate(starts[1:], 1):
        a, b = refined[-1], ends[i]
        candidates = [
            t
            for t in range(a + params.min_turns, b - params.min_turns + 1)
            if t - a <= params.max_turns and b - t <= params.max_turns
        ]
        if not candidates:  # what is left after a forced cut is too short to stand alone
            if b - a > params.max_turns:
                refined.append(start)
            continue
        gains = _modularity(vectors[a:b], np.array(candidates) - a)
        refined.append(candidates[int(np.argmax(gains))])
    return refined


def _modularity(vectors: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Modularity (Newman) of the two-way split of the cosine graph at each of `splits`; negative cosines count as 0."""
    graph = np.clip(vectors @ vectors.T, 0.0, None).astype(np.float64)
    np.fill_diagonal(graph, 0.0)
    total = graph.sum()
    if total <= 0:
        return np.zeros(len(splits))
    degree = graph.sum(axis=0)
    inside = np.array([graph[:t, :t].sum() + graph[t:, t:].sum() for t in splits])
    left = np.array([degree[:t].sum() for t in splits])
    return inside / total - (left**2 + (total - left) ** 2) / total**2


def bound_segments(
    turns: pa.Table, vectors: np.ndarray, params: SurpriseParams, count_tokens: CountTokens = no_token_count
) -> pa.Table:
    """Drafts of granularity segment for whole sessions in order (`in_order`); `vectors` [n, dim] are the turns', row by row."""
    rows: list[dict] = []
    ordered = turns.to_pylist()
    first = 0
    for _, group in groupby(ordered, key=lambda t: t["session_id"]):
        session = list(group)
        rows += _segments_of(session, vectors[first : first + len(session)], params)
        first += len(session)
    return draft_units(rows, count_tokens)


def _segments_of(session: list[dict], vectors: np.ndarray, params: SurpriseParams) -> list[dict]:
    starts = boundaries(vectors, params)
    session_id = session[0]["session_id"]
    return [
        joined_unit(session[a:b], derived_id(session_id, "segment", n), "segment", n - 1, parent_id=session_id)
        | {"extractor": EXTRACTOR}
        for n, (a, b) in enumerate(zip(starts, [*starts[1:], len(session)], strict=True), 1)
    ]
