"""Linear algebra is held to one thread while a question is under way, and is as before when none is."""

import multiprocessing
import threading

import numpy as np  # noqa: F401  (its linear algebra is what is looked at)
import pytest
from threadpoolctl import OpenBLASController, threadpool_info, threadpool_limits

from pipelines.recall.one_thread import one_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library.get("threading_layer") == "pthreads"}


@pytest.fixture(autouse=True)
def two_threads():
    """Set by nobody in particular, or only this thread could change it."""
    limits = threadpool_limits(2, user_api="blas")
    OpenBLASController.clear_controlling_thread()
    assert threads() == {2}
    yield
    limits.restore_original_limits()
    OpenBLASController.clear_controlling_thread()


def test_one_thread_inside_and_as_many_as_before_after_it():
    with one_thread():
        assert threads() == {1}
    assert threads() == {2}


def test_an_error_lifts_the_limit_too():
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert threads() == {2}


def test_questions_that_overlap_leave_it_as_it_was():
    first_is_in, second_is_in = threading.Event(), threading.Event()

    def first() -> None:
        with one_thread():
            first_is_in.set()
            second_is_in.wait(60)

    other = threading.Thread(target=first)
    other.start()
    first_is_in.wait(60)
    with one_thread():
        assert threads() == {1}
        second_is_in.set()
        other.join(60)
        assert threads() == {1}
    assert threads() == {2}


@pytest.mark.parametrize("question_first", [True, False])
def test_somebody_elses_limit_that_overlaps_does_not_stay(question_first):
    """Where the other one takes the question's limit for what was before, the next question lifts it."""
    in_it, may_leave = threading.Event(), threading.Event()

    def somebody() -> None:
        with threadpool_limits(1, user_api="blas"):
            in_it.set()
            may_leave.wait(60)

    other = threading.Thread(target=somebody)
    if question_first:
        with one_thread():
            other.start()
            assert in_it.wait(60)
        may_leave.set()
        other.join(60)
    else:
        other.start()
        assert in_it.wait(60)
        with one_thread():
            may_leave.set()
            other.join(60)
    with one_thread():
        assert threads() == {1}
    assert threads() == {2}


def test_a_child_forked_while_a_question_is_under_way_has_its_threads():
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)

    def ask() -> None:
        before = threads()
        with one_thread():
            inside = threads()
        sender.send((before, inside, threads()))

    with one_thread():
        child = multiprocessing.get_context("fork").Process(target=ask, daemon=True)
        child.start()
    try:
        assert receiver.poll(60), "the child waits for the lock of its parent"
        assert receiver.recv() == ({2}, {1}, {2})
    finally:
        child.kill()
        child.join()
