"""Options that all commands share, and what they amount to: `Session`."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from schemas.errors import UsageError
from schemas.settings import Settings, load_settings

Store = Annotated[
    str | None, typer.Option("--store", help="Folder or URL of the store; default ./store or ENGRAPH_STORE.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]
Profile = Annotated[str, typer.Option("--profile", help="Where stages run: local.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file; default engraph.toml beside the store.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Now = Annotated[str | None, typer.Option("--now", help="The clock, ISO 8601; default the real one.")]


@dataclass(frozen=True)
class Session:
    """One command's surroundings."""

    store: str
    as_json: bool
    settings: Settings
    now: dt.datetime


def session(store: str | None, as_json: bool, config: Path | None, now: str | None, profile: str = "local") -> Session:
    """Settings, store and clock of a command.

    Raises:
        UsageError: an option has no meaning.
    """
    if profile != "local":
        raise UsageError(f"profile {profile!r} is not available in this version: use --profile local")
    settings = load_settings(store, config)
    return Session(settings.store, as_json, settings, moment(now, "--now") or dt.datetime.now(dt.UTC))


def moment(text: str | None, option: str) -> dt.datetime | None:
    """An aware time from ISO 8601; without an offset it is UTC."""
    if text is None:
        return None
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no time: write it like 2026-03-01 or 2026-03-01T09:30:00+01:00"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def day(text: str | None, option: str) -> dt.date | None:
    """A day from YYYY-MM-DD."""
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no day: write it like 2026-03-01") from None


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough when piped."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def print_json(value: object) -> None:
    """The one JSON document of a command."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode())
