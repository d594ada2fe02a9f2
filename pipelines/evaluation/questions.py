"""`Question`: a question with what must be found to answer it, whatever labelled set it came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One labelled question.

    `gold_refs` are source refs as `recall` prints them: a turn (`conv-26/D3:12`) or a document's path.
    `gold_sessions` are session ids (`conv-26/session_3`). `gold_texts` are whole passages, for sets whose file does not
    say under which ref a passage was ingested. `asked_at` is the date that time words in `text` refer to. `granularity`
    and `k` are what the set asks to be retrieved with; None leaves the choice to the caller.
    """

    query_id: str
    text: str
    namespace: str | None
    gold_refs: tuple[str, ...]
    gold_sessions: tuple[str, ...]
    category: str
    asked_at: str | None = None
    granularity: str | None = None
    k: int | None = None
    gold_texts: tuple[str, ...] = ()
