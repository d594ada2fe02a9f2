"""Published retrieval methods, to be measured in the same harness over the same store and encoder.

Each is a function `(Corpus, Encode) -> Ranker`: what it builds once for a scope, then one score per item for each question.
They share no code with recall, so that a mistake there cannot hide here.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.evaluation.baselines.corpus import Corpus, Encode, Ranker, Triple
from pipelines.evaluation.baselines.hipporag import hipporag2
from pipelines.evaluation.baselines.memgas import memgas
from pipelines.evaluation.baselines.plain import bm25, dense, longmemeval, max_over_leaves


@dataclass(frozen=True)
class Baseline:
    """How a baseline is built, and the granularities that it ranks; none named means any."""

    build: Callable[[Corpus, Encode], Ranker]
    granularities: tuple[str, ...] = ()

    def ranks(self, granularity: str) -> bool:
        return not self.granularities or granularity in self.granularities


BASELINES = {
    "dense": Baseline(dense),
    "bm25": Baseline(bm25),
    "max-over-turns": Baseline(max_over_leaves, ("session", "passage", "document")),
    "memgas": Baseline(memgas, ("session",)),
    "hipporag2": Baseline(hipporag2),
    "longmemeval": Baseline(longmemeval),
}

__all__ = ["BASELINES", "Baseline", "Corpus", "Encode", "Ranker", "Triple"]
