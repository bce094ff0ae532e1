"""Runs in several processes."""

import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from fastlanczos.study.workers import Workers


class Trained:
    """Stands for a run."""

    def __init__(self, name, fails=""):
        self.name, self.fails = name, fails

    def missing(self):
        """Return 1: nothing is done yet."""
        return 1

    def perform(self, done):
        """Tell, or fail as asked."""
        if self.fails == "raises":
            raise ValueError("no such digits")
        if self.fails == "killed":
            os._exit(1)
        done(f"{self.name} in {os.getpid()}")


def test_each_is_performed_once_and_tells_of_it():
    told = []
    with Workers(2) as workers:
        workers.perform([Trained("a"), Trained("b"), Trained("c")], told.append)
        workers.perform([Trained("d"), Trained("e")], told.append)
    assert sorted(text.split()[0] for text in told) == ["a", "b", "c", "d", "e"]
    assert str(os.getpid()) not in {text.split()[-1] for text in told}


def test_one_job_takes_no_process():
    told = []
    with Workers(1) as workers:
        workers.perform([Trained("a"), Trained("b")], told.append)
    assert told == [f"a in {os.getpid()}", f"b in {os.getpid()}"]


def test_an_error_comes_out():
    with Workers(2) as workers, pytest.raises(ValueError, match="no such digits"):
        workers.perform([Trained("a"), Trained("b", "raises")], lambda what: None)


def test_a_process_that_is_killed_is_told():
    with Workers(2) as workers, pytest.raises(RuntimeError, match=r"killed.*--jobs 1"):
        workers.perform([Trained("a"), Trained("b", "killed")], lambda what: None)
