"""Fine-tuning learns from the labels it is given, more slowly in earlier layers, and from nothing else."""

from dataclasses import replace

import pytest
import torch

from lib import checkpoint, finetune, parameters, probes, records, worker
from lib.data import load
from lib.experiment import load_splits, new_model, run
from lib.finetune import Classifier, FineTune, FineTuneStep, labelled, layer_scales, recipe_for
from lib.optim import Batch, StepSettings
from lib.settings import Execution, Experiment
from lib.streams import stream
from lib.training import Recipe

VIT = {"dim": 16, "depth": 2, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
HOW = FineTune(shares=(0.05, 1.0), epochs=20, least_steps=100, batch_size=64, learning_rate=1e-2, layer_decay=0.9, augment="none")


def experiment(**changes):
    plain = {"dataset": "digits", "model": "mae", "options": VIT, "patch_size": 2, "evaluate_images": 20, "probe_images": 200}
    return Experiment(**plain | {"fine_tune": HOW, "recipe": Recipe(epochs=0)} | changes)


@pytest.fixture(scope="module")
def classifier():
    asked = experiment()
    model = new_model(asked, load_splits(asked, Execution()))
    return Classifier(model, 16, 10, 0.1, seed=0)


def test_labels_are_shared_out_by_class_and_a_larger_share_holds_the_smaller():
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3)
    small, large = labelled(labels, 0.04, 7), labelled(labels, 0.5, 7)
    assert torch.bincount(labels[small]).tolist() == [4, 2, 1] and torch.bincount(labels[large]).tolist() == [50, 25, 2]
    assert set(small.tolist()) < set(large.tolist()) and labelled(labels, 1.0, 7).tolist() == list(range(153))
    assert labelled(labels, 0.04, 8).tolist() != small.tolist()


def test_the_learning_rate_falls_layer_by_layer(classifier):
    scales = layer_scales(classifier, 0.5)
    named = dict(classifier.body.named_parameters())
    assert scales[named["encoder.norm.weight"]] == 1 and scales[named["encoder.blocks.1.mlp.0.weight"]] == 0.5
    assert scales[named["encoder.blocks.0.attention.qkv.bias"]] == 0.25 and scales[named["patch_embedding.weight"]] == 0.125
    assert classifier.head.weight not in scales


def test_a_step_moves_each_layer_by_its_own_rate(classifier):
    """AdamW's first step moves every weight by its learning rate, whatever the gradient."""
    settings = StepSettings(1e-3, 0.0, betas=finetune.BETAS)
    step = FineTuneStep(classifier, settings, FineTune(layer_decay=0.5, drop_path=0.0))
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    images = torch.rand(8, 1, 8, 8, generator=stream(0, "x"))
    step(Batch(images, torch.zeros(8, 1, dtype=torch.bool), 8, stream(0, "noise"), torch.arange(8)))
    moved = {name: (p - before[name]).abs().median().item() for name, p in classifier.named_parameters()}
    assert moved["head.weight"] == pytest.approx(1e-3, rel=1e-3) and moved["body.encoder.blocks.1.mlp.0.weight"] == pytest.approx(
        5e-4, rel=1e-2
    )
    assert moved["body.patch_embedding.weight"] == pytest.approx(1.25e-4, rel=1e-2) and moved["body.decoder.norm.weight"] == 0


def test_few_labels_still_get_their_steps():
    assert recipe_for(FineTune(epochs=10, least_steps=500, batch_size=128), 50, "float32").epochs == 500
    assert recipe_for(FineTune(epochs=10, least_steps=500, batch_size=128), 12800, "float32").epochs == 10


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    how = Execution(output=str(tmp_path_factory.mktemp("runs")), scale="standard", progress=False)
    return experiment(), how, run(experiment(), how)


def test_it_learns_and_more_labels_help(scratch):
    _, _, found = scratch
    assert found.value("finetune_accuracy@1") > 0.6 and 0.2 < found.value("finetune_accuracy@0.05") < found.value("finetune_accuracy@1")
    assert found.record.metrics["test"]["finetune_accuracy@1"].n == len(load("digits", "test"))
    assert {row["share"] for row in found.record.history} == {0.05, 1.0}


def test_the_pre_training_has_its_own_record_and_is_shared(scratch):
    asked, how, found = scratch
    base = records.find(how.results, asked.pretraining.key)
    assert base is not None and asked.key != asked.pretraining.key
    other = run(experiment(fine_tune=HOW.model_copy(update={"shares": (0.05,)})), how)
    assert records.find(how.results, asked.pretraining.key).stat().st_mtime == base.stat().st_mtime
    assert other.value("finetune_accuracy@0.05") == found.value("finetune_accuracy@0.05"), "the same seed, the same numbers"


def test_a_finished_one_is_read_and_its_key_holds_what_it_used(scratch, monkeypatch):
    asked, how, found = scratch
    monkeypatch.setattr(finetune, "fine_tune", None)
    assert run(asked, how).record == found.record
    assert found.record.components["finetuning"] == finetune.VERSION and "probes" not in found.record.components


def test_a_killed_one_goes_on_with_the_same_bits(scratch, tmp_path, monkeypatch):
    """Stopped in the second share, after states were written."""
    asked, _, found = scratch
    how, real, calls = Execution(output=str(tmp_path), scale="standard", progress=False, save_every=0.0), checkpoint.save_state, []

    def dies(*arguments):
        calls.append(real(*arguments))
        if len(calls) == 200:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        run(asked, how)
    monkeypatch.setattr(checkpoint, "save_state", real)
    again = run(asked, how)
    assert again.record.metrics == found.record.metrics and again.record.history == found.record.history
    assert not list(how.checkpoints(asked.key).rglob("state-*"))


def test_data_without_labels_is_refused(scratch):
    asked, how, _ = scratch
    splits = load_splits(asked, how)
    bare = {name: type(images)(**vars(images) | {"labels": None}) for name, images in splits.items()}
    with pytest.raises(ValueError, match="needs labels of at least two classes"):
        finetune.fine_tune(new_model(asked, splits), bare, HOW, 1.0, seed=0, precision="float32")


def test_any_model_with_features_can_be_fine_tuned(tmp_path):
    asked = experiment(model="autoencoder", options={"hidden": (32,), "latent": 8}, recipe=Recipe(epochs=1))
    found = run(asked, Execution(output=str(tmp_path), progress=False))
    assert found.value("finetune_accuracy@1") > 0.5


def test_a_model_without_weights_is_classified_by_its_linear_probe(tmp_path):
    """At all labels it is the probe of the study, and the head says what scikit-learn says, with two classes or with one missing."""
    asked, how = experiment(model="raw_pixels", options={}, probe_images=None), Execution(output=str(tmp_path), progress=False)
    found, plain = run(asked, how), run(asked.pretraining, how)
    assert found.value("finetune_accuracy@1") == plain.value("probe_accuracy") and found.record.history == []
    assert found.value("finetune_accuracy@0.05") < found.value("finetune_accuracy@1")
    assert {"finetuning", "probes"} < set(found.record.components) and "training" not in found.record.components
    for classes in ((3, 8), (0, 2, 5)):
        splits = {}
        for name, images in plain.splits.items():
            kept = torch.isin(images.labels, torch.tensor(classes))
            splits[name] = replace(images, images=images.images[kept], labels=images.labels[kept])
        classifier, _ = finetune.fine_tune(plain.model, splits, HOW, 1.0, seed=0, precision="float32")
        features = {name: images.images.flatten(1).numpy() / 255 for name, images in splits.items()}
        expected = probes.linear_probe(features, {name: images.labels.numpy() for name, images in splits.items()})["test"]
        assert finetune.accuracy(classifier, splits["test"]) == pytest.approx(expected, abs=0.01) and expected > 0.8


def test_the_probe_of_a_model_with_buffers_is_a_copy(tmp_path):
    """PCA holds its axes as buffers, which live on the model's device; the classifier works on the CPU and leaves the model alone."""
    asked = experiment(model="pca", options={"components": 8})
    base = run(asked.pretraining, Execution(output=str(tmp_path), progress=False))
    classifier, _ = finetune.fine_tune(base.model, base.splits, HOW, 1.0, seed=0, precision="float32")
    assert classifier.body is not base.model and finetune.accuracy(classifier, base.splits["test"]) > 0.7


def test_a_fine_tuning_in_several_processes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one fine-tunes"):
        worker.write_job(experiment(), Execution(output=str(tmp_path), processes=2))


def test_a_sweep_knows_what_fine_tuning_uses():
    assert "mixing" not in parameters.check("05_few_labels", {}).identity()["components"]
    asked = parameters.check("05_few_labels", {"finetune_augment": "crop_flip", "cutmix": 1.0})
    assert {"finetuning", "mixing", "augment.crop_flip", "probes", "model.raw_pixels"} <= set(asked.identity()["components"])


def test_models_without_weights_differ_between_seeds_only_in_their_labels(tmp_path):
    one, other = (experiment(model="raw_pixels", options={}, seed=seed) for seed in (1, 2))
    assert one.key != other.key and one.pretraining.key == other.pretraining.key
    how = Execution(output=str(tmp_path), progress=False)
    assert run(one, how).value("finetune_accuracy@0.05") != run(other, how).value("finetune_accuracy@0.05")


def test_a_model_without_features_is_refused(tmp_path):
    with pytest.raises(ValueError, match="MeanFill has no features"):
        run(experiment(model="mean_fill", options={}), Execution(output=str(tmp_path), progress=False))
