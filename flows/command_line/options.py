"""Options that all commands share, and what they amount to: `Session`."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import orjson
import typer
from rich.console import Console

from schemas.errors import UsageError
from schemas.settings import Settings, load_settings


@dataclass(frozen=True)
class Session:
    """One command's surroundings."""

    store: str
    as_json: bool
    settings: Settings
    now: dt.datetime
    profile: str
    config: Path | None = None


def _common(
    store: Annotated[
        str | None, typer.Option("--store", help="Folder or URL of the store; default ./store or ENGRAPH_STORE.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")] = False,
    profile: Annotated[
        Literal["local", "cluster"],
        typer.Option("--profile", help="Where stages run: in this process, or on Ray and Spark."),
    ] = "local",
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings; default engraph.toml beside the store.")
    ] = None,
    now: Annotated[str | None, typer.Option("--now", help="The clock, ISO 8601; default the real one.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> Session:
    """The options that every command has. `debug` is looked at where errors are caught.

    Raises:
        UsageError: an option has no meaning.
    """
    settings = load_settings(store, config)
    clock = moment(now, "--now") or dt.datetime.now(dt.UTC)
    return Session(settings.store, as_json, settings, clock, profile, config)


def _parameters(function: Callable) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters
    return {name: p.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY) for name, p in found.items()}


def with_session(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the common options; they reach it as its first parameter, `session`."""
    common, own = _parameters(_common), _parameters(function)
    del own["session"]

    @functools.wraps(function)
    def command(**given: Any) -> int:
        session = _common(**{name: given.pop(name) for name in common})
        return function(session, **given)

    parameters = {**own, **common}
    command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return command


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
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=_plain).decode())


def _plain(value: object) -> object:
    """DuckDB sums integers into 128-bit decimals; everything else that JSON lacks becomes text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
    return value.hex() if isinstance(value, bytes) else str(value)
