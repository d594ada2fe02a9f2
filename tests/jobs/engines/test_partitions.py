"""The local engine: each group is computed once, reused where its input is the same, and reuse never shows in the output."""

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engines.partitions import GROUP, SHARD_ROWS, Group, Partition, Stage, cut_shards, run_partitions
from jobs.run import Run
from jobs.store import ledger
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId
from schemas.errors import EngraphError
from schemas.manifest import Catalogue, StoreInfo
from schemas.tables import TABLES

groups_of_any_size = st.lists(
    st.builds(Group, id=st.text("abc", min_size=1), hash=st.just("h"), rows=st.integers(0, 50)),
    unique_by=lambda g: g.id,
    max_size=40,
)


@given(groups_of_any_size, st.randoms())
def test_shards_hold_every_group_once_whatever_the_order(groups, random):
    shards = cut_shards(groups, rows=60)
    assert [g for shard in shards for g in shard] == sorted(groups, key=lambda g: g.id)
    shuffled = random.sample(groups, len(groups))
    assert cut_shards(shuffled, rows=60) == shards
    assert all(sum(g.rows for g in shard) < 60 + 50 for shard in shards)
    assert all(sum(g.rows for g in shard) >= 60 for shard in shards[:-1])


@dataclass(frozen=True)
class Params:
    factor: int = 1


class Killed(BaseException):
    """Stands for a process that ends in the middle."""


class Counting:
    """A stage over invented groups (id -> content): two tables, so that both are seen to agree, and a list of computed ids."""

    def __init__(self, make, lake) -> None:
        self.make, self.lake = make, lake
        self.computed: list[str] = []
        self.killed_at: str | None = None

    def run(
        self, content: dict[str, tuple[str, int]], params: Params | None = None, *, parent: Run | None = None
    ) -> Run:
        params = params or Params()
        before = parent.catalogue if parent else Catalogue()
        run = Run(
            lake=self.lake,
            info=StoreInfo(buckets=1, created_at=self.make.NOW),
            run_id="r",
            now=self.make.NOW,
            encoder=EncoderId.parse("toy@f32"),
            parent=before,
            catalogue=before.copy(),
        )
        stage = Stage("test", 1, ("assignments", "clusters"), params)
        groups = [Group(id_, hash_, rows) for id_, (hash_, rows) in content.items()]
        inputs = [f"{id_}={hash_}" for id_, (hash_, _) in content.items()]

        def compute(ids: list[str]) -> dict[str, pa.Table]:
            if self.killed_at in ids:
                raise Killed
            self.computed += ids
            return self.tables({id_: content[id_] for id_ in ids}, params.factor)

        run_partitions(run, [Partition(stage, self.make.DAY, 0, tuple(inputs), lambda: groups, compute)])
        return run

    def lake_runs(self) -> list[dict]:
        return ledger.read(self.lake, "runs").sort_by("started_at").to_pylist()

    def tables(self, content: dict[str, tuple[str, int]], factor: int) -> dict[str, pa.Table]:
        """As many rows as a group is large; none of `clusters` for groups that are called e..."""
        day = self.make.DAY
        some = [(id_, hash_, i) for id_, (hash_, rows) in reversed(content.items()) for i in range(min(rows, 3))]
        assignments = [
            {"unit_id": f"{id_}-{i}", "cluster_id": hash_, "level": i * factor, "namespace": "n", "day": day}
            for id_, hash_, i in some
        ]
        clusters = [
            {
                "cluster_id": f"{id_}-{i}",
                "namespace": "n",
                "level": 0,
                "parent_id": None,
                "size": factor,
                "label": hash_,
                "day": day,
            }
            for id_, hash_, i in some
            if not id_.startswith("e")
        ]
        made = {"assignments": assignments, "clusters": clusters}
        owners = {
            "assignments": [id_ for id_, _, _ in some],
            "clusters": [id_ for id_, _, _ in some if not id_.startswith("e")],
        }
        return {
            name: TABLES[name].from_rows(rows).append_column(GROUP, pa.array(owners[name], pa.string()))
            for name, rows in made.items()
        }


@pytest.fixture
def engine(local_lake, make):
    return Counting(make, local_lake)


@pytest.fixture
def elsewhere(tmp_path, make):
    """An engine on another, empty store, to compare with."""
    return Counting(make, Lake(tmp_path / "elsewhere"))


def output(run: Run) -> dict[str, list[dict]]:
    return {t: run.lake.read(t, run.catalogue.select(t)).to_pylist() for t in ("assignments", "clusters")}


CONTENT = {id_: (f"hash of {id_}", SHARD_ROWS // 2) for id_ in ("a", "b", "c", "d", "e", "f", "g")}


def test_every_group_is_computed_once_and_its_rows_are_marked(engine):
    run = engine.run(CONTENT)
    assert sorted(engine.computed) == sorted(CONTENT)
    for table in ("assignments", "clusters"):
        (address,) = run.catalogue.select(table)
        for shard in run.lake.manifest(address).shards:
            rows = run.lake.read_shard(address, shard).to_pylist()
            key = "unit_id" if table == "assignments" else "cluster_id"
            owners = [row[key].split("-")[0] for row in rows]
            for id_, (hash_, a, b) in shard.groups.items():
                assert hash_ == CONTENT[id_][0]
                assert owners[a:b] == [id_] * (b - a)
                assert owners.count(id_) == b - a


def test_running_again_computes_nothing_and_says_so(engine):
    first = engine.run(CONTENT)
    engine.computed.clear()
    again = engine.run(CONTENT, parent=first)
    assert engine.computed == []
    assert again.report("test").skipped
    assert again.catalogue == first.catalogue


def test_shards_that_a_killed_attempt_finished_are_not_computed_again(engine, elsewhere):
    engine.killed_at = "e"
    with pytest.raises(Killed):
        engine.run(CONTENT)
    done = list(engine.computed)
    assert done == ["a", "b", "c", "d"]
    engine.killed_at = None
    run = engine.run(CONTENT)
    assert engine.computed[len(done) :] == ["e", "f", "g"]
    assert output(run) == output(elsewhere.run(CONTENT))


def test_a_killed_attempt_does_not_exist_for_readers(engine):
    engine.killed_at = "e"
    with pytest.raises(Killed):
        engine.run(CONTENT)
    stage = Stage("test", 1, ("assignments",), Params())
    fingerprint = stage.fingerprint([f"{i}={h}" for i, (h, _) in CONTENT.items()])
    assert not engine.lake.complete(engine.make.fileset(fingerprint=fingerprint, stage="test"))


def test_only_groups_that_changed_since_the_parent_are_computed(engine, elsewhere):
    first = engine.run(CONTENT)
    engine.computed.clear()
    changed = {i: c for i, c in CONTENT.items() if i != "b"} | {"c": ("other", 2), "aa": ("new", 5), "h": ("new", 1)}
    second = engine.run(changed, parent=first)
    assert sorted(engine.computed) == ["aa", "c", "h"]
    assert output(second) == output(elsewhere.run(changed))
    report = second.report("test")
    assert (report.rows_in, report.skipped) == (2 + 5 + 1, False)


def test_a_changed_parameter_computes_everything_again(engine, elsewhere):
    first = engine.run(CONTENT)
    engine.computed.clear()
    second = engine.run(CONTENT, Params(factor=2), parent=first)
    assert sorted(engine.computed) == sorted(CONTENT)
    assert second.catalogue != first.catalogue
    assert output(second) == output(elsewhere.run(CONTENT, Params(factor=2)))


def test_going_back_to_an_earlier_input_finds_its_output(engine):
    first = engine.run(CONTENT)
    second = engine.run(CONTENT | {"a": ("other", 1)}, parent=first)
    engine.computed.clear()
    third = engine.run(CONTENT, parent=second)
    assert engine.computed == []
    assert third.catalogue == first.catalogue


def test_a_partition_without_groups_is_complete_and_empty(engine):
    run = engine.run({})
    assert output(run) == {"assignments": [], "clusters": []}
    assert all(run.lake.complete(f) for f in run.catalogue)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abcdefgh"),
            st.builds(lambda text, rows: (f"{text} {rows}", rows), st.sampled_from("xyz"), st.integers(0, SHARD_ROWS)),
            max_size=8,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_output_does_not_show_what_was_reused(tmp_path_factory, nights):
    folder = tmp_path_factory.mktemp("reuse")
    engine, run = Counting(Make, Lake(folder / "nightly")), None
    for content in nights:
        run = engine.run(content, parent=run)
    fresh = Counting(Make, Lake(folder / "once")).run(nights[-1])
    assert output(run) == output(fresh)


class Make:
    """What `Counting` needs where no fixture can be had."""

    DAY = dt.date(2026, 3, 1)
    NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def poisoned(engine: Counting, *ids: str) -> None:
    """From now on computing any of these groups fails."""
    compute = engine.tables

    def tables(content, factor):
        for id_ in ids:
            if id_ in content:
                raise ArithmeticError(f"{id_} cannot be computed\nand more lines")
        return compute(content, factor)

    engine.tables = tables


def test_a_poisoned_group_is_refused_by_name_and_its_shard_goes_on_without_it(engine, elsewhere):
    poisoned(engine, "c")
    run = engine.run(CONTENT)
    healthy = {id_: content for id_, content in CONTENT.items() if id_ != "c"}
    assert output(run) == output(elsewhere.run(healthy))
    for fileset in run.catalogue.select("assignments"):
        assert run.lake.manifest(fileset).refused == {"c": "ArithmeticError: c cannot be computed"}


def test_what_a_stage_refused_is_a_row_of_quarantine(engine):
    poisoned(engine, "a", "f")
    run = engine.run(CONTENT)
    rows = run.lake.read("quarantine", run.catalogue.select("quarantine", stage="test")).to_pylist()
    assert [(r["stage"], r["source_ref"]) for r in rows] == [("test", "a"), ("test", "f")]
    assert rows[0]["reason"] == "stage test cannot take it: ArithmeticError: a cannot be computed"


def test_a_group_that_can_be_computed_again_leaves_quarantine(engine):
    healthy = engine.tables
    poisoned(engine, "c")
    first = engine.run(CONTENT)
    engine.tables = healthy
    second = engine.run(CONTENT | {"c": ("mended", 3)}, parent=first)
    assert second.catalogue.select("quarantine") == []
    assert not any(run_refused(second))


def run_refused(run: Run) -> list[dict]:
    return [run.lake.manifest(f).refused for f in run.catalogue.select("assignments")]


def test_a_stage_that_fails_on_everything_ends_the_run_with_the_error(engine):
    many = {f"g{n:02d}": (f"hash {n}", 10) for n in range(40)}
    poisoned(engine, *many)
    with pytest.raises(EngraphError, match=r"stage test on day 2026-03-01 .* ArithmeticError: g\d\d cannot"):
        engine.run(many)
    row = engine.lake_runs()[-1]
    assert (row["status"], row["engine"]) == ("failed", "local")


def test_a_full_disk_is_nobodys_fault_and_ends_the_run_as_it_is(engine):
    def full(content, factor):
        raise OSError(28, "No space left on device")

    engine.tables = full
    with pytest.raises(OSError, match="No space left"):
        engine.run(CONTENT)
