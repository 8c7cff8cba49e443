import pytest
import torch
from safetensors.torch import save_file

from lib import checkpoint


def tensors(value=1.0):
    return {"a": torch.full((3, 2), value), "b": torch.arange(5)}


def test_what_is_saved_is_loaded(tmp_path):
    checkpoint.save(tmp_path / "w.safetensors", tensors(), {"key": "x"})
    loaded, about = checkpoint.load(tmp_path / "w.safetensors")
    assert about == {"key": "x"} and all(torch.equal(loaded[name], value) for name, value in tensors().items())
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"], "nothing is left aside"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_file_is_named(tmp_path, damage):
    file = tmp_path / "w.safetensors"
    checkpoint.save(file, tensors(), {})
    content = bytearray(file.read_bytes())
    content = {"truncated": content[:-9], "flipped": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:], "empty": b""}[damage]
    file.write_bytes(content)
    with pytest.raises(checkpoint.DamagedCheckpoint, match=r"w\.safetensors.*delete it"):
        checkpoint.load(file)


def test_no_byte_of_a_file_can_change_unnoticed(tmp_path):
    """Every byte: of the header, of the JSON data, of the tensors."""
    file = tmp_path / "w.safetensors"
    checkpoint.save(file, tensors(), {"history": [{"loss": 0.125}], "step": 7})
    whole, (loaded, about) = file.read_bytes(), checkpoint.load(file)
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found, said = checkpoint.load(file)
        except checkpoint.DamagedCheckpoint:
            continue
        assert said == about and all(torch.equal(found[name], loaded[name]) for name in loaded), f"byte {place} changed the content"


def test_a_foreign_file_is_not_a_checkpoint(tmp_path):
    save_file(tensors(), tmp_path / "other.safetensors")
    with pytest.raises(checkpoint.DamagedCheckpoint, match="not a whole checkpoint"):
        checkpoint.load(tmp_path / "other.safetensors")


def test_the_last_two_states_are_kept_and_the_newest_whole_one_is_used(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save_state(tmp_path, step, tensors(step), {"run": "r"})
    assert [file.name for file in checkpoint.states(tmp_path)] == ["state-000000002.safetensors", "state-000000003.safetensors"]
    assert checkpoint.latest_state(tmp_path, "r")[1]["step"] == 3
    newest = checkpoint.states(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"state-000000003.*trying the one before"):
        assert checkpoint.latest_state(tmp_path, "r")[1]["step"] == 2


def test_a_run_that_had_to_go_back_keeps_its_new_states(tmp_path):
    """States that were later and could not be used do not push out those that are written now."""
    for step in (800, 900):
        checkpoint.save_state(tmp_path, step, tensors(step), {"run": "of other data"})
    for step in (1, 2, 3):
        checkpoint.save_state(tmp_path, step, tensors(step), {"run": "r"})
        assert checkpoint.latest_state(tmp_path, "r")[1]["step"] == step
    assert [int(file.stem[6:]) for file in checkpoint.states(tmp_path)] == [2, 3]


def test_a_half_written_file_is_never_a_state(tmp_path, monkeypatch):
    def dies(*arguments, **names):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_file", dies)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save_state(tmp_path, 1, tensors(), {"run": "r"})
    assert checkpoint.latest_state(tmp_path, "r") is None and not list(tmp_path.glob("*.tmp"))
