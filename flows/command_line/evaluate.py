"""`engraph evaluate`: retrieval metrics of a snapshot on a labelled set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.command_line import options
from flows.command_line.progress import Bars
from schemas.errors import UsageError

ALL = "all"
DATASETS = ("locomo", "longmemeval", "multihop", "jsonl")
HEADLINE = ("recall@5", "recall@10", "recall_all@10", "mrr", "ndcg@10", "session_recall_all@3", "session_recall_all@10")
JUDGED = ("recall@5", "recall@10", "session_recall_all@3")


@dataclass(frozen=True)
class Contender:
    """One ranking to be measured: a snapshot under some parameters, or a baseline over it."""

    name: str
    snapshot: int | None = None
    params: Any = None
    baseline: str | None = None


@options.with_session
def evaluate(
    session: options.Session,
    dataset: Annotated[str, typer.Argument(help="locomo, longmemeval, multihop or jsonl.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files with the labelled questions.")],
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Also every channel alone and the fusion without it.")
    ] = False,
    baselines: Annotated[
        str | None,
        typer.Option(help="Also published methods over the same store: names by comma, or all that fit the set."),
    ] = None,
    snapshot: Annotated[int | None, typer.Option(help="An older snapshot.")] = None,
    compare: Annotated[
        str | None, typer.Option(help="A,B, each a snapshot, recall or a baseline: B minus A, question by question.")
    ] = None,
    folds: Annotated[
        str | None, typer.Option(help="Also the spread over parts of the set: namespace, or a number of folds.")
    ] = None,
) -> int:
    """Ask every question of a labelled set and say how well the snapshot recalls."""
    from jobs.engines.profile import engines_of
    from jobs.evaluate_recall import NothingToRank, evaluate_recall
    from jobs.record_evaluation import record
    from jobs.store.reader import open_store

    if dataset not in DATASETS:
        raise UsageError(f"no labelled set of kind {dataset!r}: use one of {', '.join(DATASETS)}")
    if compare and (ablate or baselines or snapshot is not None):
        raise UsageError("--compare A,B names both sides itself: leave out --ablate, --baselines and --snapshot")
    contenders = _pair(compare) if compare else _contenders(ablate, baselines, snapshot)
    found: list = []
    vectors: dict = {}
    with Bars() as bars, engines_of(session.profile, session.settings) as engines:
        for contender in contenders:
            with open_store(session.store, snapshot=contender.snapshot) as opened:
                try:
                    result = evaluate_recall(
                        opened,
                        dataset,
                        paths,
                        params=contender.params,
                        baseline=contender.baseline,
                        ranking=contender.name,
                        folds=folds,
                        vectors=vectors,
                        engine=engines.of("evaluate"),
                        progress=bars,
                    )
                except NothingToRank as problem:
                    if baselines != ALL:
                        raise
                    typer.echo(f"engraph: left out: {problem}", err=True)
                    continue
                record(opened, result, now=session.now)
            found.append(
                (contender.name if contender.baseline or not compare else f"snapshot {result.snapshot}", result)
            )
    options.print_json(_document(found, ablate, compare)) if session.as_json else _show(found, ablate, compare, folds)
    return 0


def _contenders(ablate: bool, baselines: str | None, snapshot: int | None) -> list[Contender]:
    from pipelines.evaluation.ablation import FUSION, ablations
    from pipelines.recall import RecallParams

    found = [Contender(FUSION, snapshot)]
    if ablate:
        found += [Contender(name, snapshot, params) for name, params in ablations(RecallParams()).items()]
    if baselines:
        found += [Contender(name, snapshot, baseline=name) for name in _baselines(baselines)]
    return found


def _baselines(text: str) -> list[str]:
    from pipelines.evaluation.baselines import BASELINES

    names = list(BASELINES) if text == ALL else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in BASELINES:
            raise UsageError(f"no baseline {name!r}: there are {', '.join(BASELINES)}")
    return names


def _pair(text: str) -> list[Contender]:
    from pipelines.evaluation.ablation import FUSION
    from pipelines.evaluation.baselines import BASELINES

    def side(name: str) -> Contender:
        if name in BASELINES:
            return Contender(name, baseline=name)
        if name.isdigit():
            return Contender(FUSION, int(name))
        if name != FUSION:
            known = ", ".join(BASELINES)
            raise UsageError(f"--compare {text!r}: {name!r} is no snapshot's number, `{FUSION}` or baseline ({known})")
        return Contender(FUSION)

    names = [part.strip() for part in text.split(",")]
    if len(names) != 2:
        raise UsageError(f"--compare {text!r}: give two sides, as in --compare 3,4 or --compare dense,recall")
    return [side(name) for name in names]


def _document(found: list, ablate: bool, compare: str | None) -> dict:
    document = found[0][1].to_json()
    if compare:
        a, b = found
        document["compare"] = {"a": a[0], "b": b[0], "metrics": _differences(a[1], b[1])}
    elif len(found) > 1:
        document["rankings"] = {name: result.to_json() for name, result in found}
    if ablate:
        document["ablation"] = [vars(v) | {"holds": v.holds} for v in _verdicts(found)]
    return document


def _differences(a, b) -> dict[str, dict]:
    """metric -> a, b, b - a and its interval, over the questions that both answered."""
    from pipelines.evaluation import compare

    rows: dict[str, dict] = {}
    for left in a.scores:
        for right in b.scores:
            if set(left.metrics) & set(right.metrics):
                rows |= {row.pop("metric"): row for row in compare(left, right).to_pylist()}
    if not rows:
        raise UsageError("the two sides have no metric in common on this set")
    return rows


def _verdicts(found: list) -> list:
    from pipelines.evaluation.ablation import ALONE, verdicts

    alone = {name: result.scores for name, result in found if name.startswith(ALONE)}
    return verdicts(found[0][1].scores, alone, JUDGED)


def _show(found: list, ablate: bool, compare: str | None, folds: str | None) -> None:
    console = options.console()
    names = [m for m in HEADLINE if any(m in result.metrics for _, result in found)]
    table = Table("", "n", *names, box=None, pad_edge=False)
    for name, result in found:
        table.add_row(name, str(result.n), *_cells(result.metrics, names))
    first = found[0][1]
    if len(found) == 1:
        low_high = [f"{first.intervals[m][0]:.2f}-{first.intervals[m][1]:.2f}" for m in names]
        table.add_row("95 % interval", "", *low_high)
        for category, values in sorted(first.by_category.items()):
            table.add_row(category, str(first.n_by_category[category]), *_cells(values, names))
    if folds:
        for name, result in found:
            spreads = [
                f"{result.folds[m].mean:.3f} ± {result.folds[m].sd:.3f}" if m in result.folds else "" for m in names
            ]
            table.add_row(f"{name} over {folds}", "", *spreads)
    console.print(table)
    if compare:
        _show_differences(console, found)
    if ablate:
        _show_verdicts(console, found)
    _show_notes(console, first)


def _cells(values: dict[str, float], names: list[str]) -> list[str]:
    return [f"{values[m]:.3f}" if m in values else "" for m in names]


def _show_differences(console, found: list) -> None:
    (a, left), (b, right) = found
    table = Table("metric", a, b, "difference", "95 % interval", box=None, pad_edge=False)
    for metric, row in _differences(left, right).items():
        if metric in HEADLINE:
            bounds = f"{row['low']:+.3f} to {row['high']:+.3f}"
            table.add_row(metric, f"{row['a']:.3f}", f"{row['b']:.3f}", f"{row['difference']:+.3f}", bounds)
    console.print(table)


def _show_verdicts(console, found: list) -> None:
    head = ("category", "n", "metric", "fusion", "best channel", "", "95 % interval of the difference", "")
    table = Table(*head, box=None, pad_edge=False)
    for v in _verdicts(found):
        worse = "" if v.holds else "fusion is worse"
        bounds = f"{v.low:+.3f} to {v.high:+.3f}"
        table.add_row(v.category, str(v.n), v.metric, f"{v.fusion:.3f}", v.channel, f"{v.best:.3f}", bounds, worse)
    console.print(table)


def _show_notes(console, first) -> None:
    console.print(f"snapshot {first.snapshot}, {first.seconds:.1f} s")
    if first.latency_ms:
        told = first.latency_ms
        console.print(
            f"a question takes {told['p50']:.1f} ms (p99 {told['p99']:.1f}), after encoding "
            f"{told['after_encoding_p50']:.1f} ms (p99 {told['after_encoding_p99']:.1f})"
        )
    if first.confidence:
        c = first.confidence
        console.print(
            f"confidence tells the {c.answerable} answerable questions from the {c.unanswerable} others with AUROC "
            f"{c.auroc:.3f}; expected calibration error {c.calibration_error:.3f}"
        )
    if first.tuned:
        console.print(f"Note: {first.tuned}.", soft_wrap=True)
