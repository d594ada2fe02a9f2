"""One job run alone: `python -m jobs.<name> --store DIR ...`, on this machine, by `spark-submit` or by `ray job submit`.

A job takes the newest snapshot's tables by address, brings one stage up to date and prints what it wrote, one JSON document. It
publishes nothing: outputs are found by their fingerprint, so the next ingest or backfill takes them as finished work.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from jobs.engines.profile import engines_of
from jobs.run import Run, start_run
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from schemas.errors import EngraphError, UsageError
from schemas.settings import Settings, load_settings

Work = Callable[[Run, argparse.Namespace, Settings], dict]


def main(stage: str, arguments: Sequence[str] | None = None) -> int:
    """Run a daily stage alone; 0 done, 1 failed, 2 wrong arguments."""
    parser = parser_of(f"Bring the stage `{stage}` up to date on days of the newest snapshot; publish nothing.")
    parser.add_argument(
        "--day", type=dt.date.fromisoformat, action="append", default=[], help="YYYY-MM-DD; default all"
    )
    parser.add_argument("--bucket", type=int, action="append", default=[], help="default all that the day has")

    def work(run: Run, given: argparse.Namespace, settings: Settings) -> dict:
        from jobs.stages import DAILY, Today

        with run.engines.embedder(run.encoder, settings.workers) as embedder:
            for day in _days(run, given.day):
                DAILY[stage](Today(run, day, _buckets(run, day, given.bucket), embedder))
        return {}

    return report(stage, parser.parse_args(arguments), work)


def parser_of(description: str) -> argparse.ArgumentParser:
    """The arguments that every job has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--store", help="folder or URL of the store; default ./store or ENGRAPH_STORE")
    parser.add_argument("--profile", choices=("local", "cluster"), default="local", help="where it runs")
    parser.add_argument("--config", type=Path, help="settings; default engraph.toml beside the store")
    return parser


def report(stage: str, given: argparse.Namespace, work: Work) -> int:
    """Do `work` on a run that continues from the newest snapshot and print what the stage wrote; the exit code."""
    return told(partial(_run, stage, given, work))


def told(job: Callable[[], dict]) -> int:
    """Print what a job gives as one JSON document, or its error in one line; the exit code."""
    try:
        print(json.dumps(job(), indent=2, default=str))
    except UsageError as error:
        print(f"engraph: {error}", file=sys.stderr)
        return 2
    except EngraphError as error:
        print(f"engraph: {error}", file=sys.stderr)
        return 1
    return 0


def _run(stage: str, given: argparse.Namespace, work: Work) -> dict:
    settings = load_settings(given.store, given.config)
    lake = Lake(settings.store)
    info = snapshots.open_store(lake)
    wait = settings.lock_wait_s
    with lock.writing(lake, f"jobs {stage}", wait_s=wait), engines_of(given.profile, settings) as engines:
        parent = snapshots.current(lake)
        if parent is None:
            raise UsageError(f"the store at {lake.url} has no snapshot yet: run `engraph ingest SOURCE` first")
        run = start_run(lake, info, parent, now=dt.datetime.now(dt.UTC), encoder=settings.encoder, engines=engines)
        done = work(run, given, settings)
        mine = [f for f in run.catalogue if f.stage == stage]
        written = [f for f in mine if run.parent.get(f.table, f.stage, f.day, f.bucket) != f]
        return done | {
            "run_id": run.run_id,
            "engine": engines.of(stage).name,
            "report": run.report(stage).to_json(),
            "filesets": [dataclasses.asdict(f) for f in written],
        }


def _days(run: Run, asked: list[dt.date]) -> list[dt.date]:
    have = {f.day for table in ("turns", "documents") for f in run.catalogue.select(table)}
    missing = sorted(set(asked) - have)
    if missing:
        raise UsageError(
            f"no records of {missing[0]} in the newest snapshot: `engraph status` lists the days there are"
        )
    return sorted(asked or have)


def _buckets(run: Run, day: dt.date, asked: list[int]) -> list[int]:
    have = {f.bucket for table in ("turns", "documents") for f in run.catalogue.select(table, day=day)}
    return sorted(have & set(asked) if asked else have)
