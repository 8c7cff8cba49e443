"""Weights that are given away: what the card says is what they do."""

import json

import pytest
import torch

from lib import records, share
from lib.experiment import run
from lib.masking import draw
from lib.paths import REPORTS
from lib.pretrained import load_pretrained
from lib.settings import Execution, Experiment
from lib.streams import stream

SHARED = sorted(share.WEIGHTS.glob("*/metrics.json"))


def test_there_are_some():
    assert SHARED


@pytest.mark.parametrize("file", SHARED, ids=lambda file: file.parent.name)
def test_a_card_is_made_from_its_record(file):
    about = json.loads(file.read_text())
    record = records.read(REPORTS / "results" / about["scale"] / f"{about['record']}.json")
    assert (file.parent / "README.md").read_text() == share.card(about, record)
    for name, measure in about["test"].items():
        assert measure["value"] == pytest.approx(record.value(name), rel=0.02), "rounding to bf16 costs next to nothing"


@pytest.mark.parametrize("file", SHARED, ids=lambda file: file.parent.name)
def test_shared_weights_fill_gaps_in_pictures_never_seen(file):
    """Photographs that come with scikit-image: better than each one's own mean colour."""
    from lib.data import load

    model = load_pretrained(file.parent)
    images = load("photos", "test", size=model.space.shape.height).some(64).images.float() / 255
    mask = draw("random", batch=64, grid=model.grid, ratio=0.75, generator=stream(0, "test"))
    hidden = model.space.hidden_pixels(mask).expand_as(images)
    with torch.no_grad():
        error = (model.reconstruct(images, mask) - images)[hidden].square().mean()
    mean = (images.mean(dim=(2, 3), keepdim=True) - images)[hidden].square().mean()
    assert error < mean / 1.8, "2.5 dB"
    assert sum(path.stat().st_size for path in file.parent.iterdir()) < 4e6


def test_a_card_names_the_size_where_the_data_has_its_own():
    """MNIST is trained at its native size, which its record leaves open."""
    files = sorted((REPORTS / "results" / "standard").glob("mnist_mae_*.json"))
    record = next(r for r in map(records.read, files) if not r.parameters.get("fine_tune") and r.parameters["recipe"]["epochs"])
    text = share.card(json.loads(SHARED[0].read_text()) | {"side": 28}, record)
    assert "mnist at 28 pixels" in text and "None" not in text


def test_what_is_shared_is_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(share, "WEIGHTS", tmp_path / "weights")
    options = {"dim": 16, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    recipe = {"epochs": 1, "batch_size": 64, "augment": "flip"}
    asked = Experiment(dataset="digits", image_size=16, subset=64, model="mae", options=options, patch_size=4, recipe=recipe,
                       evaluate_images=16, probe_images=32)  # fmt: skip
    how = Execution(scale="standard", output=str(tmp_path / "reports"), progress=False)
    done = run(asked, how)
    monkeypatch.setattr(share, "Execution", lambda **given: how)
    folder = share.share(records.find(how.results, asked.key), "tiny", "data")
    ours, theirs = done.model.state_dict(), load_pretrained(folder).state_dict()
    assert all(torch.equal(ours[name].bfloat16().float(), theirs[name]) for name in ours if not name.startswith("space."))
    assert "digits at 16 pixels, 64 training images" in (folder / "README.md").read_text()
