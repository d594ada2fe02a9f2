"""Take in what was written back in SQL: facts and corrections as a source file that is read like any other, feedback as ledger.

A fact is a turn of its namespace in the session `written-back/<day>`. A correction is the turn or document with another text: a
record of the same id, which makes a new version of every unit that shows it; the old ones stay in the history. So both are
counted, quarantined, linked and forgotten like everything that was delivered. The staged rows go after publishing: a run that is
killed before takes them again, from a file with the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from jobs.groups import latest
from jobs.run import Run
from jobs.store import ledger, staging
from jobs.store.staging import Staged
from jobs.store.views import connect
from pipelines.readers import SourceFile
from schemas.ids import qualify

CORPUS = "written-back"


class WrittenBack:
    """What lies staged, as source files of a folder that lives as long as this does."""

    def __init__(self, run: Run) -> None:
        self.run, self.staged = run, staging.take(run.lake)
        self._folder = tempfile.TemporaryDirectory(prefix="engraph-written-back-")
        self.files = self._files()

    def __enter__(self) -> WrittenBack:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _files(self) -> list[SourceFile]:
        files = []
        for one in self.staged:
            lines = [*_facts(one), *_corrections(self.run, one), *_unreadable(one)]
            if lines:
                path = Path(self._folder.name) / f"{one.stem}.jsonl"
                path.write_text(
                    "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
                )
                files.append(SourceFile(str(path), f"{CORPUS}/{path.name}", CORPUS, None))
        return files

    def settle(self) -> None:
        """After publishing: the feedback into the ledger, once, and the staged rows away."""
        if not self.staged:
            return
        held = set(ledger.read(self.run.lake, "feedback")["feedback_id"].to_pylist())
        known = _namespaces(self.run, [r["unit_id"] for one in self.staged for r in one.rows["feedback"]])
        for one in self.staged:
            if one.unreadable:
                staging.set_aside(self.run.lake, one.stem)
                continue
            rows = [_feedback(one, i, row, known) for i, row in enumerate(one.rows["feedback"])]
            ledger.append(self.run.lake, "feedback", [r for r in rows if r["feedback_id"] not in held])
            staging.remove(self.run.lake, one.stem)


def _feedback(one: Staged, i: int, row: dict, known: dict[str, str]) -> dict:
    namespace = known.get(row["unit_id"])
    return row | {"feedback_id": f"{one.stem}/{i}", "namespace": namespace, "snapshot": one.snapshot}


def _namespaces(run: Run, unit_ids: Sequence[str]) -> dict[str, str]:
    if not unit_ids:
        return {}
    sql = "SELECT unit_id, namespace FROM memory_units WHERE unit_id IN (SELECT unnest(?))"
    return dict(connect(run.lake, run.catalogue).execute(sql, [list(unit_ids)]).fetchall())


def _facts(one: Staged) -> list[dict]:
    lines = []
    for i, row in enumerate(one.rows["facts"]):
        said, author = row["event_time"] or row["at"], row["author"] or "user"
        session = qualify(row["namespace"], f"{CORPUS}/{row['at']:%Y-%m-%d}")
        turn = f"{session}/{one.stem}-{i}"
        lines.append(
            {
                "written_back": "turn",
                "turn_id": turn,
                "namespace": row["namespace"],
                "conversation_id": qualify(row["namespace"], CORPUS),
                "session_id": session,
                "turn_no": i,
                "speaker": author,
                "role": "user",
                "said_at": said.isoformat(),
                "zone": "+00:00",
                "time_source": "turn",
                "text": f"{author}: {row['text']}",
                "source_ref": turn,
            }
        )
    return lines


def _corrections(run: Run, one: Staged) -> list[dict]:
    """The last correction of each record; one of something else says so and is refused by the reader."""
    last = {row["unit_id"]: row for row in one.rows["corrections"]}
    lines = []
    for table, key in (("turns", "turn_id"), ("documents", "document_id")):
        where = ds.field(key).isin(pa.array(list(last), pa.string()))
        rows = run.lake.read(table, run.catalogue.select(table), where=where)
        for row in latest(rows, key).to_pylist() if rows.num_rows else ():
            text = last.pop(row[key])["text"]
            moment = "said_at" if table == "turns" else "published_at"
            kept = {k: v for k, v in row.items() if k not in ("content_hash", "record_hash", "day")}
            if table == "turns" and not text.startswith(f"{row['speaker']}: "):
                text = f"{row['speaker']}: {text}"
            arrival = row["time_source"] == "arrival"
            kept |= {"written_back": table[:-1], "text": text, moment: None if arrival else row[moment].isoformat()}
            lines.append(kept)
    lines += [{"written_back": "nothing", "unit_id": u, "correction": r["text"]} for u, r in sorted(last.items())]
    return lines


def _unreadable(one: Staged) -> list[dict]:
    """One line for the reader to refuse, so that the loss is counted and told."""
    if not one.unreadable:
        return []
    name = f"{staging.FOLDER}/{one.stem}.unreadable.duckdb"
    return [{"written_back": "nothing", "unreadable": name, "error": one.unreadable}]


def forget_feedback(run: Run, namespace: str | None, ids: Sequence[str]) -> int:
    """Take feedback on what is forgotten out of the ledger; rows removed."""
    heads = [f"{i}#" for i in ids]

    def mine(row: dict) -> bool:
        own = row["unit_id"] in ids or any(row["unit_id"].startswith(h) for h in heads)
        return own or (
            namespace is not None and (row["namespace"] == namespace or row["unit_id"].startswith(f"{namespace}/"))
        )

    return ledger.drop(run.lake, "feedback", mine)
