"""`engraph recall`: ask the memory."""

from __future__ import annotations

import dataclasses
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.text import Text

from flows.command_line import options
from schemas.errors import UsageError

SHOWN_CHARACTERS = 320
BATCH = 64


@options.with_session
def recall(
    session: options.Session,
    question: Annotated[str | None, typer.Argument(help="The question.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    namespace: Annotated[list[str] | None, typer.Option(help="Only this namespace; can be repeated.")] = None,
    granularity: Annotated[
        str | None, typer.Option(help="turn, round, segment, session, sentence, passage, ...")
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="The snapshot that was current at this time.")] = None,
    valid_at: Annotated[str | None, typer.Option(help="Only what was true at this time.")] = None,
    asked_at: Annotated[
        str | None, typer.Option(help="The day that `last week` and the like are counted from; default now.")
    ] = None,
    iterate: Annotated[int, typer.Option(min=0, max=5, help="Ask again so often with what was found.")] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Say what brought each hit.")] = False,
    queries: Annotated[Path | None, typer.Option(help="A JSONL file of questions.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers to --queries go (JSONL).")] = None,
) -> int:
    """Answer one question, or many with --queries and --out."""
    if (question is None) == (queries is None):
        raise UsageError(
            'give one question, as in: engraph recall "When ...?", or a file of them with --queries and --out'
        )
    if queries is not None:
        if out is None:
            raise UsageError("--queries needs --out FILE for the answers")
        return _recall_many(session, queries, out, k, iterate)
    assert question is not None
    from jobs.judges import judges
    from jobs.store.reader import open_store
    from pipelines.recall import Query

    with open_store(session.store, as_of=options.moment(as_of, "--as-of")) as opened:
        opened.embed(["warm"])
        begun = time.perf_counter()
        asked = options.moment(asked_at, "--asked-at")
        names = tuple(namespace) if namespace else None
        valid = options.moment(valid_at, "--valid-at")
        query = Query(question, k, names, granularity, valid, asked, session.now, iterate)
        answer = opened.recall_many([query], judges=judges(session.settings), explain=explain)[0]
        seconds = time.perf_counter() - begun
        number = opened.snapshot.number
    if session.as_json:
        document = {"query": question, "snapshot": number, "confidence": round(answer.confidence, 4)}
        hits = [dataclasses.asdict(h) | ({"why": answer.why[h.unit_id]} if explain else {}) for h in answer.hits]
        document |= {"hits": hits, "seconds": round(seconds, 4)} | ({"notes": answer.notes} if explain else {})
        options.print_json(document)
    else:
        _show(answer, seconds, number, explain)
    return 0


def _show(answer, seconds: float, number: int, explain: bool) -> None:
    console = options.console()
    for hit in answer.hits:
        where = ", ".join(dict.fromkeys(s["ref"] for s in hit.source[:3])) + (" ..." if len(hit.source) > 3 else "")
        when = (hit.event_time or "")[:16].replace("T", " ")
        when = f"arrived {when[:10]}" if hit.time_source == "arrival" else when
        head = f"{hit.rank:>2}. [{hit.granularity}] {where}  {when}  score {hit.score:.2f}"
        console.print(Text(head, style="bold"), soft_wrap=True)
        text = " ".join(hit.text.split())
        console.print(Text(textwrap.indent(textwrap.fill(textwrap.shorten(text, SHOWN_CHARACTERS), 100), "    ")))
        if explain:
            for reason in answer.why[hit.unit_id]:
                console.print(Text(f"    - {reason}", style="dim"), soft_wrap=True)
    if explain:
        for note in answer.notes:
            console.print(Text(note[0].upper() + note[1:], style="dim"), soft_wrap=True)
    if not answer.hits:
        console.print("No hits: nothing of that granularity is in the scope.")
    console.print(
        Text(
            f"snapshot {number}, {len(answer.hits)} hits in {1000 * seconds:.0f} ms, confidence {answer.confidence:.2f}",
            style="dim",
        )
    )


def _recall_many(session: options.Session, queries: Path, out: Path, k: int, iterate: int) -> int:
    from jobs.judges import judges
    from jobs.store.reader import open_store
    from pipelines.recall import Answer

    rows = list(_questions(queries))
    by_moment: dict[str | None, list[int]] = {}
    for i, row in enumerate(rows):
        by_moment.setdefault(row.get("as_of"), []).append(i)
    answers: dict[int, Answer] = {}
    for moment, members in by_moment.items():
        with open_store(session.store, as_of=options.moment(moment, "as_of")) as opened:
            for start in range(0, len(members), BATCH):
                batch = members[start : start + BATCH]
                asked = [dataclasses.replace(_query(rows[i], k), now=session.now, iterate=iterate) for i in batch]
                found = opened.recall_many(asked, judges=judges(session.settings))
                answers |= dict(zip(batch, found, strict=True))
    with out.open("wb") as f:
        for i, row in enumerate(rows):
            hits = [dataclasses.asdict(h) for h in answers[i].hits]
            line = {"query_id": row["query_id"], "confidence": round(answers[i].confidence, 4), "hits": hits}
            f.write(orjson.dumps(line) + b"\n")
    if session.as_json:
        options.print_json({"queries": len(rows), "out": str(out)})
    else:
        print(f"{len(rows):,} questions answered in {out}")
    return 0


def _questions(file: Path) -> Iterator[dict]:
    if not file.exists():
        raise UsageError(f"no file {file}: check --queries")
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            yield {"query_id": row.get("query_id", str(number)), "text": row["text"]} | row
        except (orjson.JSONDecodeError, KeyError, AttributeError):
            example = '{"query_id": "q1", "text": "When ...?"}'
            raise UsageError(f"{file} line {number} is no question: a line looks like {example}") from None


def _query(row: dict, k: int):
    from pipelines.recall import Query

    names = row.get("namespace")
    return Query(
        row["text"],
        int(row.get("k") or k),
        (names,) if isinstance(names, str) else tuple(names) if names else None,
        row.get("granularity"),
        options.moment(row.get("valid_at"), "valid_at"),
        options.moment(row.get("asked_at"), "asked_at"),
    )
