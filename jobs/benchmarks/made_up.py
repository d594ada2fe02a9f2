"""Made-up text for measurements: any number of distinct sentences and conversations, the same ones every time.

The sample corpus gives its sentences; more are made by joining the first half of one to the second half of another, so that length,
vocabulary and punctuation stay those of real talk. An installed package has no sample corpus: then a few words are combined.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

from jobs.benchmarks.surroundings import ROOT

SAMPLE = ROOT / "tests" / "sample_corpus"
SESSION_TURNS = 20
NAMESPACE_TURNS = 100
DOCUMENT_SENTENCES = 7
SPEAKERS = ("Birgit", "Matteo", "Noor", "Henrik", "Maya")
BEGAN = dt.datetime(2025, 1, 6, 9, 0, tzinfo=dt.UTC)
PARTS = (
    ("My sister", "Our neighbour", "The new teacher", "Carla", "An old friend", "The mechanic", "Dmitri", "My boss"),
    ("bought", "repaired", "painted", "lost", "sold", "found", "borrowed", "gave away"),
    ("a wooden boat", "the telescope", "two bicycles", "a cello", "the red kettle", "some tomato plants", "a camera"),
    ("in Lisbon", "near the harbour", "at the old mill", "in Oslo", "behind the school", "at the market"),
    ("last week.", "on Monday.", "before the storm.", "for forty euros.", "and laughed about it.", "in a hurry."),
)


def sentences(n: int, sample: Path = SAMPLE) -> list[str]:
    """The first `n` distinct sentences."""
    return list(islice(_all_sentences(sample), n))


def conversation_lines(turns: int, sample: Path = SAMPLE) -> Iterator[str]:
    """A corpus as JSON lines, one message a line: namespaces of 100 turns in sessions of 20, a session a day."""
    for i, text in enumerate(islice(_all_sentences(sample), turns)):
        namespace, at = divmod(i, NAMESPACE_TURNS)
        session, number = divmod(at, SESSION_TURNS)
        said_at = BEGAN + dt.timedelta(days=session, minutes=number)
        row = {
            "namespace": f"person-{namespace:05d}",
            "conversation_id": f"talk-{namespace:05d}",
            "session_id": f"session-{session + 1}",
            "message_id": f"m{at:03d}",
            "speaker": SPEAKERS[(namespace + number % 2) % len(SPEAKERS)],
            "said_at": said_at.isoformat(),
            "text": text,
        }
        yield json.dumps(row, ensure_ascii=False)


def document_lines(n: int, sample: Path = SAMPLE) -> Iterator[str]:
    """A corpus of documents as JSON lines, one each, of `DOCUMENT_SENTENCES` sentences, `n` sentences and some in all."""
    found = _all_sentences(sample)
    for i in range(-(-n // DOCUMENT_SENTENCES)):
        text = " ".join(islice(found, DOCUMENT_SENTENCES))
        if not text:
            return  # there are a million or so
        yield json.dumps({"title": f"Notes {i + 1}", "text": text}, ensure_ascii=False)


def _all_sentences(sample: Path) -> Iterator[str]:
    """Sentence i of n joins the beginning of i mod n to the end of one that lies i div n further on."""
    base = _sampled(sample) or [" ".join(parts) for parts in product(*PARTS)]
    halves = [_halves(sentence) for sentence in base]
    seen: set[str] = set()
    for further in range(len(base)):
        for i in range(len(base)):
            text = f"{halves[i][0]} {halves[(i + further) % len(base)][1]}"
            if text not in seen:
                seen.add(text)
                yield text


def _halves(sentence: str) -> tuple[str, str]:
    words = sentence.split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


def _sampled(sample: Path) -> list[str]:
    """Distinct sentences of 4 to 60 words of the sample corpus's texts."""
    texts = []
    for file in sorted(sample.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            texts += [m["content"] for m in row.get("messages", [])]
            if "speaker" in row:
                texts.append(row["text"])
    texts += [f.read_text(encoding="utf-8") for f in sorted(sample.glob("handbook/*.md"))]
    found: dict[str, None] = {}
    for text in texts:
        for sentence in re.split(r"(?<=[.!?:])\s+|\n\s*\n", text):
            words = sentence.split()
            if 4 <= len(words) <= 60:
                found.setdefault(" ".join(words), None)
    return list(found)
