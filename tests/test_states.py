"""Weights and states on disk: what is there is whole, and belongs to its run."""

import pytest
import torch
from safetensors.torch import save_file

from lib.run import states
from lib.run.states import States
from lib.training import State


def tensors(value=1.0):
    return {"a": torch.full((3, 2), value), "b": torch.arange(5)}


class At(State):
    """A training's state at a step, of 1000."""

    total = 1000

    def __init__(self, step):
        self.step = step

    def tensors(self):
        return tensors(float(self.step))

    def numbers(self):
        return {"step": self.step}


def test_what_is_saved_is_loaded(tmp_path):
    states.save(tmp_path / "w.safetensors", tensors(), {"key": "x"})
    loaded, about = states.load(tmp_path / "w.safetensors")
    assert about == {"key": "x"}
    assert all(torch.equal(loaded[name], value) for name, value in tensors().items())
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"], "nothing left aside"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
    file = tmp_path / "w.safetensors"
    states.save(file, tensors(), {})
    content = bytearray(file.read_bytes())
    damaged = {
        "truncated": content[:-9],
        "flipped": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        "empty": b"",
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(states.DamagedCheckpoint, match=r"w\.safetensors.*delete it"):
        states.load(file)


def test_no_byte_of_a_file_can_change_unnoticed(tmp_path):
    """Every byte: of the header, of the JSON data, of the tensors."""
    file = tmp_path / "w.safetensors"
    states.save(file, tensors(), {"history": [{"loss": 0.125}], "step": 7})
    whole = file.read_bytes()
    loaded, about = states.load(file)
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found, said = states.load(file)
        except states.DamagedCheckpoint:
            continue
        same = said == about and all(torch.equal(found[name], loaded[name]) for name in loaded)
        assert same, f"byte {place} changed the content"


def test_a_foreign_file_is_not_a_checkpoint(tmp_path):
    save_file(tensors(), tmp_path / "other.safetensors")
    with pytest.raises(states.DamagedCheckpoint, match="not a whole checkpoint"):
        states.load(tmp_path / "other.safetensors")


def test_the_last_two_are_kept_and_the_newest_whole_one_is_used(tmp_path):
    kept = States(tmp_path, "r", every=0.0)
    for step in (1, 2, 3):
        kept.save(At(step))
    assert [file.name for file in states.files(tmp_path)] == [
        "state-000000002.safetensors",
        "state-000000003.safetensors",
    ]
    found, about = kept.latest()
    assert about["step"] == 3 and torch.equal(found["a"], tensors(3.0)["a"])
    newest = states.files(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"state-000000003.*trying the one before"):
        assert kept.latest()[1]["step"] == 2


def test_a_state_of_another_run_is_not_taken(tmp_path):
    States(tmp_path, "key on these images", every=0.0).save(At(5))
    assert States(tmp_path, "key on other images", every=0.0).latest() is None
    assert States(tmp_path, "key on these images", every=0.0).latest() is not None


def test_a_run_that_had_to_go_back_keeps_its_new_states(tmp_path):
    """States that were later and could not be used do not push out those written now."""
    for step in (800, 900):
        States(tmp_path, "of other data", every=0.0).save(At(step))
    own = States(tmp_path, "r", every=0.0)
    for step in (1, 2, 3):
        own.save(At(step))
        assert own.latest()[1]["step"] == step
    assert [int(file.stem[6:]) for file in states.files(tmp_path)] == [2, 3]


def test_a_state_is_due_in_time_and_at_the_end(tmp_path):
    often, seldom = States(tmp_path, "r", every=0.0), States(tmp_path, "r", every=3600.0)
    assert often.due(At(1)) and not seldom.due(At(1)) and seldom.due(At(At.total))


def test_a_state_knows_the_seconds_of_all_sittings(tmp_path, monkeypatch):
    now = iter([100.0, 130.0, 500.0, 501.0, 511.0])
    monkeypatch.setattr(states.time, "monotonic", lambda: next(now))
    States(tmp_path, "r", every=0.0).save(At(1))  # from 100 to 130
    again = States(tmp_path, "r", every=0.0)
    assert again.earlier == 0.0
    again.latest()
    assert again.earlier == 30.0
    again.save(At(2))  # from 501 to 511
    assert states.load(tmp_path / "state-000000002.safetensors")[1]["seconds"] == 40.0


def test_a_half_written_file_is_never_a_state(tmp_path, monkeypatch):
    def dies(*arguments, **names):
        raise OSError("disk full")

    monkeypatch.setattr(states, "save_file", dies)
    kept = States(tmp_path, "r", every=0.0)
    with pytest.raises(OSError, match="disk full"):
        kept.save(At(1))
    assert kept.latest() is None and not list(tmp_path.glob("*.tmp"))


def test_what_is_dropped_is_gone_and_no_more(tmp_path):
    States(tmp_path, "r", every=0.0).save(At(1))
    (tmp_path / "state-000000002.safetensors.77.tmp").write_text("half")
    (tmp_path / "model.safetensors").write_text("weights")
    states.drop(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
