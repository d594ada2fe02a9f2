"""Sentences per second: Engraph's encoder beside `SentenceTransformer.encode(batch_size=64)`, in turns, in one run.

Rounds are interleaved (peer, Engraph, peer, Engraph ...) and the best of each is kept, so that a busy machine hurts both alike.
Model loading is timed apart. Cosines are taken where a text fits the window: the peer cuts a longer one off there, so its vector
ought to differ. `jobs.engines.embedding_pool` is not imported here: it narrows a cache of oneDNN; the peer is to run as it comes.
"""

from __future__ import annotations

import gzip
import os
import time
from itertools import islice
from pathlib import Path

import numpy as np

from jobs.benchmarks.made_up import sentences
from jobs.run import Progress
from pipelines.cores import usable_cores
from pipelines.embedding import Encoder, resolve_encoder
from pipelines.embedding.model_folder import model_folder
from schemas.errors import UsageError

SENTENCES, ROUNDS = 4000, 3


def load_sentences(data: Path | None, limit: int) -> list[str]:
    """The first `limit` lines of a text or .gz file that are not blank; made-up sentences without a file."""
    if data is None:
        return sentences(limit)
    with gzip.open(data, "rt", encoding="utf-8") if data.suffix == ".gz" else data.open(encoding="utf-8") as lines:
        found = list(islice((line.rstrip("\n") for line in lines if line.strip()), limit))
    if not found:
        raise UsageError(f"{data} has no text: give a file with one sentence a line")
    return found


def measure(
    texts: list[str],
    *,
    encoder: str | None = None,
    rounds: int = ROUNDS,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """One row a side: sentences a second (best of `rounds`), ratio to the peer, lowest cosine to it, seconds to load."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the peer asks the hub about a local folder otherwise
    from sentence_transformers import SentenceTransformer

    id, threads = resolve_encoder(encoder), usable_cores()
    stock = str(model_folder(id.model))
    peer, peer_load = _timed(lambda: SentenceTransformer(stock, device="cpu", local_files_only=True))
    ours, our_load = _timed(lambda: Encoder.load(id, threads=threads, device="cpu"))
    peer.encode(texts[:128], batch_size=64)
    ours.encode(texts[:128])
    peer_seconds, our_seconds = [], []
    for done in range(rounds):
        reference, seconds = _timed(lambda: peer.encode(texts, batch_size=64, normalize_embeddings=True))
        peer_seconds.append(seconds)
        encoded, seconds = _timed(lambda: ours.encode(texts))
        our_seconds.append(seconds)
        progress("embed", done + 1, rounds)
    whole = encoded.n_windows == 1
    cosine = np.einsum("ij,ij->i", reference.astype(np.float64), encoded.vectors.astype(np.float64))[whole]
    lowest = float(cosine.min()) if whole.any() else None
    rate, our_rate = len(texts) / min(peer_seconds), len(texts) / min(our_seconds)
    longer = int((~whole).sum())
    measured = (
        f"Embedding {len(texts):,} sentences ({longer} longer than the window) on {threads} cores, best of {rounds}"
    )
    return [
        _row("SentenceTransformer.encode, f32, batches of 64", rate, 1.0, 1.0, peer_load, measured),
        _row(f"Engraph, {id.name}", our_rate, our_rate / rate, lowest, our_load, measured),
    ]


def _row(name: str, rate: float, ratio: float, cosine: float | None, load: float, measured: str) -> dict:
    return {
        "encoder": name,
        "sentences/s": round(rate, 1),
        "ratio": round(ratio, 3),
        "lowest_cosine": None if cosine is None else round(cosine, 6),
        "load_s": round(load, 2),
        "measured": measured,
    }


def _timed(call):
    start = time.perf_counter()
    return call(), time.perf_counter() - start
