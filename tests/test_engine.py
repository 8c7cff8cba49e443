"""Starting the engine: profiles, the lock it hands on, and jobs that a killed one has left."""

import subprocess

import pytest
import yaml

from lib import engine


@pytest.fixture
def started(monkeypatch):
    """Calls `engine.start` and gives the command that it becomes."""

    class Became(Exception):
        pass

    def become(program, words):
        raise Became(*words)

    def start(folder, profile, more=()):
        monkeypatch.setattr(engine.os, "execv", become)
        with engine.reserved(folder) as lock, pytest.raises(Became) as became:
            engine.start(folder, profile, {"plan": "a b.json"}, list(more), lock)
        return became.value.args

    return start


def test_a_folder_is_held_by_one_engine_at_a_time(tmp_path):
    with (
        engine.reserved(tmp_path / "work"),
        pytest.raises(engine.Refused, match="another run works in"),
        engine.reserved(tmp_path / "work"),
    ):
        pass
    with engine.reserved(tmp_path / "work"):
        pass


@pytest.mark.parametrize("profile", sorted(file.parent.name for file in engine.PROFILES.glob("*/config.yaml")))
def test_every_profile_goes_on_after_a_failure_and_trusts_no_dates(profile, started, tmp_path, monkeypatch):
    settings = yaml.safe_load((engine.PROFILES / profile / "config.yaml").read_text())
    assert settings["keep-going"] is True and settings["rerun-triggers"] == ["mtime"]
    monkeypatch.setattr(engine, "cancel_left", lambda name: None)
    words = started(tmp_path / "work", profile, ["--dry-run"])
    assert "--rerun-incomplete" in words and "--nolock" in words and "--dry-run" in words and "plan=a b.json" in words
    assert ("--cluster-generic-submit-cmd" in words) == (profile == "generic")


def test_an_unknown_profile_names_those_there_are(tmp_path):
    with engine.reserved(tmp_path) as lock, pytest.raises(engine.Refused, match=r"no profile 'slrum'.*generic, local, slurm"):
        engine.start(tmp_path, "slrum", {}, [], lock)


def test_slurm_without_slurm_says_what_to_do(monkeypatch):
    monkeypatch.setattr(engine.shutil, "which", lambda program: None)
    with pytest.raises(engine.Refused, match="no Slurm here"):
        engine.cancel_left("mae_x")


def test_only_this_folders_jobs_are_cancelled(monkeypatch, tmp_path, capsys):
    mine, other = engine.jobs_name(tmp_path / "masking"), engine.jobs_name(tmp_path / "elsewhere" / "masking")
    assert mine != other
    calls = []

    def run(words, **options):
        calls.append(words)
        return subprocess.CompletedProcess(words, 0, stdout=f"11 {mine}_abc\n12 {other}_abc\n13 {mine}_def\n14 shell\n")

    monkeypatch.setattr(engine.shutil, "which", lambda program: program)
    monkeypatch.setattr(engine.subprocess, "run", run)
    engine.cancel_left(mine)
    assert calls[-1] == ["scancel", "--full", "11", "13"] and "cancelling 2 Slurm jobs" in capsys.readouterr().out
