"""`engraph evaluate`: retrieval metrics of a snapshot on a labelled set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.command_line import options
from flows.command_line.progress import Bars
from schemas.errors import UsageError

DATASETS = ("locomo", "longmemeval", "multihop", "jsonl")
HEADLINE = ("recall@5", "recall@10", "recall_all@10", "mrr", "ndcg@10", "session_recall_all@3", "session_recall_all@10")


@options.with_session
def evaluate(
    session: options.Session,
    dataset: Annotated[str, typer.Argument(help="locomo, longmemeval, multihop or jsonl.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files with the labelled questions.")],
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also every channel alone and the fusion without it.")
    ] = False,
    snapshot: Annotated[int | None, typer.Option(help="An older snapshot.")] = None,
    compare: Annotated[str | None, typer.Option(help="Two snapshots A,B: the difference between them.")] = None,
) -> int:
    """Ask every question of a labelled set and say how well the snapshot recalls."""
    from jobs.engines.profile import engines_of
    from jobs.evaluate_recall import ablations, evaluate_recall, record
    from jobs.store.reader import open_store
    from pipelines.recall import RecallParams

    if dataset not in DATASETS:
        raise UsageError(f"no labelled set of kind {dataset!r}: use one of {', '.join(DATASETS)}")
    numbers = _pair(compare) if compare else [snapshot]
    found = []
    with Bars() as bars, engines_of(session.profile, session.settings) as engines:
        for number in numbers:
            with open_store(session.store, snapshot=number) as opened:
                variants = ablations(RecallParams()) if ablate else {"fusion": RecallParams()}
                for name, params in variants.items():
                    result = evaluate_recall(
                        opened, dataset, paths, params=params, engine=engines.of("evaluate"), progress=bars
                    )
                    found.append((f"snapshot {number}" if compare else name, result))
                record(opened, found[-len(variants)][1], now=session.now)
    if session.as_json:
        document = found[0][1].to_json()
        if ablate:
            document["ablation"] = {name: result.metrics for name, result in found}
        if compare:
            a, b = found[0][1], found[1][1]
            document["compare"] = {m: b.metrics[m] - a.metrics[m] for m in a.metrics if m in b.metrics}
        options.print_json(document)
    else:
        _show(found, by_category=not ablate and not compare)
    return 0


def _pair(text: str) -> list[int]:
    try:
        a, b = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--compare {text!r}: give two snapshot numbers, as in --compare 3,4") from None
    return [a, b]


def _show(found: list, *, by_category: bool) -> None:
    console = options.console()
    names = [m for m in HEADLINE if m in found[0][1].metrics]
    table = Table("", "n", *names, box=None, pad_edge=False)
    for name, result in found:
        table.add_row(name, str(result.n), *(f"{result.metrics[m]:.3f}" for m in names))
    first = found[0][1]
    if by_category:
        low_high = [f"{first.intervals[m][0]:.2f}-{first.intervals[m][1]:.2f}" for m in names]
        table.add_row("95 % interval", "", *low_high)
        for category, values in sorted(first.by_category.items()):
            table.add_row(category, "", *(f"{values[m]:.3f}" if m in values else "" for m in names))
    console.print(table)
    console.print(f"snapshot {first.snapshot}, {first.seconds:.1f} s")
