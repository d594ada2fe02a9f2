"""What every engine promises: all results, a poisoned item as a result of its own, trouble of the surroundings as it is."""

from __future__ import annotations

import os
import pickle
import signal
import sys

import pyarrow as pa
import pytest

from jobs.engines.engine import Failed, ItemFailed
from jobs.engines.isolate import culprits
from schemas.errors import EngraphError, StoreError

for name in ("ray.cloudpickle", "pyspark.cloudpickle"):  # workers cannot import this file
    pickler = pytest.importorskip(name, reason="the cluster profile is not installed: make setup-cluster")
    pickler.register_pickle_by_value(sys.modules[__name__])


def square(n: int) -> int:
    return n * n


def moody(n: int) -> int:
    """Fails on 3, kills its process on 5."""
    if n == 3:
        raise ArithmeticError("three is too much\nfor anybody")
    if n == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return n * n


def missing(n: int) -> int:
    if n == 2:
        raise StoreError("lake/x is missing from the store")
    return n


def full(n: int) -> int:
    raise OSError(28, "No space left on device")


def test_every_item_is_called_once_and_its_result_comes_with_its_number(any_engine):
    assert sorted(any_engine.map(square, range(20))) == [(n, n * n) for n in range(20)]
    assert list(any_engine.map(square, [])) == []


def test_an_exception_is_the_result_of_its_item_and_of_no_other(any_engine):
    found = dict(any_engine.map(moody, [1, 2, 3, 4]))
    failed = found.pop(2)
    assert found == {0: 1, 1: 4, 3: 16}
    assert (failed.error, failed.died) == ("ArithmeticError: three is too much", False)
    assert "in moody" in failed.trace


def test_trouble_of_the_surroundings_ends_the_map_with_its_own_words(any_engine):
    with pytest.raises(StoreError, match="lake/x is missing"):
        list(any_engine.map(missing, range(4)))
    with pytest.raises(OSError, match="No space left on device"):
        list(any_engine.map(full, range(2)))


def test_an_item_that_kills_its_process_fails_alone(other_processes):
    found = dict(other_processes.map(moody, [1, 2, 5, 4]))
    failed = found.pop(2)
    assert found == {0: 1, 1: 4, 3: 16}
    assert isinstance(failed, Failed) and failed.died


def probe(numbers) -> None:
    for n in numbers:
        moody(n)


@pytest.mark.soak
def test_bisection_finds_what_fails_and_what_kills(other_processes):
    found = culprits(other_processes, probe, list(range(8)), Failed("x"), "a stage")
    assert sorted((n, failed.died) for n, failed in found) == [(3, False), (5, True)]


def by_remainder(n: int):
    """Pieces of two kinds under the keys 0 to 2, and one under a negative key."""
    yield n % 3, "numbers", pa.table({"n": [n, n + 100]})
    if n % 2:
        yield n % 3, "odd", pa.table({"n": [n]})
    yield -1, "all", pa.table({"n": [n]})


def gathered(key: int, pieces) -> tuple:
    return key, {kind: sorted(pieces.read(kind)["n"].to_pylist()) for kind in pieces.kinds()}


def test_a_shuffle_brings_together_what_has_one_key(shuffling_engine):
    found = dict(shuffling_engine.group(by_remainder, range(7), gathered))
    assert found == {
        -1: {"all": [0, 1, 2, 3, 4, 5, 6]},
        0: {"numbers": [0, 3, 6, 100, 103, 106], "odd": [3]},
        1: {"numbers": [1, 4, 101, 104], "odd": [1]},
        2: {"numbers": [2, 5, 102, 105], "odd": [5]},
    }
    assert list(shuffling_engine.group(by_remainder, [], gathered)) == []


def spoilt(n: int):
    yield 0, "numbers", pa.table({"n": [n]})
    moody(n)


def unreadable(n: int):
    missing(n)
    yield 0, "numbers", pa.table({"n": [n]})


def test_a_shuffle_says_that_an_item_broke_it(shuffling_engine):
    with pytest.raises(ItemFailed, match="three is too much"):
        list(shuffling_engine.group(spoilt, [1, 2, 3, 4], gathered))
    with pytest.raises(StoreError, match="lake/x is missing"):
        list(shuffling_engine.group(unreadable, range(4), gathered))


def test_a_shuffle_whose_worker_is_killed_by_an_item_says_so_too(spark_engine):
    with pytest.raises(ItemFailed):
        list(spark_engine.group(spoilt, [1, 5, 4], gathered))


def test_a_call_is_unpickled_once_in_a_process_not_once_an_item(other_processes):
    found = dict(other_processes.map(Counted(), range(30)))
    assert sum(first for _, first in found.values()) == len({pid for pid, _ in found.values()})


class Counted:
    """Says in which process it ran and whether it was the first time for this copy."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, n: int) -> tuple[int, bool]:
        self.calls += 1
        return os.getpid(), self.calls == 1


def test_errors_travel_with_their_type_and_words():
    error = pickle.loads(pickle.dumps(EngraphError("do this")))
    assert isinstance(error, EngraphError) and str(error) == "do this"
