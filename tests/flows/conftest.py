"""What the flow tests share: a corpus they write themselves, the command line, and what "the same" means.

`cli` runs commands in forked children of one process that has imported everything (tests/soak/kill_after.py --serve): the real
command line without the seconds of importing. `engraph` starts a process of its own. The corpus is small on purpose.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import engraph as engraph_face

ROOT = Path(__file__).resolve().parents[2]
KILL_AFTER = ROOT / "tests" / "soak" / "kill_after.py"
BUCKETS = "4"
EXACT = (
    "turns", "documents", "memory_units", "memory_units_history", "operations", "mentions", "triples", "entities",
    "quarantine", "given_extractions",
)  # fmt: skip
THRESHOLDED = ("similar", "synonym")

PEOPLE = ("Ann", "Bo", "Carla", "Dmitri")
PLACES = ("Lisbon", "the harbour", "Grenoble", "the old mill", "Oslo", "the greenhouse")
THINGS = ("wooden boat", "sourdough starter", "telescope", "cello", "tomato plants", "bicycle")
SAYINGS = (
    "I took the {thing} to {place} last week and it went better than I feared.",
    "Did you know that my sister Carla moved to {place} in March 2025?",
    "The {thing} needs {n} new parts, they cost {m} euros at the shop in {place}.",
    "We will meet in {place} on 14 May 2026, please bring the {thing}.",
    "I am afraid of flying, so I went to {place} by train; it took {n} hours.",
    "My teacher {person} says that the {thing} is the hardest thing she ever repaired.",
    "{person} and I are learning Portuguese, {n} words a day.",
    "Yesterday I sold my {thing} to {person} for {m} euros.",
)


def saying(n: int) -> str:
    """The n-th thing somebody says; repeats itself only after hundreds."""
    return SAYINGS[n % len(SAYINGS)].format(
        thing=THINGS[n // 3 % len(THINGS)],
        place=PLACES[n // 2 % len(PLACES)],
        person=PEOPLE[n // 5 % len(PEOPLE)],
        n=n % 17 + 2,
        m=n * 7 % 400 + 5,
    )


def messages(namespace: str, session: str, numbers: range, *, day: str) -> list[dict]:
    """Messages `numbers` of a session: number n is said n minutes after nine on `day`."""
    salt = sum(map(ord, namespace + session)) * 11
    return [
        {
            "namespace": namespace,
            "conversation_id": f"{namespace}-talk",
            "session_id": session,
            "message_id": f"{session}-{n}",
            "speaker": PEOPLE[n % 2],
            "said_at": f"{day}T09:{n:02d}:00+01:00",
            "text": saying(salt + n),
        }
        for n in numbers
    ]


GARDEN = """# The garden

## Tomatoes

The tomato plants stand in the greenhouse. They are watered at seven in the morning. Carla picks them in August.

## Bees

Two hives stand behind the old mill. The bees fly from April to October. {bees}
"""
BOAT = """# The boat

The wooden boat was built in Oslo in 1962. Dmitri bought it for 900 euros. {colour}

## Repairs

The keel was replaced in May 2024. The sail is kept in the harbour.
"""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        assert self.out, f"nothing on stdout (exit {self.code}): {self.err}"
        return json.loads(self.out)

    def stage(self, name: str) -> dict:
        return next(s for s in self.json["stages"] if s["stage"] == name)

    def worked(self) -> list[str]:
        """Stages that did something."""
        return [s["stage"] for s in self.json["stages"] if not s["skipped"]]


class Corpus:
    """A folder of files to ingest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def chat(self, name: str, rows: list[dict]) -> Path:
        """A file of messages, one JSON a line."""
        return self.text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def text(self, name: str, content: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def fill(self) -> Corpus:
        """Two conversations of two sessions and two documents."""
        rows = messages("ann", "s1", range(7), day="2026-01-02") + messages("ann", "s2", range(6), day="2026-01-03")
        self.chat("ann.jsonl", rows)
        rows = messages("bo", "s1", range(6), day="2026-01-02") + messages("bo", "s2", range(8), day="2026-01-04")
        self.chat("bo.jsonl", rows)
        self.garden()
        self.boat()
        return self

    def garden(self, bees: str = "The honey is sold in Lisbon.") -> Path:
        return self.text("garden.md", GARDEN.format(bees=bees))

    def boat(self, colour: str = "Its hull is painted red.") -> Path:
        return self.text("boat.md", BOAT.format(colour=colour))


class Server:
    """The warm process behind `cli`."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(KILL_AFTER), "--serve"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def __call__(
        self, *arguments: object, kill_at: int = 0, after: bool = False, listing: Path | None = None, **environment: str
    ) -> Ran:
        """Run one command. `ENGRAPH_...="..."` arguments are its environment."""
        request = {
            "arguments": [str(a) for a in arguments],
            "environment": {"ENGRAPH_BUCKETS": BUCKETS, **environment},
            "kill_at": kill_at,
            "after": after,
            "listing": str(listing) if listing else None,
        }
        return self._ask(request)

    def upkeep(
        self,
        name: str,
        store: Path,
        *,
        now: str,
        kill_at: int = 0,
        after: bool = False,
        listing: Path | None = None,
        **arguments: object,
    ) -> Ran:
        """Call a function of `flows.upkeep`; `json` is what it returned."""
        call = {"name": name, "store": str(store), "now": now, "arguments": arguments}
        listed = str(listing) if listing else None
        return self._ask({"call": call, "environment": {}, "kill_at": kill_at, "after": after, "listing": listed})

    def _ask(self, request: dict) -> Ran:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Ran(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def cli() -> Iterator[Server]:
    """`cli("ingest", ...)` -> `Ran`."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def engraph_script() -> Path:
    """The installed script, for tests that need processes of their own."""
    return Path(sys.executable).with_name("engraph")


@pytest.fixture(scope="session")
def ingest(cli: Server) -> Callable[..., Ran]:
    """`ingest(source, store, day=..., expect=0)`: with --json, under one clock."""

    def run(*sources: object, store: Path, day: str | None = "2026-01-05", expect: int = 0, **more) -> Ran:
        days = ("--day", day) if day else ()
        ran = cli("ingest", *sources, "--store", store, "--json", "--now", "2026-02-01T00:00:00", *days, **more)
        assert ran.code == expect, ran.err
        return ran

    return run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, ingest: Callable[..., Ran]) -> tuple[Path, Path]:
    """(corpus folder, store) of the filled corpus, ingested once; for reading only: take copies with `copied`."""
    folder = tmp_path_factory.mktemp("built")
    corpus = Corpus(folder / "notes").fill()
    ingest(corpus.folder, store=folder / "store")
    return corpus.folder, folder / "store"


@pytest.fixture
def copied(built: tuple[Path, Path], tmp_path: Path) -> tuple[Corpus, Path]:
    """The test's own copies of the filled corpus and its store."""
    shutil.copytree(built[0], tmp_path / "notes")
    shutil.copytree(built[1], tmp_path / "store")
    return Corpus(tmp_path / "notes"), tmp_path / "store"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """An empty corpus folder."""
    return Corpus(tmp_path / "notes")


@pytest.fixture(scope="session")
def corpus_in() -> Callable[[Path], Corpus]:
    """`corpus_in(folder)`: a corpus somewhere else, for fixtures that are made once for many tests."""
    return Corpus


@pytest.fixture(scope="session")
def say() -> Callable[..., list[dict]]:
    """`say(namespace, session, range(7), day="2026-01-05")`: rows of messages."""
    return messages


def rows_of(table: pa.Table) -> list[str]:
    """Rows in an order that does not depend on how they were written."""
    return sorted(repr(sorted(row.items())) for row in table.to_pylist())


def differences(one: Path, other: Path, *, clock: bool = True) -> list[str]:
    """In what two stores are not "the same" (architecture): empty when they are. `clock`: both were written under the same one."""
    with engraph_face.open(one) as a, engraph_face.open(other) as b:
        tables = {
            name: [s.table(name) if clock else _without_clock(name, s.table(name)) for s in (a, b)] for name in EXACT
        }
        found = [f"{name}: {d}" for name, (x, y) in tables.items() if (d := _unequal(rows_of(x), rows_of(y)))]
        found += _unequal_edges(a.table("edges"), b.table("edges"))
        found += _unequal_vectors(a.table("embeddings"), b.table("embeddings"))
    return found


def _without_clock(name: str, table: pa.Table) -> pa.Table:
    clock = ["recorded_at", "at"] + (["valid_to"] if name == "memory_units_history" else [])
    return table.drop_columns([column for column in clock if column in table.column_names])


def _unequal(a: list[str], b: list[str]) -> str:
    if a == b:
        return ""
    only_a, only_b = sorted(set(a) - set(b)), sorted(set(b) - set(a))
    return f"{len(a)} and {len(b)} rows; only in the first: {only_a[:2]}; only in the second: {only_b[:2]}"


def _unequal_edges(a: pa.Table, b: pa.Table) -> list[str]:
    """Decided edges are equal; those above a threshold have Jaccard >= 0.995 and weights within 1e-3."""
    decided = [
        rows_of(pa.Table.from_pylist([r for r in t.to_pylist() if r["relation"] not in THRESHOLDED])) for t in (a, b)
    ]
    found = [f"edges: {d}"] if (d := _unequal(*decided)) else []
    for relation in THRESHOLDED:
        one, other = (
            {(r["source"], r["target"]): r["weight"] for r in t.to_pylist() if r["relation"] == relation}
            for t in (a, b)
        )
        shared, either = one.keys() & other.keys(), one.keys() | other.keys()
        if len(shared) < 0.995 * len(either):
            found.append(
                f"{relation} edges: Jaccard {len(shared) / len(either):.4f}, {sorted(one.keys() ^ other.keys())[:3]}"
            )
        apart = max((abs(one[pair] - other[pair]) for pair in shared), default=0.0)
        if apart > 1e-3:
            found.append(f"{relation} edges: weights differ by {apart:.4f}")
    return found


def _unequal_vectors(a: pa.Table, b: pa.Table) -> list[str]:
    one, other = ({r["content_hash"]: np.array(r["vector"], np.float32) for r in t.to_pylist()} for t in (a, b))
    if a.num_rows != len(one) or b.num_rows != len(other):
        return ["embeddings: a text is embedded twice"]
    if one.keys() != other.keys():
        return [f"embeddings: {len(one)} and {len(other)} texts"]
    worst = min(float(one[h] @ other[h]) for h in one)
    return [f"embeddings: cosine {worst:.5f}"] if worst < 0.9998 else []


@pytest.fixture(scope="session", name="differences")
def differences_fixture() -> Callable[..., list[str]]:
    """`differences(store, other)`: [] where the two are the same."""
    return differences


def listing(store: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time, but locks and pins."""
    files = (f for f in store.rglob("*") if f.is_file() and f.parent.name != "pins" and f.name != "lock.json")
    return {str(f.relative_to(store)): (f.stat().st_size, f.stat().st_mtime_ns) for f in files}


@pytest.fixture(scope="session", name="listing")
def listing_fixture() -> Callable[[Path], dict]:
    """`listing(store)`: name -> (size, mtime)."""
    return listing


@pytest.fixture(scope="session", name="rows_of")
def rows_of_fixture() -> Callable[[pa.Table], list[str]]:
    return rows_of


@dataclass(frozen=True)
class Interrupted:
    """An ingest that is to be killed: the store it starts from, what it ingests, and how it ends and writes undisturbed."""

    corpus: Path
    before: Path
    undisturbed: Path
    writes: list[tuple[str, str]]

    def stage_of(self, path: str) -> str | None:
        """The stage that a write belongs to, as the manifest of its fileset tells; None for ledger, lock and cache."""
        top, folder = path.split("/")[0], (self.undisturbed / path).parent
        if top == "lake":
            return json.loads((folder / "manifest.json").read_text())["stage"]
        return {"index": "index", "snapshots": "publish"}.get(top)


@pytest.fixture(scope="session")
def interrupted(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, cli: Server) -> Interrupted:
    """A second night on top of a published snapshot: a session goes on, one is new, a document is edited."""
    folder = tmp_path_factory.mktemp("interrupted")
    corpus = Corpus(folder / "notes")
    rows = messages("ann", "s2", range(6, 8), day="2026-01-03") + messages("ann", "s3", range(6), day="2026-01-06")
    corpus.chat("ann.jsonl", rows)
    corpus.boat(colour="Its hull is painted blue.")
    shutil.copytree(built[1], folder / "undisturbed")
    list_of_writes = folder / "writes.json"
    ran = cli(*second_night(corpus.folder, folder / "undisturbed"), listing=list_of_writes)
    assert ran.code == 0, ran.err
    writes = [(name, path) for name, path in json.loads(list_of_writes.read_text())]
    return Interrupted(corpus.folder, built[1], folder / "undisturbed", writes)


def second_night(corpus: Path, store: Path) -> list[str]:
    """The command that is killed and run again."""
    return [
        "ingest",
        str(corpus),
        "--store",
        str(store),
        "--day",
        "2026-01-06",
        "--now",
        "2026-02-02T00:00:00",
        "--json",
    ]


@pytest.fixture(scope="session")
def kill_and_rerun(interrupted: Interrupted, cli: Server) -> Callable[..., None]:
    """`kill_and_rerun(folder, kill_at, after)`: fails where a kill at that write hurts a reader, the rerun or `doctor`."""

    def run(folder: Path, kill_at: int, after: bool) -> None:
        store = folder / "store"
        shutil.copytree(interrupted.before, store)
        command = second_night(interrupted.corpus, store)
        killed = cli(*command, kill_at=kill_at, after=after)
        assert killed.code == -9, f"write {kill_at} was never reached: {killed.err}"
        question = "Which colour has the hull of the boat?"
        reader = cli("recall", question, "--granularity", "sentence", "--json", "--store", store)
        assert reader.code == 0, reader.err
        colour = {1: "red", 2: "blue"}[reader.json["snapshot"]]
        assert f"painted {colour}" in reader.json["hits"][0]["text"]
        rerun = cli(*command)
        assert rerun.code == 0 and rerun.json["snapshot"] == 2, rerun.err
        assert differences(store, interrupted.undisturbed) == []
        with engraph_face.open(store) as a, engraph_face.open(interrupted.undisturbed) as b:
            assert (a.snapshot.filesets, a.snapshot.index, a.snapshot.rows) == (
                b.snapshot.filesets,
                b.snapshot.index,
                b.snapshot.rows,
            )
        doctor = cli("doctor", "--store", store)
        assert doctor.code == 0, doctor.out
        shutil.rmtree(store)

    return run


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """One `engraph serve` with the small flows of tests/flows/prefect_server.py, for all tests that leave it as it was."""
    from tests.flows.prefect_server import running_serve, small_plan

    folder = tmp_path_factory.mktemp("served")
    impatient = {  # seconds instead of tens of them, so that tests of lateness and silence need not wait
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "2",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
    }
    with running_serve(folder / "store", deployments=small_plan(folder / "flows"), **impatient) as serve:
        yield serve
