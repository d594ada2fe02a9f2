"""Sentences per second: Engraph's encoder beside `SentenceTransformer.encode(batch_size=64)`, in turns, in one run.

    python tests/bench/bench_embed.py [--sentences FILE.gz] [--limit 4000] [--rounds 3]

Rounds are interleaved (peer, Engraph, peer, Engraph ...) and the best of each is kept, so that a busy machine hurts
both alike. Without a file the sentences are cut from the repository's own documents and docstrings. Model loading is timed apart.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere


def compare(sentences: list[str], *, encoder: str | None = None, threads: int | None = None, rounds: int = 2) -> dict:
    """Rates (sentences/s, best of `rounds`), their ratio, lowest and mean cosine where a text fits the window, load seconds."""
    from sentence_transformers import SentenceTransformer

    from jobs.engines.embedding_pool import usable_cores
    from pipelines.embedding import Encoder, resolve_encoder
    from pipelines.embedding.model_folder import model_folder

    id = resolve_encoder(encoder)
    threads = threads or usable_cores()
    peer, peer_load = _timed(
        lambda: SentenceTransformer(str(model_folder(id.model)), device="cpu", local_files_only=True)
    )
    ours, our_load = _timed(lambda: Encoder.load(id, threads=threads, device="cpu"))
    peer.encode(sentences[:128], batch_size=64)
    ours.encode(sentences[:128])
    peer_seconds, our_seconds = [], []
    for _ in range(rounds):
        reference, seconds = _timed(lambda: peer.encode(sentences, batch_size=64, normalize_embeddings=True))
        peer_seconds.append(seconds)
        encoded, seconds = _timed(lambda: ours.encode(sentences))
        our_seconds.append(seconds)
    whole = (
        encoded.n_windows == 1
    )  # the peer cuts a longer text off at its window, so there the vectors ought to differ
    cosine = np.einsum("ij,ij->i", reference.astype(np.float64), encoded.vectors.astype(np.float64))[whole]
    return {
        "encoder": id.name,
        "sentences": len(sentences),
        "longer_than_window": int((~whole).sum()),
        "threads": threads,
        "peer_rate": len(sentences) / min(peer_seconds),
        "engraph_rate": len(sentences) / min(our_seconds),
        "ratio": min(peer_seconds) / min(our_seconds),
        "lowest_cosine": float(cosine.min()),
        "mean_cosine": float(cosine.mean()),
        "peer_load_seconds": peer_load,
        "engraph_load_seconds": our_load,
    }


def own_sentences(limit: int) -> list[str]:
    """Distinct sentences of the repository's Markdown and Python files, in a fixed order."""
    files = [p for p in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]) if p.is_file()]
    for package in ("schemas", "pipelines", "jobs", "flows", "tests"):
        files += sorted((ROOT / package).rglob("*.py"))
    found: dict[str, None] = {}
    for file in files:
        for sentence in re.split(r"(?<=[.!?:])\s+|\n\s*\n", file.read_text(encoding="utf-8")):
            words = sentence.split()
            if 4 <= len(words) <= 60:
                found.setdefault(" ".join(words), None)
    return list(found)[:limit]


def markdown(result: dict) -> str:
    """The result as a table."""
    rows = [
        f"| SentenceTransformer.encode, f32 | {result['peer_rate']:.0f} | 1 | 1 |",
        f"| Engraph, {result['encoder']} | {result['engraph_rate']:.0f} | {result['ratio']:.2f} "
        f"| {result['lowest_cosine']:.5f} |",
    ]
    head = f"{result['sentences']} sentences, {result['threads']} cores, {result['longer_than_window']} longer than the window\n\n"
    return head + "| encoder | sentences/s | ratio | lowest cosine |\n|---|---:|---:|---:|\n" + "\n".join(rows)


def _timed(call):
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=Path, help="a .gz file, one sentence a line")
    parser.add_argument("--limit", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", help="for example all-MiniLM-L6-v2@f32")
    arguments = parser.parse_args()
    if arguments.sentences:
        with gzip.open(arguments.sentences, "rt", encoding="utf-8") as lines:
            sentences = [line.rstrip("\n") for line in lines if line.strip()][: arguments.limit]
    else:
        sentences = own_sentences(arguments.limit)
    print(markdown(compare(sentences, encoder=arguments.encoder, rounds=arguments.rounds)))


if __name__ == "__main__":
    main()
