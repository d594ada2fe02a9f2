"""A record of the store itself, written back with another text, or a fact that somebody added in SQL: one JSON object a record.

It has the fields of the record under their own names, so that it gets the id it had; `written_back` says of what kind it is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipelines.readers.records import DocumentRecord, TurnRecord
from schemas.errors import InvalidRecord

KEY = "written_back"
_KINDS = {"turn": (TurnRecord, "said_at"), "document": (DocumentRecord, "published_at")}


def written_back(value: Mapping[str, Any]) -> TurnRecord | DocumentRecord:
    """The record. Raises `InvalidRecord` for a correction of what is no turn or document, for a file of written-back rows that
    could not be read, and for fields that are lacking."""
    if "unreadable" in value:
        raise InvalidRecord(
            f"what was written back in SQL cannot be read ({value.get('error')}); the file is kept as {value['unreadable']} "
            "in the store: repair it and take `.unreadable` out of its name, or write the rows again"
        )
    kind = _KINDS.get(str(value[KEY]))
    if kind is None:
        raise InvalidRecord(
            f"{value.get('unit_id')!r} is no turn or document of the store: correct what was delivered, not what was made of it"
        )
    record, moment = kind
    given = {field.name: value.get(field.name) for field in fields(record)}
    optional = {moment, "zone"}
    lacking = [name for name, v in given.items() if v is None and name not in optional]
    if lacking or not all(isinstance(v, str | int) for name, v in given.items() if name not in optional):
        raise InvalidRecord(
            f"a record that was written back needs all its fields, here {lacking} are missing or no text"
        )
    try:
        given[moment] = dt.datetime.fromisoformat(str(given[moment])) if given[moment] else None
    except ValueError:
        raise InvalidRecord(f"{moment} is {given[moment]!r}: give a time as 2026-03-01T09:00:00+00:00") from None
    if given[moment] is None:
        given["time_source"] = "arrival"
    return record(**given)
