"""Report: a snapshot and the ledger -> one HTML file that needs nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from jobs.report_contents import contents
from jobs.store.lake import Lake
from pipelines.report import render
from schemas.errors import UsageError
from schemas.settings import Settings, load_settings

NAME = "snapshots/{number}/report.html"
"""Where a night keeps its report: it goes with its snapshot, so that what is forgotten is not kept here."""


def write_report(settings: Settings, out: Path, *, now: dt.datetime, snapshot: int | None = None) -> Path:
    """Write the page of a snapshot (default the newest) to a file; its folder is made where it is missing.

    Raises:
        StoreError: there is no store, or no such snapshot.
        UsageError: nothing can be written there.
    """
    page = render(contents(settings, now=now, snapshot=snapshot))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise UsageError(
            f"cannot write the report to {out} ({problem.strerror}): give another file with --out"
        ) from None
    return out.absolute()


def keep_report(settings: Settings, number: int, *, now: dt.datetime) -> str:
    """Write the page of a snapshot beside it, in the store; returns its address."""
    lake, name = Lake(settings.store), NAME.format(number=number)
    page = render(contents(settings, now=now, snapshot=number))
    lake.write_atomic(name, page.encode())
    return lake.local_path(name).absolute().as_uri() if lake.local else f"{lake.url}/{name}"


def kept_report(store: str, number: int) -> bytes | None:
    """The page that a night kept of a snapshot, None where there is none."""
    return Lake(store).find_bytes(NAME.format(number=number))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report alone: `python -m jobs.write_report --store DIR --out F.html`."""
    from jobs import alone

    parser = alone.parser_of("Write what a store holds and how good it is as one HTML page.")
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    given = parser.parse_args(arguments)

    def job() -> dict:
        settings = load_settings(given.store, given.config)
        return {"path": str(write_report(settings, given.out, now=dt.datetime.now(dt.UTC)))}

    return alone.told(job)


if __name__ == "__main__":
    raise SystemExit(main())
