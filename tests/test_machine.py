"""What is asked of a machine is there or refused; a training takes the cores that others leave."""

from types import SimpleNamespace

import pytest
import torch

from lib import machine
from lib.machine import Threads, nearest, resolve_device, resolve_precision

# --- devices ----------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine.torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine.torch.backends.mps, "is_available", lambda: False)


NO_DEVICE = [
    "",
    "gpu",
    "cuda:x",
    "cuda:",
    "cuda:-1",
    "cpu:7",
    "cpu\n",
    "CPU",
    "cuda:1:1",
    "x" * 300,
]


@pytest.mark.parametrize("wanted", NO_DEVICE)
def test_text_that_is_no_device_is_refused(two_gpus, wanted):
    with pytest.raises(ValueError, match=r"device .* is no device: use 'auto'") as raised:
        resolve_device(wanted)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("wanted", ["cuda:2", "cuda:9999"])
def test_a_device_that_is_not_there_is_refused(two_gpus, wanted):
    with pytest.raises(ValueError, match=f"device '{wanted}' is not available here"):
        resolve_device(wanted)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_without_an_accelerator_only_the_cpu_is_there(no_gpu, wanted):
    with pytest.raises(ValueError, match=f"device '{wanted}' is not available here"):
        resolve_device(wanted)
    assert resolve_device("cpu") == resolve_device("auto") == torch.device("cpu")


def test_devices_that_are_there_are_taken(two_gpus):
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({}, "float32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx2": True}, "float32"),
    ],
)
def test_bf16_is_chosen_where_the_processor_multiplies_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(machine.torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cpu = torch.device("cpu")
    assert resolve_precision("auto", cpu) == precision
    assert resolve_precision("float32", cpu) == "float32"
    assert resolve_precision("bf16", cpu) == "bf16"


@pytest.mark.parametrize(("slower", "crawling"), [(3, False), (100, True)])
def test_a_precision_that_software_imitates_is_told(monkeypatch, slower, crawling):
    """By its time beside float32's, where the processor does not say that it multiplies bf16."""
    cpu = torch.device("cpu")
    monkeypatch.setattr(machine, "fast_bf16", lambda device: False)
    times = {torch.float32: 1e-4, torch.bfloat16: slower * 1e-4}
    monkeypatch.setattr(machine, "seconds_of_product", times.get)
    assert machine.crawls("bf16", cpu) == crawling
    assert not machine.crawls("float32", cpu)
    monkeypatch.setattr(machine, "fast_bf16", lambda device: True)
    assert not machine.crawls("bf16", cpu)


def test_a_forward_pass_runs_in_the_precision_that_was_chosen():
    layer, x = torch.nn.Linear(3, 3), torch.rand(2, 3)
    for precision, kind in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        with machine.autocast(torch.device("cpu"), precision):
            assert layer(x).dtype == kind


def test_a_set_on_the_cpu_stays_where_it_lies():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert nearest(images, torch.device("cpu")).data_ptr() == images.data_ptr()


def test_a_set_that_would_fill_an_accelerator_stays_in_memory(monkeypatch):
    moved = []
    images = SimpleNamespace(nbytes=100, to=lambda device: moved.append(device) or "moved")
    unchecked = getattr(nearest, "__wrapped__", nearest)  # no tensor, and no such device
    for free, expected in ((201, "moved"), (200, images)):
        monkeypatch.setattr(machine.torch.cuda, "mem_get_info", lambda _, free=free: (free, 999))
        assert unchecked(images, torch.device("cuda")) == expected


# --- threads ----------------------------------------------------------------------------------


@pytest.fixture
def beside(monkeypatch):
    """Four cores and nobody's wish; call it with the number of cores that others keep busy now."""
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


@pytest.mark.parametrize(
    ("busy", "threads"), [(0.0, 4), (0.3, 4), (1.0, 3), (2.6, 1), (3.9, 1), (40.0, 1)]
)
def test_a_training_takes_the_cores_that_others_leave(beside, busy, threads):
    beside(busy)
    Threads()
    assert torch.get_num_threads() == threads


def test_it_looks_again_while_it_trains(beside):
    beside(0.0)
    threads, seen = Threads(), []
    for busy, passed in ((0.0, 5.0), (2.0, 5.0), (0.0, 0.5), (0.0, 5.0)):
        beside(busy)
        machine.time.sleep(passed)
        threads.look()
        seen.append(torch.get_num_threads())
    assert seen == [4, 2, 2, 4], "a moment ago is no reason to look"


@pytest.mark.parametrize("name", machine.THREAD_SETTINGS)
def test_a_number_that_somebody_set_is_kept(beside, monkeypatch, name):
    beside(3.0)
    torch.set_num_threads(2)
    monkeypatch.setenv(name, "2")
    Threads().look(0.0)
    assert torch.get_num_threads() == 2
    monkeypatch.delenv(name)
    Threads(3).look(0.0)
    assert torch.get_num_threads() == 3


def test_what_a_process_does_itself_is_not_the_work_of_others(monkeypatch):
    core = SimpleNamespace(user=25.0, system=3.5, nice=1.5, idle=99.0, iowait=5.0)
    own = SimpleNamespace(user=20.0, system=4.0, children_user=90.0)
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda percpu: [core] * 3)
    monkeypatch.setattr(machine.psutil, "Process", lambda: SimpleNamespace(cpu_times=lambda: own))
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: {0, 2}, raising=False)
    assert machine.others_seconds() == 36, "of the two cores on which this process may run"


# --- memory and provenance --------------------------------------------------------------------


def test_freed_memory_is_a_matter_of_glibc_alone(monkeypatch):
    asked = []
    library = SimpleNamespace(mallopt=lambda *setting: asked.append(setting))
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: library)
    for libc in ("musl", "glibc"):
        monkeypatch.setattr(machine.platform, "libc_ver", lambda: (libc, "2"))  # noqa: B023
        machine.keep_freed_memory()
        assert len(asked) == (3 if libc == "glibc" else 0)


def test_a_description_has_no_name_of_the_host_and_no_path():
    found = machine.describe(torch.device("cpu"), processes=3)
    assert found["processes"] == 3 and found["device"] == "cpu" and found["cores"] >= 1
    assert machine.platform.node() not in map(str, found.values())
    assert not any(str(value).startswith("/") for value in found.values())
