"""A second look at the best hits by slower judges, each only where somebody configured one: a cross-encoder, a language model.

A cross-encoder's scores are added to the first ranking's, both of one spread, over the `DEPTH` best: a weak model cannot
overturn what all channels agree on. A language model's filter puts the hits that it keeps before those that it does not. A judge
that fails changes nothing and says so. The judges themselves are functions from above (`jobs.judges`): nothing here loads or calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.recall.params import Hit
from schemas.errors import EngraphError

DEPTH = 50


@dataclass(frozen=True)
class Judges:
    """`score(question, texts)` one number each, `keep(question, texts)` the places of texts that help, `think(question, texts)`
    what is still to be looked for."""

    score: Callable[[str, list[str]], Sequence[float]] | None = None
    keep: Callable[[str, list[str]], list[int]] | None = None
    think: Callable[[str, list[str]], str] | None = None

    def __bool__(self) -> bool:
        return self.score is not None or self.keep is not None


NO_JUDGES = Judges()


def judged(question: str, hits: list[Hit], k: int, judges: Judges) -> tuple[list[Hit], list[str]]:
    """(the k best hits after a second look, what failed)."""
    failed: list[str] = []
    try:
        if judges.score is not None and len(hits) > 1:
            hits = _rescored(hits, np.asarray(judges.score(question, [h.text for h in hits]), np.float64))
    except EngraphError as problem:
        failed.append(f"not reranked: {problem}")
    hits = hits[:k]
    try:
        if judges.keep is not None and hits:
            hits = _filtered(hits, judges.keep(question, [h.text for h in hits]))
    except EngraphError as problem:
        failed.append(f"not filtered: {problem}")
    return [replace(h, rank=rank) for rank, h in enumerate(hits, 1)], failed


def _rescored(hits: list[Hit], scores: np.ndarray) -> list[Hit]:
    spread, own = float(scores.std()), float(np.std([h.score for h in hits]))
    if not np.isfinite(scores).all() or spread < 1e-9:
        return hits
    given = (scores - scores.mean()) / spread * (own if own > 1e-9 else 1.0)
    changed = [
        replace(h, score=round(h.score + g, 4), via=h.via | {"rerank": round(g, 4)})
        for h, g in zip(hits, given.tolist(), strict=True)
    ]
    return sorted(changed, key=lambda h: -h.score)


def _filtered(hits: list[Hit], kept: list[int]) -> list[Hit]:
    first = [i for i in dict.fromkeys(kept) if 0 <= i < len(hits)]
    rest = [i for i in range(len(hits)) if i not in set(first)]
    return [hits[i] for i in sorted(first) + rest]
