"""Reads labelled question sets: LoCoMo, LongMemEval, multi-hop passages (MuSiQue, HotpotQA, 2WikiMultihopQA) and jsonl.

All become `Question`s whose gold uses the ids that ingestion gives the same files: LoCoMo `conv-26/D3:12` and
`conv-26/session_3`, LongMemEval `<question_id>/<session>_<message, from 1>` with the `answer_` that marks evidence
sessions taken off their ids, documents by their path or, where the file does not tell it, by the passage itself.

The one thing to know: questions that no retrieval can be right about are left out, silently and by rule: those without
usable evidence, LoCoMo's adversarial ones (unless `categories` names them) and LongMemEval's abstentions (`_abs`).
Published LongMemEval tables also leave out questions without evidence on the user's side; to match them keep
`[q for q in questions if q.gold_refs]`. Files are read whole; cost is that of parsing JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from pipelines.evaluation.questions import Question
from schemas.errors import UsageError

LOCOMO_CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
LOCOMO_DEFAULT = ("multi-hop", "temporal", "open-domain", "single-hop")

# "D8:6; D9:17" holds two ids, "D:11:26" is D11:26 with a slip, "D30:05" is D30:5, "D" is none.
_DIALOGUE_ID = re.compile(r"D:?(\d+):(\d+)")
_SESSION_KEY = re.compile(r"session_(\d+)")
_QUESTION_DATE = re.compile(r"(\d{4})/(\d\d)/(\d\d) \(\w+\) (\d\d:\d\d)")
_JSONL_FIELDS = {
    "query_id", "text", "query", "namespace", "refs", "sessions", "category", "asked_at", "granularity", "k", "answer",
}  # fmt: skip

Located = tuple[str, Any]


def load_questions(dataset: str, paths: Sequence[Path], *, categories: Iterable[str] | None = None) -> list[Question]:
    """The questions of `paths` in file order, read as `dataset`: "locomo", "longmemeval", "multihop" or "jsonl".

    `categories` keeps only those named; by default all, but for LoCoMo the four that have answers. Raises UsageError
    for an unknown dataset, a file that is missing or not of that form (naming file and line or record), a query_id that
    comes twice, and when nothing is left.
    """
    if dataset not in _READERS:
        raise UsageError(f"unknown labelled set {dataset!r}: use one of {', '.join(_READERS)}")
    if categories is None and dataset == "locomo":
        categories = LOCOMO_DEFAULT
    wanted = None if categories is None else set(categories)
    found = [q for path in paths for q in _READERS[dataset](Path(path))]
    _refuse_duplicates(found)
    kept = [q for q in found if wanted is None or q.category in wanted]
    if not kept:
        seen = sorted({q.category for q in found})
        raise UsageError(f"no {dataset} question with evidence in {_names(paths)} (categories there: {seen})")
    return kept


def load_unanswerable(dataset: str, paths: Sequence[Path]) -> list[Question]:
    """Questions that the set says memory cannot answer: LoCoMo's adversarial ones, LongMemEval's abstentions; else none."""
    if dataset == "locomo":
        return [q for path in paths for q in _locomo(Path(path)) if q.category == LOCOMO_CATEGORIES[5]]
    if dataset == "longmemeval":
        return [q for path in paths for q in _abstentions(Path(path))]
    return []


def _locomo(path: Path) -> Iterator[Question]:
    for where, sample in _records(path):
        _require(sample, {"sample_id": str, "qa": list, "conversation": dict}, where, "locomo")
        turns = _locomo_turns(sample["conversation"])
        for n, qa in enumerate(sample["qa"], 1):
            _require(qa, {"question": str, "category": int}, f"{where}, qa {n}", "locomo")
            ids = [i for i in dialogue_ids(qa.get("evidence")) if i in turns]
            if ids:
                yield _locomo_question(sample["sample_id"], n, qa, ids, turns)


def _locomo_question(sample_id: str, n: int, qa: dict, ids: list[str], turns: dict[str, str]) -> Question:
    return Question(
        query_id=f"{sample_id}/q{n}",
        text=qa["question"],
        namespace=sample_id,
        gold_refs=tuple(f"{sample_id}/{i}" for i in ids),
        gold_sessions=_unique(f"{sample_id}/{turns[i]}" for i in ids),
        category=LOCOMO_CATEGORIES.get(qa["category"], str(qa["category"])),
        granularity="turn",
    )


def _locomo_turns(conversation: dict) -> dict[str, str]:
    """dia_id -> session of every turn that exists."""
    sessions = {key: turns for key, turns in conversation.items() if _SESSION_KEY.fullmatch(key)}
    return {turn["dia_id"]: key for key, turns in sessions.items() for turn in turns if "dia_id" in turn}


def dialogue_ids(evidence: Any) -> list[str]:
    """Every dialogue id in LoCoMo's evidence (a list of strings, or one), in canonical form, each once."""
    texts = evidence if isinstance(evidence, list) else [evidence]
    pairs = [pair for text in texts if isinstance(text, str) for pair in _DIALOGUE_ID.findall(text)]
    return list(_unique(f"D{int(session)}:{int(turn)}" for session, turn in pairs))


def _longmemeval(path: Path) -> Iterator[Question]:
    fields: dict[str, type] = {"question_id": str, "question": str, "answer_session_ids": list,
              "haystack_session_ids": list, "haystack_sessions": list}  # fmt: skip
    for where, record in _records(path):
        _require(record, fields, where, "longmemeval")
        if "_abs" in record["question_id"]:
            continue
        gold = set(record["answer_session_ids"])
        sessions = [sid for sid in record["haystack_session_ids"] if sid in gold]
        if sessions:
            yield _longmemeval_question(record, sessions)


def _abstentions(path: Path) -> Iterator[Question]:
    for _, record in _records(path):
        if "_abs" in record["question_id"]:
            yield _longmemeval_question(record, [])


def _longmemeval_question(record: dict, sessions: list[str]) -> Question:
    namespace = record["question_id"]
    pairs = zip(record["haystack_session_ids"], record["haystack_sessions"], strict=False)
    refs = [
        f"{namespace}/{sid.removeprefix('answer_')}_{n}"
        for sid, messages in pairs
        for n, message in enumerate(messages, 1)
        if message.get("has_answer") and message.get("role") == "user"
    ]
    return Question(
        query_id=namespace,
        text=record["question"],
        namespace=namespace,
        gold_refs=_unique(refs),
        gold_sessions=_unique(f"{namespace}/{sid.removeprefix('answer_')}" for sid in sessions),
        category=record.get("question_type") or "all",
        asked_at=_iso(record.get("question_date")),
        granularity="turn",
    )


def _iso(question_date: str | None) -> str | None:
    """`2023/05/30 (Tue) 23:40` -> `2023-05-30T23:40`; other forms as they came."""
    match = _QUESTION_DATE.fullmatch(question_date) if question_date else None
    return "{}-{}-{}T{}".format(*match.groups()) if match else question_date


def _multihop(path: Path) -> Iterator[Question]:
    for where, record in _records(path):
        _require(record, {"question": str}, where, "multihop")
        if "paragraphs" in record:
            texts = _supporting_paragraphs(record["paragraphs"], where)
        elif "context" in record and "supporting_facts" in record:
            texts = _supporting_contexts(record["context"], record["supporting_facts"])
        else:
            raise UsageError(f"{where} has neither paragraphs nor context and supporting_facts: not a multihop set")
        texts = [text for text in texts if text.strip()]
        if texts:
            yield _multihop_question(record, where, texts)


def _multihop_question(record: dict, where: str, texts: list[str]) -> Question:
    query_id = str(record.get("id") or record.get("_id") or where)
    # MuSiQue's ids begin with the number and shape of the hops: 2hop__, 3hop1__.
    category = record.get("type") or (query_id.split("__")[0] if "__" in query_id else "multi-hop")
    return Question(
        query_id=query_id,
        text=record["question"],
        namespace=None,
        gold_refs=(),
        gold_sessions=(),
        category=category,
        granularity="passage",
        gold_texts=_unique(texts),
    )


def _supporting_paragraphs(paragraphs: list[dict], where: str) -> list[str]:
    for n, paragraph in enumerate(paragraphs, 1):
        _require(paragraph, {"paragraph_text": str}, f"{where}, paragraph {n}", "multihop")
    return [p["paragraph_text"] for p in paragraphs if p.get("is_supporting")]


def _supporting_contexts(context: Any, facts: Any) -> list[str]:
    """HotpotQA's paragraphs that hold a supporting fact, in both its layouts (lists of pairs, dict of lists)."""
    titles = facts["title"] if isinstance(facts, dict) else [fact[0] for fact in facts]
    if isinstance(context, dict):
        context = zip(context["title"], context["sentences"], strict=True)
    return ["".join(sentences) for title, sentences in context if title in set(titles)]


def _jsonl(path: Path) -> Iterator[Question]:
    for where, record in _lines(path):
        _require(record, {"refs": list}, where, "jsonl")
        unknown = sorted(set(record) - _JSONL_FIELDS)
        if unknown:
            raise UsageError(f"{where} has unknown fields {unknown}: known are {sorted(_JSONL_FIELDS)}")
        yield _jsonl_question(record, where)


def _jsonl_question(record: dict, where: str) -> Question:
    text = record.get("text", record.get("query"))
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{where}: text must be the question, got {text!r}")
    for name in ("refs", "sessions"):
        if not all(isinstance(value, str) for value in record.get(name) or []):
            raise UsageError(f"{where}: {name} must be a list of strings")
    if not record["refs"] and not record.get("sessions"):
        raise UsageError(
            f"{where}: refs is empty and there are no sessions, so nothing can be found: name the evidence"
        )
    return Question(
        query_id=str(record.get("query_id") or where),
        text=text,
        namespace=record.get("namespace"),
        gold_refs=_unique(record["refs"]),
        gold_sessions=_unique(record.get("sessions") or []),
        category=record.get("category") or "all",
        asked_at=record.get("asked_at"),
        granularity=record.get("granularity"),
        k=record.get("k"),
    )


_READERS: dict[str, Callable[[Path], Iterator[Question]]] = {
    "locomo": _locomo,
    "longmemeval": _longmemeval,
    "multihop": _multihop,
    "jsonl": _jsonl,
}


def _records(path: Path) -> Iterator[Located]:
    """(place, record) of a JSON list, of one JSON object, or of JSON lines."""
    text = _read(path)
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        yield from _lines(path)
        return
    for n, record in enumerate(content if isinstance(content, list) else [content], 1):
        yield f"{path.name}, record {n}", record


def _lines(path: Path) -> Iterator[Located]:
    for n, line in enumerate(_read(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield f"{path.name}:{n}", orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise UsageError(f"{path.name}:{n} is not JSON ({error}): one JSON object a line is expected") from error


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(f"no such file: {path} (a labelled set is a JSON or JSON-lines file)")
    return path.read_bytes()


def _require(record: Any, fields: dict[str, type], where: str, dataset: str) -> None:
    if not isinstance(record, dict):
        raise UsageError(f"{where} is not a JSON object: not a {dataset} set")
    wrong = [f"{name} ({kind.__name__})" for name, kind in fields.items() if not isinstance(record.get(name), kind)]
    if wrong:
        raise UsageError(f"{where} lacks {', '.join(wrong)}: not a {dataset} set")


def _refuse_duplicates(questions: Sequence[Question]) -> None:
    seen: set[str] = set()
    for question in questions:
        if question.query_id in seen:
            raise UsageError(f"query_id {question.query_id!r} comes twice: give every question its own")
        seen.add(question.query_id)


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(Path(path).name for path in paths) or "no file"
