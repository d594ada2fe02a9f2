"""What a deployment asks for: the forms of the Prefect UI, the arguments of the command line, and one set of rules for both.

A form's schema checks types, choices and bounds; what it cannot check (an order of two days, names that settings must have) is
checked by `BackfillForm.window` and `check_names`, which the command line calls before it starts and a flow in its first line.
"""

import datetime as dt
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.errors import UsageError

DAYS_BACK = 7


class StageName(StrEnum):
    """Stages that a backfill can be asked for, in order."""

    read = "read"
    segment = "segment"
    embed = "embed"
    bound = "bound"
    extract = "extract"
    resolve = "resolve"
    embed_derived = "embed_derived"
    near_duplicates = "near_duplicates"
    link = "link"


Mode = Literal["missing", "failed", "stale", "all"]
Profile = Annotated[
    Literal["local", "cluster"], Field(description="Where stages run: in one process, or on Ray and Spark.")
]
Reason = Annotated[str, Field(max_length=500, description="Why; kept in the ledger and shown beside the snapshot.")]


class Form(BaseModel):
    """What all forms are. Each lists `profile` and `reason` itself, last: the UI shows fields in the order of their definition."""

    model_config = ConfigDict(extra="forbid")


class Asked(Protocol):
    """What every form says besides its own fields."""

    profile: Literal["local", "cluster"]
    reason: str


class NightlyForm(Form):
    """The nightly ingest: every day of every corpus that has a source and no completed run."""

    corpora: list[str] = Field(default=[], description="Names in [corpora] of the settings; none means all.")
    max_parallel: int = Field(
        default=7,
        ge=1,
        le=366,
        description="Days worked on together: published at once, and the store is free for others before the next ones.",
    )
    profile: Profile = "local"
    reason: Reason = ""


class BackfillForm(Form):
    """A range of days to compute again."""

    from_day: dt.date | None = Field(
        default=None, description=f"First day; empty: {DAYS_BACK} days up to the last one."
    )
    to_day: dt.date | None = Field(default=None, description="Last day, included; empty: yesterday.")
    corpora: list[str] = Field(default=[], description="Names in [corpora] of the settings; none means all.")
    stages: list[StageName] = Field(
        default=[],
        description="Only days on which one of these has to be done; what depends on it follows. None means all.",
    )
    mode: Mode = Field(
        default="missing",
        description="missing: no completed run, failed ones included. failed: the last run failed. stale: the source or the code "
        "has changed since. all: compute again whatever is there.",
    )
    max_parallel: int = Field(
        default=7,
        ge=1,
        le=366,
        description="Days worked on together: published at once, and the store is free for others before the next ones.",
    )
    newest_first: bool = Field(default=False, description="Publish the newest days first.")
    dry_run: bool = Field(default=False, description="Only say what would be done.")
    profile: Profile = "local"
    reason: Reason = ""

    @model_validator(mode="after")
    def _ordered(self) -> "BackfillForm":
        if self.from_day and self.to_day and self.from_day > self.to_day:
            raise ValueError(f"from_day {self.from_day} comes after to_day {self.to_day}: swap them")
        return self

    def window(self, today: dt.date) -> tuple[dt.date, dt.date]:
        """(first day, last day) of the range. Raises `UsageError` where it lies in the future or is turned round."""
        last = self.to_day or today - dt.timedelta(days=1)
        first = self.from_day or last - dt.timedelta(days=DAYS_BACK - 1)
        if first > last:
            raise UsageError(f"from_day {first} comes after to_day {last}: give an earlier first day")
        if first > today:
            raise UsageError(f"from_day {first} lies in the future: today is {today}")
        return first, last


class CompactForm(Form):
    """Housekeeping: old snapshots, files that no snapshot names, many small ledger files, index shards."""

    keep: int = Field(default=30, ge=1, le=10_000, description="Snapshots to keep.")
    dry_run: bool = Field(default=False, description="Only say what would be removed.")
    profile: Profile = "local"
    reason: Reason = ""


class RetentionForm(Form):
    """Time to live, as [[retention]] of the settings says."""

    dry_run: bool = Field(default=False, description="Only say what would be archived.")
    profile: Profile = "local"
    reason: Reason = ""


class EvaluateForm(Form):
    """Labelled sets of [evaluations] against the newest snapshot."""

    evaluations: list[str] = Field(default=[], description="Names in [evaluations] of the settings; none means all.")
    profile: Profile = "local"
    reason: Reason = ""


class ForgetForm(Form):
    """Remove what one namespace or one source brought, from the newest snapshot on."""

    what: Literal["namespace", "source"] = Field(description="What to forget.")
    name: str = Field(min_length=1, description="The namespace, or the source reference (as in `sources.source_ref`).")
    confirm: str = Field(description="The same name once more.")
    dry_run: bool = Field(default=False, description="Only say what would be removed.")
    profile: Profile = "local"
    reason: Reason = ""

    @model_validator(mode="after")
    def _confirmed(self) -> "ForgetForm":
        if self.confirm != self.name:
            raise ValueError(f"confirm {self.confirm!r} is not {self.name!r}: type the name once more")
        return self


def check_names(kind: str, wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    """The wanted names, all known ones where none is given. Raises `UsageError` for a name that settings do not have."""
    have = sorted(known)
    unknown = sorted(set(wanted) - set(have))
    if unknown:
        there = ", ".join(have) if have else "none at all"
        raise UsageError(f"no [{kind}.{unknown[0]}] in the settings: there is {there}")
    return sorted(set(wanted)) or have
