"""Starting the engine: profiles, the lock it hands on, and jobs that a killed one has left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engine import snakemake
from lib.files import ROOT

ALL_PROFILES = sorted(file.parent.name for file in snakemake.PROFILES.glob("*/config.yaml"))


@pytest.fixture
def started(monkeypatch):
    """Calls `snakemake.start` and gives the command that it becomes."""

    class Became(Exception):
        pass

    def become(program, words):
        raise Became(*words)

    def start(folder, profile, more=()):
        monkeypatch.setattr(snakemake.os, "execv", become)
        monkeypatch.setattr(snakemake, "leave_out", lambda pattern: None)  # it is this process's
        with snakemake.reserved(folder) as lock, pytest.raises(Became) as became:
            snakemake.start(folder, profile, {"plan": "a b.json"}, list(more), lock)
        return became.value.args

    return start


def test_a_folder_is_held_by_one_engine_at_a_time(tmp_path):
    with (
        snakemake.reserved(tmp_path / "work"),
        pytest.raises(snakemake.Refused, match="another run works in"),
        snakemake.reserved(tmp_path / "work"),
    ):
        pass
    with snakemake.reserved(tmp_path / "work"):
        pass


TAKES_OVER = """
import os, sys
from pathlib import Path
from engine import snakemake

with snakemake.reserved(Path(sys.argv[1])) as lock:
    os.set_inheritable(lock.fileno(), True)
    os.execv("/bin/sh", ["/bin/sh", "-c", "echo started; read line"])
"""


def test_the_lock_is_held_by_the_program_that_takes_over_and_by_nobody_after_it(tmp_path):
    """What makes it a plain flock: the process that took it becomes another program."""
    engine = subprocess.Popen(
        [sys.executable, "-c", TAKES_OVER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout.readline() == "started\n"
    with (
        pytest.raises(snakemake.Refused, match="another run works in"),
        snakemake.reserved(tmp_path),
    ):
        pass
    engine.kill()
    engine.wait()
    with snakemake.reserved(tmp_path):
        pass


@pytest.mark.parametrize("number", [snakemake.errno.ENOLCK, snakemake.errno.EIO])
def test_a_file_system_without_locks_locks_nothing_and_other_errors_are_told(
    number, monkeypatch, tmp_path
):
    def refuse(file, how):
        raise OSError(number, "no")

    monkeypatch.setattr(snakemake.fcntl, "flock", refuse)
    with (tmp_path / "file").open("a") as file:
        if number == snakemake.errno.ENOLCK:
            assert snakemake.taken(file)
        else:
            with pytest.raises(OSError, match="no"):
                snakemake.taken(file)


@pytest.mark.parametrize("profile", ALL_PROFILES)
def test_every_profile_goes_on_after_a_failure_and_trusts_no_dates(
    profile, started, tmp_path, monkeypatch
):
    settings = yaml.safe_load((snakemake.PROFILES / profile / "config.yaml").read_text())
    assert settings["keep-going"] is True
    assert settings["rerun-triggers"] == ["mtime"]
    monkeypatch.setattr(snakemake, "cancel_left", lambda name: None)
    words = started(tmp_path / "work", profile, ["--dry-run"])
    assert {"--rerun-incomplete", "--nolock", "--dry-run", "plan=a b.json"} <= set(words)
    assert Path(words[words.index("--snakefile") + 1]).is_file()
    assert ("--cluster-generic-submit-cmd" in words) == (profile == "generic")


def test_jobs_of_a_killed_engine_are_cancelled_but_not_by_one_that_only_looks(
    started, tmp_path, monkeypatch
):
    cancelled = []
    monkeypatch.setattr(snakemake, "cancel_left", cancelled.append)
    started(tmp_path, "slurm", ["-n"])
    assert cancelled == []
    words = started(tmp_path, "slurm")
    assert cancelled == [words[words.index("--slurm-jobname-prefix") + 1]]


def test_an_unknown_profile_names_those_there_are(tmp_path):
    with (
        snakemake.reserved(tmp_path) as lock,
        pytest.raises(snakemake.Refused, match=r"no profile 'slrum'.*generic, local, slurm"),
    ):
        snakemake.start(tmp_path, "slrum", {}, [], lock)


def test_slurm_without_slurm_says_what_to_do(monkeypatch):
    monkeypatch.setattr(snakemake.shutil, "which", lambda program: None)
    with pytest.raises(snakemake.Refused, match="no Slurm here"):
        snakemake.cancel_left("mae_x")


def test_only_this_folders_jobs_are_cancelled(monkeypatch, tmp_path, capsys):
    mine = snakemake.jobs_name(tmp_path / "masking")
    other = snakemake.jobs_name(tmp_path / "elsewhere" / "masking")
    assert mine != other
    queue = f"11 {mine}_abc\n12 {other}_abc\n13 {mine}_def\n14 shell\n"
    calls = []

    def run(words, **options):
        calls.append(words)
        return subprocess.CompletedProcess(words, 0, stdout=queue)

    monkeypatch.setattr(snakemake.shutil, "which", lambda program: program)
    monkeypatch.setattr(snakemake.subprocess, "run", run)
    snakemake.cancel_left(mine)
    assert calls[-1] == ["scancel", "--full", "11", "13"]
    assert "cancelling 2 Slurm jobs" in capsys.readouterr().out


def test_what_snakemake_says_of_itself_is_left_out_and_what_went_wrong_is_not(tmp_path):
    said = ["Building DAG of jobs...", "", "Execute 2 jobs...", "SyntaxError in file Snakefile:"]
    code = f"""
import os, sys
from engine.snakemake import JARGON, leave_out
leave_out(JARGON)
words = [sys.executable, "-c", "import sys; print(*{said!r}, sep=chr(10), file=sys.stderr)"]
os.execv(words[0], words)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["SyntaxError in file Snakefile:"]
