"""The README's tour runs as it stands: its file is written, its commands and its Python are executed in order."""

import re
import shlex
from pathlib import Path

import duckdb
import pytest

from flows.command_line import run
from infra.readme import README, commands, fill, tables

BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MENDED = '"text": "Thanks, I will tell the landlord."}\n'


def tour() -> list[tuple[str, str, str]]:
    text = README.read_text()
    return BLOCK.findall(text[text.index("## A tour") : text.index("## What it reads")])


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Exit codes of the tour's commands, in order."""
    with pytest.MonkeyPatch.context() as here:
        here.chdir(tmp_path_factory.mktemp("tour"))
        here.delenv("ENGRAPH_STORE", raising=False)
        codes = []
        for language, file, body in tour():
            if file:
                Path(file).write_text(body)
            elif language == "python":
                exec(compile(body, "README.md", "exec"), {})
            else:
                if any(c[1] == "snapshots" for _, c in commands_of(body)):
                    chat = Path("chat.jsonl")
                    chat.write_text(chat.read_text().removesuffix('"text": ""}\n') + MENDED)
                codes += [(line, run(arguments[1:])) for line, arguments in commands_of(body)]
        yield codes


def commands_of(body: str) -> list[tuple[str, list[str]]]:
    lines = [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ engraph")]
    return [(line, shlex.split(line)) for line in lines]


def test_the_first_ingest_of_the_tour_refuses_one_message_and_the_second_none_new(walked):
    ingests = [code for line, code in walked if line.startswith("engraph ingest")]
    assert ingests == [3, 0]


def test_the_queries_of_the_readme_run_in_a_bare_duckdb(walked):
    queries = [q for q in Path("queries.sql").read_text().split(";\n") if q.strip()]
    assert len(queries) == 20
    with duckdb.connect("memory/snapshots/2/engraph.duckdb", read_only=True) as con:
        found = [con.execute(query).fetchall() for query in queries]
    assert all(found), [q for q, rows in zip(queries, found, strict=True) if not rows]
    assert "Pixel" in str(found[4]) and found[16][0][0] == "chat/monday/1"


def test_every_other_command_of_the_tour_succeeds(walked):
    others = {line: code for line, code in walked if not line.startswith("engraph ingest")}
    assert len(others) >= 7
    assert set(others.values()) == {0}, others


def test_the_generated_tables_of_the_readme_are_up_to_date():
    text = README.read_text()
    assert text == fill(fill(text, "commands", commands()), "tables", tables()), "run `make readme`"
