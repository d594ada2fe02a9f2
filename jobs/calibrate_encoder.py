"""How fast the encoder is on this machine, on texts of the corpus itself, and how many segments its vectors cut.

Two rounds of texts drawn in the order of their hash, as an ingest's shards are; other texts each time, so nothing is remembered.
A round is smaller than a shard and so has more padding: on the CPU, padded tokens a second are measured, and the padding of a whole
shard is counted from the lengths of the texts. Cost: the model's start and two to five seconds on two cores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from jobs.sample_stages import Outcome
from pipelines.cores import usable_cores
from pipelines.embedding import Encoder, EncoderId
from pipelines.embedding.encoder import TOKENS_PER_BATCH
from pipelines.embedding.windows import batches_of, split_bounds
from pipelines.segmentation import SurpriseParams, bound_segments
from pipelines.segmentation.conversations import in_order
from schemas.ids import content_hash

TEXTS = {"cpu": 256, "cuda": 8192}  # a round
TURNS = 256
SHARD_TEXTS = 2048  # as `embed_units` cuts them
DRIFT = 0.85  # a rate may be this much lower over hours: heat, neighbours


@dataclass(frozen=True)
class Rate:
    """Tokens a second (mean of the rounds; the slowest), text's share of computed tokens, segments a turn, seconds to load."""

    tokens_per_second: float
    slowest: float
    utilisation: float
    segments_per_turn: float
    load_seconds: float
    dim: int
    device: str


def calibrate(id: EncoderId, outcomes: Sequence[Outcome], *, workers: int, device: str) -> Rate:
    """The rate of `workers` cores, or of the card. More workers than this machine has cores are taken to add up."""
    begun, threads = time.perf_counter(), min(workers, usable_cores())
    model = Encoder.load(id, threads=threads, device=device)
    model.encode(["Warm the kernels up."])
    load, before = time.perf_counter() - begun, model.work
    rates = [_round(model, texts) for texts in _drawn(outcomes, TEXTS.get(model.device, TEXTS["cpu"])) if texts]
    tokens, padded = model.work.tokens - before.tokens, model.work.padded - before.padded
    used = tokens / padded if padded else 1.0
    scale = 1.0
    if model.device == "cpu":
        of_round, used = used, _utilisation(outcomes, model)
        scale = workers / threads * used / of_round
    return Rate(
        tokens_per_second=scale * float(np.mean(rates or [1.0])),
        slowest=scale * DRIFT * min(rates, default=1.0),
        utilisation=used,
        segments_per_turn=_segments_per_turn(outcomes, model),
        load_seconds=load,
        dim=model.dim,
        device=model.device,
    )


def _drawn(outcomes: Sequence[Outcome], size: int) -> list[list[str]]:
    """Two rounds of distinct texts, `size` each where there are as many, else half of them each."""
    texts = {t for o in outcomes for part in (o.structural, o.extracted, o.names) for t in part.distinct if t.strip()}
    ordered = sorted(texts, key=content_hash)
    size = min(size, -(-len(ordered) // 2))
    return [ordered[:size], ordered[size : 2 * size]]


def _round(model: Encoder, texts: list[str]) -> float:
    begun = time.perf_counter()
    work = model.encode(texts).work
    return work.tokens / (time.perf_counter() - begun)


def _utilisation(outcomes: Sequence[Outcome], model: Encoder) -> float:
    """Text's share of the tokens of a shard's batches on the CPU, from the token counts of a shard of the sample's texts."""
    counts = {t: n for o in outcomes for part in (o.structural, o.extracted, o.names) for t, n in part.distinct.items()}
    special = len(model.tokens.prefix) + len(model.tokens.suffix)
    lengths = [
        b - a + special
        for text in sorted(counts, key=content_hash)[:SHARD_TEXTS]
        for a, b in pairwise(split_bounds(counts[text], model.max_tokens))
    ]
    lengths.sort(reverse=True)
    padded = sum(len(batch) * lengths[batch.start] for batch in batches_of(lengths, TOKENS_PER_BATCH))
    return sum(lengths) / padded if padded else 1.0


def _segments_per_turn(outcomes: Sequence[Outcome], model: Encoder) -> float:
    """Segments a turn in the first sessions of the sample, with their real vectors; 0 without conversations."""
    turns = pa.concat_tables([o.turns for o in outcomes]) if outcomes else None
    if turns is None or not turns.num_rows:
        return 0.0
    turns = in_order(turns).slice(0, TURNS)
    vectors = model.encode(turns["text"].to_pylist()).vectors
    return bound_segments(turns, vectors, SurpriseParams()).num_rows / turns.num_rows
