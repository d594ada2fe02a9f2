"""Made-up corpora as the users of an agent bring them: many namespaces of bounded size, sessions of 20 turns, every text another.

`corpus_lines` is a store's first day, `night_lines` a later one: some users come back and each has one more session.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator

from jobs.benchmarks.made_up import BEGAN, SESSION_TURNS, SPEAKERS, sentences

NAMESPACE_TURNS = 200


def corpus_lines(turns: int, *, namespace_turns: int = NAMESPACE_TURNS) -> Iterator[str]:
    """JSON lines, one message each: namespaces of `namespace_turns` turns, a session a day."""
    for i, text in enumerate(sentences(turns)):
        namespace, at = divmod(i, namespace_turns)
        session, number = divmod(at, SESSION_TURNS)
        yield _line(namespace, session, number, text)


def night_lines(turns: int, *, known: int, namespace_turns: int = NAMESPACE_TURNS) -> Iterator[str]:
    """What comes one day after `corpus_lines(known)`: one more session for turns / 20 of its namespaces, evenly spread."""
    namespaces = -(-known // namespace_turns)
    returning = -(-turns // SESSION_TURNS)
    for i, text in enumerate(sentences(known + turns)[known:]):
        which, number = divmod(i, SESSION_TURNS)
        again, namespace = divmod(which * max(1, namespaces // returning), namespaces)
        yield _line(namespace, namespace_turns // SESSION_TURNS + 1 + again, number, text)


def _line(namespace: int, session: int, number: int, text: str) -> str:
    row = {
        "namespace": f"user-{namespace:07d}",
        "conversation_id": f"chat-{namespace:07d}",
        "session_id": f"session-{session + 1}",
        "message_id": f"s{session + 1}m{number:02d}",
        "speaker": SPEAKERS[(namespace + number % 2) % len(SPEAKERS)],
        "said_at": (BEGAN + dt.timedelta(days=session, minutes=number)).isoformat(),
        "text": text,
    }
    return json.dumps(row, ensure_ascii=False)
