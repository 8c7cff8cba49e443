"""Trained models that come with the code: what their cards say is what they do."""

import json

import pandas as pd
import pytest
import torch

from engine import weights
from lib.files import REPORTS, WEIGHTS
from lib.models.published import load_pretrained
from lib.run import records
from lib.run.experiment import run
from lib.run.settings import Execution, Experiment
from lib.run.sheets import hidden_photograph
from lib.training import Recipe
from lib.windows import compare

OURS = sorted(folder.name for folder in WEIGHTS.iterdir())
MOST_BYTES = 8_000_000


@pytest.fixture(params=OURS)
def name(request):
    return request.param


def found(name):
    return json.loads((WEIGHTS / name / "metrics.json").read_text())


def test_there_is_the_model_that_readme_promises():
    assert "imagenette-mae" in OURS


def test_a_card_is_made_from_its_record_and_what_was_measured(name):
    file = records.find(REPORTS / "results" / "standard", found(name)["key"])
    card = (WEIGHTS / name / "README.md").read_text()
    assert card == weights.card(name, records.read(file), found(name))


def test_a_model_is_small_and_has_the_weights_that_its_record_counts(name):
    folder = WEIGHTS / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < MOST_BYTES
    record = records.read(records.find(REPORTS / "results" / "standard", found(name)["key"]))
    model = load_pretrained(name)
    assert sum(p.numel() for p in model.parameters()) == record.model.parameters
    assert all(torch.equal(p, p.bfloat16().float()) for p in model.parameters())


def test_a_relative_folder_means_the_repository_wherever_one_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = load_pretrained(f"lib/weights/{name}").state_dict()
    assert all(torch.equal(own[key], p) for key, p in load_pretrained(name).state_dict().items())


def test_it_completes_a_photograph_as_well_as_its_card_says(name):
    model = load_pretrained(name).eval()
    row = next(row for row in found(name)["photographs"] if row["hidden"] == 0.75)
    again = compare(model, *hidden_photograph(model, row["photograph"], 0.75))
    assert again.decibels["model"] == pytest.approx(row["model"], abs=0.05)
    assert again.decibels["inpainting"] == pytest.approx(row["inpainting"], abs=0.05)


def test_rounding_to_bf16_changes_nothing_that_a_table_shows(name):
    record = records.read(records.find(REPORTS / "results" / "standard", found(name)["key"]))
    table = weights.measured(record, found(name))
    trained, rounded = (
        pd.to_numeric(table[column]) for column in ("as trained", "rounded to bf16")
    )
    assert (trained - rounded).abs().max() <= 0.02


@pytest.mark.usefixtures("few_photos")
def test_a_finished_run_becomes_a_model_with_a_card(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(weights, "REPORTS", tmp_path)
    monkeypatch.setattr(weights, "SHOWN", ("coffee",))
    monkeypatch.setattr(weights, "RATIOS", (0.9,))
    asked = Experiment(
        dataset="photos",
        subset=60,
        patch_size=8,
        model="mae",
        options={
            "dim": 8,
            "depth": 1,
            "heads": 1,
            "decoder_dim": 8,
            "decoder_depth": 1,
            "decoder_heads": 1,
        },
        test_masks=("random@0.75", "block@0.75", "grid@0.75"),
        recipe=Recipe(epochs=1, batch_size=32, evaluations=5),
        evaluate_images=10,
        probe_images=60,
    )
    where = Execution(output=str(tmp_path), scale="standard", progress=False)
    done = run(asked, where)
    monkeypatch.setattr(weights, "Execution", lambda **given: where)
    weights.publish("toy", asked.key, "data")
    card = (tmp_path / "weights" / "toy" / "README.md").read_text()
    value = done.record.metrics["test"]["random@0.75/psnr_hidden"].value
    assert f"| 10 | {value:.2f} |" in card and "encoder 8 x 1, decoder 8 x 1" in card
    assert "| coffee | " in card and " None" not in card and "{{" not in card
    loaded = load_pretrained(tmp_path / "weights" / "toy")
    assert loaded.space.shape.height == 32


def test_a_run_that_is_not_finished_here_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "REPORTS", tmp_path)
    with pytest.raises(ValueError, match="no finished run of key 0123456789abcdef"):
        weights.publish("toy", "0123456789abcdef", "data")
