"""Conversations in JSON -> turns: LoCoMo, LongMemEval, OpenAI-style chats, ShareGPT, and rows that are one message each.

A shape is known by its keys, record by record. A row that is a message has `text` (or content, message, value) and any of
`namespace`|`user`|`user_id`, `conversation_id`, `session_id`, `speaker`|`name`|`author`, `role`|`from`,
`said_at`|`timestamp`|`time`|`created_at`|`create_time`|`date`, `turn_id`|`message_id`|`id`; without a session the
conversation is the session, without both the file is. Labels are never read: LoCoMo's qa, summaries, observations and
events, LongMemEval's question, answer and has_answer; and since LongMemEval marks its evidence sessions by ids that begin with
`answer_`, that prefix is cut off every session id. The one thing to know: a message that says nothing is refused, not skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.readers import fields
from pipelines.readers.dates import Moment, is_given, read_moment
from pipelines.readers.records import Candidate, Origin, Refused, TurnRecord, undated
from schemas.errors import InvalidRecord
from schemas.ids import qualify

SESSION = re.compile(r"session_(\d+)")
LABEL_PREFIX = "answer_"
CHAT_IDS = ("conversation_id", "chat_id", "id")


@dataclass(frozen=True, slots=True)
class Session:
    """What the messages of one session share. `ref_base` + `joint` + message id or number is their source_ref; an empty
    `ref_base` means that the id alone is."""

    namespace: str
    conversation_id: str
    session_id: str
    ref_base: str
    joint: str = "/"
    when: Moment | None = None
    when_problem: str | None = None
    id_names: tuple[str, ...] = fields.TURN_IDS


def locomo(sample: Mapping[str, Any], origin: Origin, place: str) -> Iterator[Candidate | Refused]:
    """Every `session_N` of a sample, in order of N, with the date and time of the session."""
    sample_id = fields.identifier(sample, ("sample_id",))
    if sample_id is None:
        raise InvalidRecord("a LoCoMo sample without sample_id: give it one, it names the conversation")
    namespace = origin.params.namespace or sample_id
    conversation = qualify(namespace, sample_id)
    numbers = sorted(int(m[1]) for key in sample["conversation"] if (m := SESSION.fullmatch(key)))
    for number in numbers:
        key = f"session_{number}"
        when, problem = _session_time(sample["conversation"].get(f"{key}_date_time"))
        session = Session(
            namespace, conversation, f"{conversation}/{key}", conversation, "/", when, problem, ("dia_id",)
        )
        yield from _session_turns(session, sample["conversation"][key], origin, f"{place}/{key}")


def longmemeval(question: Mapping[str, Any], origin: Origin, place: str) -> Iterator[Candidate | Refused]:
    """Every session of the haystack; the namespace is the question's id."""
    question_id = fields.identifier(question, ("question_id",))
    if question_id is None:
        raise InvalidRecord("a LongMemEval record without question_id: give it one, it names the memory")
    namespace = origin.params.namespace or question_id
    conversation = qualify(namespace, question_id)
    sessions = question["haystack_sessions"]
    ids, dates = question.get("haystack_session_ids") or [], question.get("haystack_dates") or []
    if not all(isinstance(column, list) for column in (sessions, ids, dates)):
        raise InvalidRecord("haystack_sessions, haystack_session_ids and haystack_dates must be lists of equal length")
    taken: dict[str, str] = {}
    for at, messages in enumerate(sessions):
        given = str(ids[at]) if at < len(ids) else f"session_{at + 1}"
        name = _free_name(unlabelled(given), given, taken)
        when, problem = _session_time(dates[at] if at < len(dates) else None)
        session_id = qualify(conversation, name)
        session = Session(namespace, conversation, session_id, session_id, "_", when, problem, ())
        yield from _session_turns(session, messages, origin, f"{place}/{at + 1}")


def unlabelled(session_id: str) -> str:
    """A LongMemEval session id without the prefix that gives the answer away."""
    return session_id.removeprefix(LABEL_PREFIX) or session_id


def _free_name(name: str, given: str, taken: dict[str, str]) -> str:
    """`name`, or `name-2` where another session id became the same by losing its prefix."""
    candidate, number = name, 1
    while taken.setdefault(candidate, given) != given:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def chat(
    value: Mapping[str, Any], origin: Origin, place: str, *, key: str = "messages"
) -> Iterator[Candidate | Refused]:
    """`{messages: [{role, content}]}` with or without ids and times; `key="conversations"` for ShareGPT."""
    namespace = origin.params.namespace or fields.identifier(value, fields.NAMESPACES) or origin.corpus
    conversation = fields.identifier(value, CHAT_IDS)
    session = fields.identifier(value, fields.SESSIONS)
    base = conversation or session or undated(place)
    local = qualify(conversation, session) if conversation and session else base
    when, problem = _session_time(fields.first(value, fields.TURN_TIMES))
    session_id = qualify(namespace, local)
    shared = Session(namespace, qualify(namespace, base), session_id, session_id, "/", when, problem)
    yield from _session_turns(shared, value[key], origin, f"{place}/{key}" if place != origin.ref else f"{place}#{key}")


class MessageRows:
    """Rows that are one message each; counts the messages of every session, so that positions go on across rows."""

    def __init__(self) -> None:
        self.lengths: dict[str, int] = {}

    def turn(self, row: Mapping[str, Any], origin: Origin, place: str) -> Candidate:
        """The turn of one row. Raises `InvalidRecord`."""
        namespace = origin.params.namespace or fields.identifier(row, fields.NAMESPACES) or origin.corpus
        conversation = fields.identifier(row, fields.CONVERSATIONS)
        session = fields.identifier(row, fields.SESSIONS)
        base = conversation or session or undated(origin.ref)
        session_id = qualify(namespace, qualify(conversation, session) if conversation and session else base)
        number = self.lengths.get(session_id, 0) + 1
        ref_base = session_id if fields.identifier(row, fields.TURN_IDS) is None else ""
        record = _turn(Session(namespace, qualify(namespace, base), session_id, ref_base), row, number)
        self.lengths[session_id] = number
        return Candidate(record, row, place)


def _session_time(value: Any) -> tuple[Moment | None, str | None]:
    if not is_given(value):
        return None, None
    try:
        return read_moment(value), None
    except InvalidRecord as problem:
        return None, f"the session's date {problem}"


def _session_turns(session: Session, messages: Any, origin: Origin, place: str) -> Iterator[Candidate | Refused]:
    if not isinstance(messages, list):
        reason = f"a session must be a list of messages, this is a {type(messages).__name__}"
        yield origin.refuse(reason, messages, place, session.namespace)
        return
    for number, message in enumerate(messages, 1):
        try:
            yield Candidate(_turn(session, message, number), message, f"{place}/{number}")
        except InvalidRecord as problem:
            yield origin.refuse(str(problem), message, f"{place}/{number}", session.namespace)


def _turn(session: Session, message: Any, number: int) -> TurnRecord:
    if not isinstance(message, Mapping):
        raise InvalidRecord(
            f"a message must be an object with a text and who said it, this is a {type(message).__name__}"
        )
    speaker, role = fields.speaker_and_role(message)
    text = _spoken(speaker, fields.plain_text(fields.first(message, fields.TEXTS)), message.get("blip_caption"))
    moment, time_source = _said_at(session, message)
    own = fields.identifier(message, session.id_names)
    ref = own or str(number)
    return TurnRecord(
        turn_id=f"{session.session_id}/{ref}",
        namespace=session.namespace,
        conversation_id=session.conversation_id,
        session_id=session.session_id,
        turn_no=number - 1,
        speaker=speaker,
        role=role,
        said_at=moment.at if moment else None,
        zone=moment.zone if moment else None,
        time_source=time_source,  # type: ignore[arg-type]
        text=text,
        source_ref=qualify(session.namespace, f"{session.ref_base}{session.joint}{ref}" if session.ref_base else ref),
    )


def _spoken(speaker: str, said: str, caption: Any) -> str:
    parts = [said.strip(), f"[{caption.strip()}]" if isinstance(caption, str) and caption.strip() else ""]
    if not any(parts):
        raise InvalidRecord("a turn without text: give it a text, or take the turn out")
    return f"{speaker}: {' '.join(part for part in parts if part)}"


def _said_at(session: Session, message: Mapping[str, Any]) -> tuple[Moment | None, str]:
    own = fields.first(message, fields.TURN_TIMES)
    if own is not None:
        return read_moment(own), "turn"
    if session.when_problem:
        raise InvalidRecord(session.when_problem)
    return session.when, "session" if session.when else "arrival"
