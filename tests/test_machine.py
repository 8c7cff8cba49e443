"""How many threads a training takes: the cores that others leave, unless somebody has said a number."""

from types import SimpleNamespace

import pytest
import torch

from lib import machine
from lib.machine import Threads


@pytest.fixture
def beside(monkeypatch):
    """Four cores and nobody's wish; call it with the number of cores that other processes keep busy from now on."""
    before, clock, others = torch.get_num_threads(), [0.0], [0.0]
    for name in machine.THREAD_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "TORCHS_CHOICE", 4)

    def load(cores: float) -> None:
        def pass_time(seconds: float) -> None:
            clock[0] += seconds
            others[0] += seconds * cores

        monkeypatch.setattr(machine.time, "sleep", pass_time)
        monkeypatch.setattr(machine.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(machine, "others_seconds", lambda: others[0])

    yield load
    torch.set_num_threads(before)


@pytest.mark.parametrize(("busy", "threads"), [(0.0, 4), (0.3, 4), (1.0, 3), (2.6, 1), (3.9, 1), (40.0, 1)])
def test_a_training_takes_the_cores_that_others_leave(beside, busy, threads):
    beside(busy)
    Threads()
    assert torch.get_num_threads() == threads


def test_it_looks_again_while_it_trains(beside):
    beside(0.0)
    heard, seen = [], []
    progress = Threads().watching(lambda *news: heard.append(news))
    for busy, passed in ((0.0, 5.0), (2.0, 5.0), (0.0, 0.5), (0.0, 5.0)):
        beside(busy)
        machine.time.sleep(passed)
        progress(len(seen), 9)
        seen.append(torch.get_num_threads())
    assert seen == [4, 2, 2, 4] and heard == [(0, 9), (1, 9), (2, 9), (3, 9)], "a moment ago is no reason to look"


@pytest.mark.parametrize("name", machine.THREAD_SETTINGS)
def test_a_number_that_somebody_set_is_kept(beside, monkeypatch, name):
    beside(3.0)
    torch.set_num_threads(2)
    monkeypatch.setenv(name, "2")
    Threads().watching(lambda: None)()
    assert torch.get_num_threads() == 2
    monkeypatch.delenv(name)
    Threads(3).watching(lambda: None)()
    assert torch.get_num_threads() == 3


def test_what_a_process_does_itself_is_not_the_work_of_others(monkeypatch):
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda: SimpleNamespace(user=50.0, system=7.0, nice=3.0, idle=99.0, iowait=5.0))
    own = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=20.0, system=4.0, children_user=90.0))
    monkeypatch.setattr(machine.psutil, "Process", lambda: own)
    assert machine.others_seconds() == 36
