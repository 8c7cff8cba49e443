"""Fine-tuning learns from the labels it is given, more slowly in earlier layers, and from nothing else."""

from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from lib import finetune, training
from lib.data.registry import load
from lib.finetune import Classifier, FineTune, labelled, layer_scales
from lib.measures import probe_within
from lib.models.family import Batch
from lib.run import experiment as one_run
from lib.run import jobs, records, states
from lib.run.experiment import load_splits, new_model, run
from lib.run.settings import Execution, Experiment
from lib.streams import stream
from lib.training import Recipe, State, adamw

VIT = {"dim": 16, "depth": 2, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
HOW = FineTune(
    shares=(0.05, 1.0),
    epochs=20,
    least_steps=100,
    batch_size=64,
    learning_rate=1e-2,
    layer_decay=0.9,
    augment="none",
)
SHORT = HOW.model_copy(update={"epochs": 2, "least_steps": 20})


def experiment(**changes):
    plain = {
        "dataset": "digits",
        "model": "mae",
        "options": VIT,
        "patch_size": 2,
        "evaluate_images": 20,
        "probe_images": 200,
        "fine_tune": HOW,
        "recipe": Recipe(epochs=0),
    }
    return Experiment(**plain | changes)


def classifier(how=HOW):
    asked = experiment()
    model = new_model(asked, load_splits(asked, Execution()))
    return Classifier(model, 16, 10, how, seed=0)


def test_labels_are_shared_out_by_class_and_a_larger_share_holds_the_smaller():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3)
    small, large = labelled(labels, 0.04, 7), labelled(labels, 0.5, 7)
    assert torch.bincount(labels[small]).tolist() == [4, 2, 1]
    assert torch.bincount(labels[large]).tolist() == [50, 25, 2]
    assert set(small.tolist()) < set(large.tolist())
    assert labelled(labels, 1.0, 7).tolist() == list(range(153))
    assert labelled(labels, 0.04, 8).tolist() != small.tolist()


@pytest.mark.parametrize("shares", [(), (10,), (0.0,), (-0.1,), (0.1, 0.1000000001)])
def test_shares_of_labels_are_above_none_up_to_all_and_can_be_told_apart(shares):
    with pytest.raises(ValueError, match="shares"):
        FineTune(shares=shares)


def test_the_learning_rate_falls_layer_by_layer():
    made = classifier()
    scales = layer_scales(made.body, 0.5)
    named = dict(made.body.named_parameters())
    assert scales[named["encoder.norm.weight"]] == 1
    assert scales[named["encoder.blocks.1.mlp.0.weight"]] == 0.5
    assert scales[named["encoder.blocks.0.attention.qkv.bias"]] == 0.25
    assert scales[named["patch_embedding.weight"]] == 0.125
    assert made.head.weight not in scales


def test_a_step_moves_each_layer_by_its_own_rate():
    """AdamW's first step moves every weight by its learning rate, whatever the gradient."""
    made = classifier(HOW.model_copy(update={"layer_decay": 0.5, "drop_path": 0.0}))
    recipe = Recipe(epochs=1, learning_rate=1e-3, weight_decay=0.0, warmup=0.0)
    optimisers = {name: adamw(group, recipe) for name, group in made.groups().items()}
    before = {name: p.detach().clone() for name, p in made.named_parameters()}
    images = torch.rand(8, 1, 8, 8, generator=stream(0, "x"))
    batch = Batch(images, torch.zeros(8, 1, dtype=torch.bool), 8, labels=torch.arange(8))
    training.descend(State(made, optimisers, 1), batch, recipe, 1, training.ALONE)
    moved = {n: (p - before[n]).abs().median().item() for n, p in made.named_parameters()}
    assert moved["head.weight"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["body.encoder.blocks.1.mlp.0.weight"] == pytest.approx(5e-4, rel=1e-2)
    assert moved["body.patch_embedding.weight"] == pytest.approx(1.25e-4, rel=1e-2)
    assert moved["body.decoder.norm.weight"] == 0


def test_few_labels_still_get_their_steps():
    how = FineTune(epochs=10, least_steps=500, batch_size=128)
    assert how.recipe(50, "float32").epochs == 500
    assert how.recipe(12800, "float32").epochs == 10


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    place = str(tmp_path_factory.mktemp("runs"))
    how = Execution(output=place, scale="standard", progress=False)
    return experiment(), how, run(experiment(), how)


def test_it_learns_and_more_labels_help(scratch):
    _, _, found = scratch
    few, every = (found.value(f"accuracy@{share}") for share in ("0.05", "1"))
    assert every > 0.6 and 0.2 < few < every
    assert found.record.metrics["test"]["accuracy@1"].n == len(load("digits", "test"))
    assert {row["share"] for row in found.record.history} == {0.05, 1.0}


def test_the_pre_training_has_its_own_record_and_is_shared(scratch):
    asked, how, found = scratch
    base = records.find(how.results, asked.pretraining.key)
    assert base is not None and asked.key != asked.pretraining.key
    made = base.stat().st_mtime_ns
    other = run(experiment(fine_tune=HOW.model_copy(update={"shares": (0.05,)})), how)
    assert records.find(how.results, asked.pretraining.key).stat().st_mtime_ns == made
    name = "accuracy@0.05"
    assert other.value(name) == found.value(name), "the same seed, the same numbers"


def test_a_finished_one_is_read_and_its_key_holds_what_it_used(scratch, monkeypatch):
    asked, how, found = scratch
    monkeypatch.setattr(one_run, "perform", lambda *arguments: pytest.fail("tuned again"))
    assert run(asked, how).record == found.record
    assert found.record.components["finetuning"] == finetune.VERSION
    assert not {"probes"} & set(found.record.components)


def test_a_killed_one_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    """Stopped in the second share, after states were written."""
    asked = experiment(fine_tune=SHORT, probe=False)
    how = Execution(output=str(tmp_path / "calm"), scale="standard", progress=False)
    found = run(asked, how)
    how = how.model_copy(update={"output": str(tmp_path / "killed"), "save_every": 0.0})
    saved = []
    original = states.States.save

    def dies(self, state):
        original(self, state)
        saved.append(state.step)
        if len(saved) == 35:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(states.States, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            run(asked, how)
    assert saved[-1] < saved[19], "in the second share"
    again = run(asked, how)
    assert again.record.metrics == found.record.metrics
    assert again.record.history == found.record.history
    assert not list(how.checkpoints(asked.key).rglob("state-*"))


def test_any_model_with_features_can_be_fine_tuned(tmp_path):
    options = {"hidden": (32,), "latent": 8}
    asked = experiment(model="autoencoder", options=options, recipe=Recipe(epochs=1))
    found = run(asked, Execution(output=str(tmp_path), progress=False))
    assert found.value("accuracy@1") > 0.5


def test_extra_steps_come_on_top_and_end_with_the_last_weights():
    how = FineTune(epochs=10, least_steps=500, batch_size=128, extra_steps=700)
    assert how.recipe(50, "float32").epochs == 1200
    assert how.recipe(12800, "float32").epochs == 17
    assert how.recipe(50, "float32").keep == "last"


def test_more_steps_are_really_more(tmp_path):
    how = HOW.model_copy(update={"shares": (0.05,), "least_steps": 20, "epochs": 1})
    longer = how.model_copy(update={"extra_steps": 30})
    where = Execution(output=str(tmp_path), progress=False)
    steps = [run(experiment(fine_tune=h), where).record.history[-1]["step"] for h in (how, longer)]
    assert steps == [20, 50]


def test_no_label_beyond_the_budget_is_looked_at(monkeypatch):
    """Validation's labels, and those of the images that were not chosen, may be anything."""
    asked = experiment(options=VIT)
    splits = load_splits(asked, Execution())
    model = new_model(asked, splits)
    chosen = labelled(splits["train"].labels, 0.05, 0)
    wrong = (splits["train"].labels + 1) % 10
    wrong[chosen] = splits["train"].labels[chosen]
    monkeypatch.setattr(finetune, "labelled", lambda *arguments: chosen)
    other = {"train": replace(splits["train"], labels=wrong)}
    other["validation"] = replace(splits["validation"], labels=splits["validation"].labels.flip(0))
    for method in ("all", "linear", "nearest"):
        how = HOW.model_copy(update={"method": method, "least_steps": 10, "epochs": 1})
        made = [
            finetune.fine_tune(model, splits | given, how, 0.05, seed=0, precision="float32")[0]
            for given in ({}, other)
        ]
        first, second = (classifier.state_dict() for classifier in made)
        assert all(torch.equal(first[name], second[name]) for name in first), method


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """Raw pixels: a linear classifier, and the nearest image."""
    where = Execution(output=str(tmp_path_factory.mktemp("pixels")), progress=False)
    return {method: run(of_pixels(method), where) for method in ("linear", "nearest")}


def of_pixels(method, **changes):
    how = HOW.model_copy(update={"method": method})
    plain = {"model": "raw_pixels", "options": {}, "fine_tune": how, "probe_images": None}
    return experiment(**plain | changes)


def test_raw_pixels_are_classified_without_any_training(pixels):
    for method, found in pixels.items():
        assert 0.5 < found.value("accuracy@0.05") < found.value("accuracy@1") > 0.85
        assert found.record.history == []
        used = set(found.record.components)
        assert "finetuning" in used and "training" not in used
        assert ("probes" in used) == (method == "linear")


def test_the_nearest_image_is_scikit_learns(pixels):
    splits = pixels["nearest"].splits
    features = {name: part.images.flatten(1).numpy() / 255 for name, part in splits.items()}
    chosen = labelled(splits["train"].labels, 0.05, 0)
    reference = KNeighborsClassifier(1)
    reference.fit(features["train"][chosen], splits["train"].labels[chosen].numpy())
    expected = reference.score(features["test"], splits["test"].labels.numpy())
    assert pixels["nearest"].value("accuracy@0.05") == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize("classes", [(3, 8), (0, 2, 5)])
def test_the_linear_head_says_what_its_probe_says(classes):
    """With two classes, for which scikit-learn keeps one row, and with some missing."""
    splits = {}
    for name in ("train", "validation", "test"):
        images = load("digits", name)
        kept = torch.isin(images.labels, torch.tensor(classes))
        splits[name] = replace(images, images=images.images[kept], labels=images.labels[kept])
    model = run(of_pixels("linear", fine_tune=None), Execution(progress=False)).model
    how = HOW.model_copy(update={"method": "linear"})
    made, _ = finetune.fine_tune(model, splits, how, 1.0, seed=0, precision="float32")
    features = {name: part.images.flatten(1).numpy() / 255 for name, part in splits.items()}
    probe = probe_within(features["train"], splits["train"].labels.numpy())
    expected = probe.accuracy(features["test"], splits["test"].labels.numpy())
    right = finetune.accuracy(made, splits["test"], torch.device("cpu"))
    assert right == pytest.approx(expected, abs=0.01) and expected > 0.8


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_frozen_features_are_those_of_a_copy(method, tmp_path):
    """PCA holds its axes as buffers; a ViT-MAE's weights are left alone."""
    for changes in ({"model": "pca", "options": {"components": 8}}, {}):
        asked = experiment(**changes, fine_tune=None)
        base = run(asked, Execution(output=str(tmp_path), progress=False))
        before = {name: value.clone() for name, value in base.model.state_dict().items()}
        how = HOW.model_copy(update={"method": method})
        made, history = finetune.fine_tune(
            base.model, base.splits, how, 1.0, seed=0, precision="float32"
        )
        assert made.body is not base.model and history == []
        assert all(torch.equal(before[name], v) for name, v in made.body.state_dict().items())
        assert all(value.requires_grad for value in base.model.parameters())


def test_a_model_without_weights_cannot_be_tuned():
    with pytest.raises(ValueError, match="raw_pixels has no weights to tune, method must be"):
        of_pixels("all")


def test_a_fine_tuning_in_several_processes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one fine-tunes"):
        jobs.write_job(experiment(), Execution(output=str(tmp_path), processes=2))


def test_models_without_weights_differ_between_seeds_only_in_their_labels(tmp_path):
    one, other = (of_pixels("nearest", seed=seed) for seed in (1, 2))
    assert one.key != other.key and one.pretraining.key == other.pretraining.key
    how = Execution(output=str(tmp_path), progress=False)
    name = "accuracy@0.05"
    assert run(one, how).value(name) != run(other, how).value(name)


def test_a_model_without_features_is_refused(tmp_path):
    how = HOW.model_copy(update={"method": "linear"})
    asked = experiment(model="mean_fill", options={}, fine_tune=how)
    with pytest.raises(ValueError, match="MeanFill has no features"):
        run(asked, Execution(output=str(tmp_path), progress=False))


@pytest.fixture
def trained(monkeypatch):
    """Keys of what is trained in a test, one after the other."""
    keys = []
    really = one_run.trained

    def counted(asked, *others):
        keys.append(asked.key)
        return really(asked, *others)

    monkeypatch.setattr(one_run, "trained", counted)
    return keys


def test_runs_that_are_handed_one_dictionary_pre_train_once(trained):
    how = Execution(progress=False)
    base = experiment().pretraining
    asked = [
        base.model_copy(update={"fine_tune": HOW.model_copy(update={"method": method})})
        for method in ("linear", "nearest")
    ]
    alone = [run(one, how).record.metrics for one in asked]
    assert trained == [base.key] * 2, "each pre-trains for itself"
    known = {}
    together = [run(one, how, pretrained=known).record.metrics for one in asked]
    assert trained == [base.key] * 3 and list(known) == [base.key]
    assert together == alone


def test_weights_are_only_asked_for_where_something_is_to_be_fine_tuned(tmp_path, trained):
    how = Execution(output=str(tmp_path), scale="standard", progress=False)
    asked = experiment(fine_tune=SHORT.model_copy(update={"shares": (0.05,)}))
    first = run(asked, how).record
    base = asked.pretraining
    (how.checkpoints(base.key) / "model.safetensors").unlink()
    trained.clear()
    known = {base.key: run(base, how, need_model=False)}
    assert run(asked, how, need_model=False, pretrained=known).record == first
    assert not trained, "all was read"
    other = base.model_copy(update={"fine_tune": HOW.model_copy(update={"method": "nearest"})})
    run(other, how, need_model=False, pretrained=known)
    assert trained == [base.key] and known[base.key].model is not None


def test_a_baseline_is_used_on_the_device_where_it_is(monkeypatch):
    """It has no parameters that would tell."""
    asked = experiment(model="raw_pixels", options={}, fine_tune=FineTune(method="linear"))
    splits = load_splits(asked, Execution())
    used = []
    fits = {"linear": lambda model, some, device: used.append(device) or model}
    monkeypatch.setattr(finetune, "FIT", fits)
    model = new_model(asked, splits).to("meta")
    finetune.fine_tune(model, splits, asked.fine_tune, 0.05, seed=0, precision="float32")
    assert used == [torch.device("meta")]
