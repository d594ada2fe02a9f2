"""Files of extractions that others made -> `Given`, one each: LoCoMo's, HippoRAG's OpenIE, and plain JSON lines.

- LoCoMo: `session_summary` gives summaries, `observation` facts with the turns they rest on, `event_summary` notes of their
  session.
- OpenIE: `docs` with `passage` (or `text`), `extracted_entities`, `extracted_triples`: they belong to the document with that
  text.
- JSON lines: `ref` (a turn, session or document as `recall` prints it, or a list of turns), `granularity` (summary, fact,
keywords or note), `text`; optional `subject`, `predicate` and `object` (all three; then `text` may be left out), `start` and
`end` (characters in the document), `event_time` (ISO 8601), `namespace`, `extractor` (who made it) and `trust` (0 to 1).

A file in none of these forms is refused as a whole; inside a file a record that cannot be taken becomes a `Refusal` with the
reason.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import UsageError
from schemas.ids import qualify

TRUST = 0.8
PLAIN = ("summary", "fact", "keywords", "note")
FIELDS = {
    "ref", "granularity", "text", "subject", "predicate", "object", "start", "end", "event_time", "namespace", "extractor", "trust",
}  # fmt: skip
FORMS = (
    "LoCoMo's (a list with session_summary, observation or event_summary), HippoRAG's OpenIE (docs with extracted_triples), "
    "or one JSON object a line with ref, granularity and text"
)
_SUMMARY = re.compile(r"(session_\d+)_summary")
_OBSERVATION = re.compile(r"(session_\d+)_observation")
_EVENTS = re.compile(r"events_(session_\d+)")
_DIALOGUE_ID = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True)
class Given:
    """One extraction. `refs` are what it was made from (turns; else one session or document); or `passage` is its whole text."""

    place: str
    namespace: str | None
    granularity: str
    text: str
    refs: tuple[str, ...] = ()
    passage: str = ""
    subject: str | None = None
    predicate: str | None = None
    object: str | None = None
    start: int | None = None
    end: int | None = None
    event_time: dt.datetime | None = None
    zone: str | None = None
    trust: float = TRUST
    made_by: str = ""


@dataclass(frozen=True)
class Refusal:
    """A record that says nothing usable, and why."""

    place: str
    namespace: str | None
    reason: str
    payload: str


def form_of(file: Path) -> str:
    """`locomo`, `openie` or `jsonl`. Raises `UsageError` for a file that is missing or in none of the forms."""
    return _opened(file)[0]


def read_given(file: Path, namespace: str | None = None) -> Iterator[Given | Refusal]:
    """Every extraction of a file, in its order. `namespace` is the one its sources were ingested under, if one was given."""
    form, content = _opened(file)
    if form == "locomo":
        yield from _locomo(content, namespace)
    elif form == "openie":
        yield from _openie(content, namespace)
    else:
        yield from _plain(content, namespace)


def _opened(file: Path) -> tuple[str, Any]:
    if not file.is_file():
        raise UsageError(f"--extractions {file}: there is no such file")
    raw = file.read_bytes()
    content = _parsed(raw)
    if isinstance(content, dict) and _is_openie(content):
        return "openie", content["docs"]
    samples = content if isinstance(content, list) else [content]
    if samples and all(isinstance(s, dict) and "sample_id" in s for s in samples):
        return "locomo", samples
    lines = [line for line in raw.splitlines() if line.strip()]
    first = _parsed(lines[0]) if lines else None
    if isinstance(first, dict) and {"ref", "granularity"} <= first.keys():
        return "jsonl", lines
    raise UsageError(f"--extractions {file.name} is no file of extractions: it must be {FORMS}")


def _is_openie(content: dict) -> bool:
    docs = content.get("docs")
    return isinstance(docs, list) and any(isinstance(d, dict) and "extracted_triples" in d for d in docs)


def _parsed(line: bytes) -> Any:
    """The JSON value, None where it is none. HippoRAG's own files hold NaN, which only the standard parser takes."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _locomo(samples: list[dict], namespace: str | None) -> Iterator[Given | Refusal]:
    for sample in samples:
        own = namespace or str(sample["sample_id"])
        conversation = qualify(own, str(sample["sample_id"]))
        for key, found in _dict(sample.get("session_summary")).items():
            if match := _SUMMARY.fullmatch(key):
                yield _text("summary", found, f"{conversation}/{key}", own, (f"{conversation}/{match[1]}",), "locomo")
        for key, found in _dict(sample.get("observation")).items():
            if match := _OBSERVATION.fullmatch(key):
                yield from _observations(found, f"{conversation}/{key}", own, conversation, match[1])
        for key, found in _dict(sample.get("event_summary")).items():
            if match := _EVENTS.fullmatch(key):
                for place, text in _listed(found, f"{conversation}/{key}"):
                    yield _text("note", text, place, own, (f"{conversation}/{match[1]}",), "locomo")


def _observations(found: Any, place: str, own: str, conversation: str, session: str) -> Iterator[Given | Refusal]:
    for at, item in _listed(found, place):
        text, cited = (item[0], item[1]) if isinstance(item, list) and len(item) == 2 else (item, None)
        ids = _DIALOGUE_ID.findall(" ".join(map(str, cited)) if isinstance(cited, list) else str(cited or ""))
        refs = tuple(dict.fromkeys(f"{conversation}/D{int(s)}:{int(turn)}" for s, turn in ids))
        yield _text("fact", text, at, own, refs or (f"{conversation}/{session}",), "locomo")


def _listed(found: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The items of each speaker's list; what is no list (a date) is not an extraction."""
    for speaker, items in _dict(found).items():
        if isinstance(items, list):
            yield from ((f"{place}/{speaker}/{n}", item) for n, item in enumerate(items, 1))


def _text(kind: str, text: Any, place: str, own: str, refs: tuple[str, ...], made_by: str) -> Given | Refusal:
    if not isinstance(text, str) or not text.strip():
        return Refusal(place, own, f"a {kind} without text", _payload(text))
    return Given(place, own, kind, text.strip(), refs, made_by=made_by)


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _openie(docs: list[dict], namespace: str | None) -> Iterator[Given | Refusal]:
    for n, doc in enumerate(docs, 1):
        place = f"docs/{n}"
        passage = doc.get("passage") or doc.get("text") if isinstance(doc, dict) else None
        if not isinstance(passage, str) or not passage.strip():
            yield Refusal(place, namespace, "a document without passage: nothing can be found by it", _payload(doc))
            continue
        for i, name in enumerate(dict.fromkeys(map(str, doc.get("extracted_entities") or [])), 1):
            if name.strip():
                yield Given(f"{place}/entity-{i}", namespace, "entity", name.strip(), passage=passage, made_by="openie")
        seen = set()
        for i, parts in enumerate(doc.get("extracted_triples") or [], 1):
            at = f"{place}/triple-{i}"
            if not _is_triple(parts):
                yield Refusal(at, namespace, "a triple must be three texts", _payload(parts))
            elif tuple(parts) not in seen:
                seen.add(tuple(parts))
                s, p, o = (part.strip() for part in parts)
                yield Given(
                    at, namespace, "triple", f"{s} {p} {o}", passage=passage, subject=s, predicate=p, object=o, made_by="openie"
                )  # fmt: skip


def _is_triple(parts: Any) -> bool:
    return isinstance(parts, list) and len(parts) == 3 and all(isinstance(part, str) and part.strip() for part in parts)


def _plain(lines: list[bytes], namespace: str | None) -> Iterator[Given | Refusal]:
    for n, line in enumerate(lines, 1):
        row = _parsed(line)
        reason = _wrong(row)
        if reason:
            own = row.get("namespace") if isinstance(row, dict) and isinstance(row.get("namespace"), str) else namespace
            yield Refusal(f"line {n}", own, reason, line.decode("utf-8", "replace"))
        else:
            yield _plain_row(row, f"line {n}", namespace)


def _wrong(row: Any) -> str | None:
    """Why a line cannot be taken, or None."""
    if not isinstance(row, dict):
        return "the line is not a JSON object"
    if unknown := sorted(row.keys() - FIELDS):
        return f"unknown fields {unknown}: known are {sorted(FIELDS)}"
    refs = row["ref"] if isinstance(row.get("ref"), list) else [row.get("ref")]
    if not refs or not all(isinstance(ref, str) and ref for ref in refs):
        return "ref must be a turn, session or document as recall prints it, or a list of turns"
    if row.get("granularity") not in PLAIN:
        return f"granularity {row.get('granularity')!r}: use one of {', '.join(PLAIN)}"
    parts = [row.get(name) for name in ("subject", "predicate", "object")]
    if any(parts) and not _is_triple(parts):
        return "subject, predicate and object must be three texts, or none of them"
    if not any(parts) and not (isinstance(row.get("text"), str) and row["text"].strip()):
        return "text is missing"
    if any(not isinstance(row.get(name), (int, type(None))) for name in ("start", "end")):
        return "start and end must be numbers of characters"
    if (row.get("start") is None) != (row.get("end") is None):
        return "start and end belong together"
    if any(not isinstance(row.get(name), (str, type(None))) for name in ("namespace", "extractor")):
        return "namespace and extractor must be texts"
    trust = row.get("trust", TRUST)
    if not isinstance(trust, (int, float)) or not 0 <= trust <= 1:
        return f"trust {trust!r} is not between 0 and 1"
    return _wrong_time(row.get("event_time"))


def _wrong_time(given: Any) -> str | None:
    try:
        _ = None if given is None else dt.datetime.fromisoformat(given)
    except (TypeError, ValueError):
        return f"event_time {given!r} is no ISO 8601 date or time"
    return None


def _plain_row(row: dict, place: str, namespace: str | None) -> Given:
    when = dt.datetime.fromisoformat(row["event_time"]) if row.get("event_time") else None
    zone = f"{when:%z}" or None if when else None
    if when is not None:
        when = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
    parts = {name: row[name].strip() for name in ("subject", "predicate", "object") if row.get(name)}
    return Given(
        place=place,
        namespace=row.get("namespace") or namespace,
        granularity=row["granularity"],
        text=(row.get("text") or " ".join(parts.values())).strip(),
        refs=tuple(row["ref"]) if isinstance(row["ref"], list) else (row["ref"],),
        start=row.get("start"),
        end=row.get("end"),
        event_time=when,
        zone=zone,
        trust=float(row.get("trust", TRUST)),
        made_by=row.get("extractor") or "jsonl",
        **parts,
    )


def _payload(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
