"""A command under guard ends with its time, its parent or its request, and its stamp says the truth."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lib.files import ROOT
from lib.run import guard

PYTHON = sys.executable
GUARD = str(ROOT / "lib" / "run" / "guard.py")
CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(999)']); time.sleep(999)"


def words(folder, *command, limit=60.0, done="stamp"):
    options = [
        "--limit",
        str(limit),
        "--done",
        str(folder / done),
        "--log",
        str(folder / "log"),
    ]
    return [PYTHON, GUARD, *options, "--label", "a run", "--", *command]


def guarded(folder, *command, **options):
    return subprocess.Popen(words(folder, *command, **options), stdout=subprocess.PIPE, text=True)


def failed(folder):
    assert not (folder / "stamp").exists()
    return json.loads((folder / "stamp.failed").read_text())


def until(condition, patience=300):  # less than the commands sleep
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_success_leaves_a_stamp_with_the_records_noted(tmp_path):
    note = "import os; open(os.environ['EXPERIMENT_LEDGER'], 'a').write('b\\na\\nb\\n')"
    process = guarded(tmp_path, PYTHON, "-c", note)
    assert "a run: done in" in process.communicate()[0] and process.returncode == 0
    assert json.loads((tmp_path / "stamp").read_text())["records"] == ["a", "b"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "stamp"]


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("raise ValueError('what went wrong')", 1, "ValueError: what went wrong"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            137,
            "killed by SIGKILL, often because memory ran out",
        ),
        ("import sys; sys.exit(3)", 3, "it said nothing"),
    ],
)
def test_failure_leaves_its_reason_and_no_stamp(tmp_path, code, status, reason):
    (tmp_path / "stamp").write_text("of an earlier run")
    process = guarded(tmp_path, PYTHON, "-c", code)
    assert "FAILED" in process.communicate()[0] and process.returncode == status
    assert reason in failed(tmp_path)["reason"]


KERNEL = """
import pathlib, sys
tries = pathlib.Path('tries')
tries.write_text(tries.read_text() + 'x' if tries.exists() else 'x')
if len(tries.read_text()) < {needed}:
    print("zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:46017')")
    sys.exit('RuntimeError: Kernel died before replying to kernel_info')
"""


@pytest.mark.parametrize(("needed", "tries"), [(2, 2), (3, 3), (9, 3)])
def test_a_kernel_whose_port_was_taken_is_started_again_twice(tmp_path, monkeypatch, needed, tries):
    monkeypatch.chdir(tmp_path)
    process = guarded(tmp_path, PYTHON, "-c", KERNEL.format(needed=needed))
    said = process.communicate()[0]
    assert len((tmp_path / "tries").read_text()) == tries and (process.returncode == 0) == (
        needed <= 3
    )
    assert ("done in" in said) if needed <= 3 else ("Kernel died" in failed(tmp_path)["reason"])


def test_a_kernel_that_died_for_another_reason_is_not_started_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guarded(
        tmp_path, PYTHON, "-c", KERNEL.format(needed=9).replace("Address already in use", "Killed")
    ).communicate()
    assert len((tmp_path / "tries").read_text()) == 1


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path):
    process = guarded(tmp_path, PYTHON, "-c", CHILD, limit=2.0)
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 2)
    family = psutil.Process(process.pid).children(recursive=True)
    assert "longer than its limit of 2 s" in process.communicate()[0] and process.returncode == 124
    assert not any(member.is_running() for member in family)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_guard_that_is_asked_to_stop_ends_everything(tmp_path, number):
    process = guarded(tmp_path, PYTHON, "-c", CHILD)
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 2)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.wait(300)
    assert (
        not any(member.is_running() for member in family)
        and "asked to stop" in failed(tmp_path)["reason"]
    )


def test_nothing_outlives_the_parent(tmp_path):
    parent = subprocess.Popen(
        [
            PYTHON,
            "-c",
            f"import subprocess; subprocess.run({words(tmp_path, PYTHON, '-c', CHILD)!r})",
        ]
    )
    until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) == 3)
    family = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    until(lambda: not any(member.is_running() for member in family))
    assert "the engine that started it is gone" in failed(tmp_path)["reason"]


def test_a_parent_that_died_before_the_guard_looked_is_noticed(tmp_path):
    gone = subprocess.Popen([PYTHON, "-c", "pass"])
    gone.wait()
    process = subprocess.Popen(
        [
            *words(tmp_path, PYTHON, "-c", CHILD)[:2],
            "--parent",
            str(gone.pid),
            *words(tmp_path, PYTHON, "-c", CHILD)[2:],
        ]
    )
    assert process.wait(300) == 143 and "is gone" in failed(tmp_path)["reason"]


@pytest.mark.skipif(sys.platform != "linux", reason="adopting orphans is Linux's")
def test_a_grandchild_does_not_outlive_a_command_that_was_killed(tmp_path):
    """As torchrun's workers, which have a session of their own."""
    code = CHILD.replace("time.sleep(999)'])", "time.sleep(999)'], start_new_session=True)")
    process = guarded(tmp_path, PYTHON, "-c", code)
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 2)
    command, grandchild = psutil.Process(process.pid).children(recursive=True)
    command.kill()
    assert process.wait(300) == 137 and not grandchild.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_killed_guard_takes_its_command_with_it(tmp_path):
    process = guarded(tmp_path, PYTHON, "-c", "import time; time.sleep(999)")
    until(lambda: psutil.Process(process.pid).children())
    command = psutil.Process(process.pid).children()[0]
    until(lambda: "sleep(999)" in " ".join(command.cmdline()))
    process.kill()
    until(lambda: not command.is_running() or command.status() == psutil.STATUS_ZOMBIE)


def test_a_place_that_cannot_be_written_is_an_error_and_not_a_stamp(tmp_path):
    (tmp_path / "file").write_text("")
    process = guarded(tmp_path, PYTHON, "-c", "pass", done="file/stamp")
    said = process.communicate()[0]
    assert (
        process.returncode == 1
        and "FAILED" in said
        and ("File exists" in said or "Not a directory" in said)
    )


def test_who_waits_is_told_when_a_run_begins_how_far_it_is_and_when_it_ends(
    tmp_path, monkeypatch, capsys
):
    cells = [
        {"cell_type": "code", "metadata": {"papermill": {"status": s}}}
        for s in ("completed", "running", "pending")
    ]
    book = tmp_path / "executed.ipynb"
    book.write_text(json.dumps({"cells": [{"cell_type": "markdown", "metadata": {}}, *cells]}))
    monkeypatch.setattr(guard, "FIRST_WORD", 0.2)
    slow = [PYTHON, "-c", "import time; time.sleep(4)"]
    asked = words(tmp_path, *slow)[2:]
    options = guard.parse([f"--executed={book}", *asked])
    process = subprocess.Popen(slow)
    assert guard.wait(process, options, time.monotonic() + 60) is None
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "a run: 0 s, 1 of 3 cells" and 3 <= len(told) <= 5, "0.2, 0.4, 0.8, 1.6, 3.2"
    said = guarded(tmp_path, PYTHON, "-c", "pass").communicate()[0].splitlines()
    assert said[0] == "a run: begun" and said[1].startswith("a run: done in")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', '{"cells": [3]}'])
def test_a_notebook_that_is_being_written_is_no_matter(tmp_path, text):
    book = tmp_path / "executed.ipynb"
    assert guard.cells_done(book) == guard.cells_done(None) == ""
    book.write_text(text)
    assert guard.cells_done(book) == ""
