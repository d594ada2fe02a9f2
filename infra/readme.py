"""Fills the generated tables of README.md: commands and tables from the code, figures from measuring.

python infra/readme.py            rewrite the tables of commands and columns
python infra/readme.py --check    exit 1 when they are not up to date
python infra/readme.py --figures  measure and rewrite the figures (minutes; needs ENGRAPH_TEST_DATA)
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from flows.command_line import app
from schemas.tables import TABLES

README = Path(__file__).parent.parent / "README.md"


def commands() -> str:
    """One row a command, from its help."""
    rows = ["| command | does |", "|---|---|"]
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        first = (command.help or "").strip().splitlines()[0]
        inner = getattr(command, "commands", None)
        label = f"{name} " + "\\|".join(inner) if inner else name
        rows.append(f"| `engraph {label}` | {first} |")
    return "\n".join(rows)


def tables() -> str:
    """One row a table, from the schemas."""
    rows = ["| table | one row is | columns |", "|---|---|---|"]
    for name, table in TABLES.items():
        columns = ", ".join(f"`{c}`" for c in table.schema.names)
        rows.append(f"| `{name}` | {table.row} | {columns} |")
    return "\n".join(rows)


def _engraph(*arguments: str) -> dict | list:
    done = subprocess.run(["engraph", *arguments, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def figures() -> str:
    """Recall on LoCoMo dev and MuSiQue, embedding against stock, latency of recall, ingest against corpus size."""
    from jobs.benchmarks import as_markdown, caption

    data = Path(os.environ["ENGRAPH_TEST_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        conversations, passages = data / "locomo/locomo_dev.json", data / "musique/musique_train_corpus.json"
        ingested = _engraph("ingest", str(conversations), "--store", store)
        _engraph("ingest", str(passages), "--namespace", "musique", "--store", store)
        locomo = _engraph("evaluate", "locomo", str(conversations), "--store", store)
        multihop = _engraph("evaluate", "multihop", str(data / "musique/musique_train.json"), "--store", store)
    rows = ["| set | metric | value | 95 % interval |", "|---|---|---:|---|"]
    wanted = [(locomo, "LoCoMo dev", m) for m in ("recall@10", "session_recall_all@3", "session_recall_all@10")]
    wanted += [(multihop, "MuSiQue 100", m) for m in ("recall@2", "recall@5", "recall@10") if m in multihop["metrics"]]
    for found, name, metric in wanted:
        low, high = found["intervals"][metric]
        rows.append(
            f"| {name} ({found['n']} questions) | {metric} | {found['metrics'][metric]:.3f} | {low:.3f} to {high:.3f} |"
        )
    rows.append(f"\nIngest of LoCoMo dev ({ingested['rows']['turns']:,} turns): {ingested['seconds']:.0f} s.\n")
    embed = _engraph("bench", "embed", str(data / "sentences.txt.gz"), "--limit", "4000")
    sizes = _engraph("bench", "ingest")
    asked = _engraph("bench", "recall", "--units", "100000")
    tables = "\n\n".join(map(as_markdown, (embed, asked, sizes)))
    return "\n".join([caption(dt.date.today()), "", *rows, tables])


def fill(text: str, name: str, body: str) -> str:
    """The page with the generated part `name` replaced."""
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda m: f"{m[1]}{body}\n{m[2]}", text)


def main(arguments: list[str]) -> int:
    before = README.read_text()
    after = fill(fill(before, "commands", commands()), "tables", tables())
    if "--figures" in arguments:
        after = fill(after, "figures", figures())
    if "--check" in arguments:
        if after != before:
            print("README.md is not up to date: run `make readme`", file=sys.stderr)
        return int(after != before)
    README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
