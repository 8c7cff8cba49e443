"""A record is stale where today's code would give another key to its parameters, and says why."""

from dataclasses import replace

import pytest

from lib import masking, training
from lib.models.family import MODELS
from lib.run import records, stale
from lib.run.experiment import run
from lib.run.settings import Execution, Experiment
from lib.training import Recipe

SMALL = {"dataset": "digits", "subset": 60, "evaluate_images": 10, "probe_images": 40}
NARROW = {"hidden": [8], "latent": 2}
MODELS_RUN = {
    "adversarial": {"options": NARROW | {"discriminator": [8]}, "recipe": Recipe(epochs=1)},
    "autoencoder": {"options": NARROW, "recipe": Recipe(epochs=1)},
    "mae": {"options": {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8}},  # untrained
    "pca": {"test_masks": ("random@0.75", "block@0.75")},
    "raw_pixels": {},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of real records: two that were trained, one that was not, two baselines."""
    place = tmp_path_factory.mktemp("stale")
    how = Execution(output=str(place), scale="standard", threads=1, progress=False)
    for model, given in MODELS_RUN.items():
        run(Experiment(model=model, **SMALL, **given), how, need_model=False)
    return how.results


@pytest.fixture
def made(results):
    return records.read_all(results)


def raised(entry):
    """A component whose results have changed."""
    return replace(entry, version=entry.version + 1)


def touched(found) -> set[str]:
    return {record.model.family for record in found if stale.reasons(record)}


def test_records_of_todays_code_are_not_stale(made):
    assert len(made) == len(MODELS_RUN)
    assert touched(made) == set()


def test_a_new_version_makes_stale_what_it_touches_and_names_it(made, monkeypatch):
    entry = MODELS["adversarial"]
    monkeypatch.setitem(MODELS.entries, "adversarial", raised(entry))
    assert touched(made) == {"adversarial"}
    (record,) = [record for record in made if record.model.family == "adversarial"]
    change = f"version {entry.version} -> {entry.version + 1}"
    assert stale.reasons(record) == [f"model.adversarial: {change}"]


def test_a_new_loop_leaves_what_was_not_trained(made, monkeypatch):
    monkeypatch.setattr(training, "VERSION", training.VERSION + 1)
    assert touched(made) == {"adversarial", "autoencoder"}


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("grid", set()),
        ("block", {"pca"}),
        ("random", {"adversarial", "autoencoder", "mae", "pca"}),
    ],
)
def test_a_strategy_touches_those_trained_or_judged_on_it(made, monkeypatch, name, families):
    """Raw pixels reconstruct nothing, so no mask touches them."""
    monkeypatch.setitem(masking.STRATEGIES.entries, name, raised(masking.STRATEGIES[name]))
    assert touched(made) == families


def test_parameters_that_are_no_longer_accepted_are_a_reason(made):
    for name, value, reason in (("model", "gone", "unknown model 'gone'"), ("sead", 1, "sead")):
        record = made[0].model_copy(update={"parameters": made[0].parameters | {name: value}})
        assert reason in stale.reasons(record)[0]


def test_a_key_that_other_parameters_gave_is_a_reason(made):
    record = made[0].model_copy(update={"parameters": made[0].parameters | {"patch_size": 2}})
    assert stale.reasons(record) != []


def test_the_command_lists_them(results, monkeypatch, capsys, tmp_path):
    entry = MODELS["pca"]
    monkeypatch.setitem(MODELS.entries, "pca", raised(entry))
    assert stale.main([str(results)]) == 0
    said = capsys.readouterr().out
    assert "_pca_" in said
    assert f"model.pca: version {entry.version} -> {entry.version + 1}" in said
    count = len(MODELS_RUN)
    assert said.splitlines()[-1] == f"{count - 1} of {count} records match the code"
    (tmp_path / "x.json").write_text("{}")
    assert stale.main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "x.json is not a valid record" in said and "0 of 1 records match" in said
