import pytest
import torch

from lib import experiment, records
from lib.data import DataError
from lib.experiment import run
from lib.settings import Execution, Experiment
from lib.training import Recipe

SMALL = {
    "dataset": "digits", "subset": 64, "patch_size": 2, "evaluate_images": 12, "probe_images": 60,
    "options": {"hidden": (8,), "latent": 3}, "recipe": Recipe(epochs=2, batch_size=16, evaluations=2),
}  # fmt: skip


def small(model="autoencoder", **changes):
    return Experiment(model=model, **SMALL | changes)


@pytest.fixture
def where(tmp_path):
    return Execution(output=str(tmp_path), scale="standard", notebook="test", progress=False)


def test_a_run_leaves_a_record_with_every_measure_on_validation_and_test(where):
    done = run(small(test_masks=("random@0.75", "none")), where)
    for split in ("validation", "test"):
        names = set(done.record.metrics[split])
        for region in ("hidden", "visible", "all"):
            assert {f"random@0.75/psnr_{region}", f"random@0.75/ssim_{region}"} <= names
        assert {"probe_accuracy", "knn_accuracy", "none/psnr_all"} <= names
        assert done.record.metrics[split]["random@0.75/psnr_hidden"].n == 12
    assert len(done.images) == 2 * 2 * 12
    assert done.record.model.parameters == sum(p.numel() for p in done.model.parameters()) and done.record.model.flops > 0
    assert done.record.data.counts == {"train": 64, "validation": 300, "test": 300}
    assert records.read(records.find(where.results, done.record.key)) == done.record


def test_no_path_of_this_machine_enters_a_record(where, tmp_path):
    from PIL import Image

    for number in range(20):
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(tmp_path / f"{number}.png")
    done = run(small("mean_fill", dataset=f"folder:{tmp_path}", options={}, probe=False), where)
    assert str(tmp_path) not in done.record.model_dump_json() and done.record.parameters["dataset"] == f"folder:{tmp_path.name}"


def test_a_finished_run_is_read_and_gives_the_same_predictions(where, monkeypatch):
    first = run(small(), where)
    monkeypatch.setattr(experiment, "perform", lambda *arguments: pytest.fail("trained again"))
    again = run(small(), where, need_model=True)
    assert again.record == first.record
    x, mask = torch.rand(3, 1, 8, 8), torch.tensor([[True] * 8 + [False] * 8] * 3)
    assert torch.equal(again.model.reconstruct(x, mask), first.model.reconstruct(x, mask))
    assert again.images.equals(first.images)


@pytest.mark.parametrize("again", [{"rerun": True}, {"scale": "quick"}])
def test_the_quick_scale_and_rerun_train_again(where, monkeypatch, again):
    asked = where.model_copy(update=again)
    first = run(small(), asked)
    steps, original = [], experiment.training.collect
    monkeypatch.setattr(experiment.training, "collect", lambda *arguments: (steps.append(1), original(*arguments)))
    assert run(small(), asked).record.metrics == first.record.metrics
    assert len(steps) == 8, "two epochs of four batches"


def test_an_interrupted_run_on_other_data_is_not_continued(where, monkeypatch):
    """The state carries the data's hash: a folder of the same name with other pictures starts anew."""
    names, original = [], experiment.training.train
    monkeypatch.setattr(experiment.training, "train", lambda *a, **k: (names.append(k["run"]), original(*a, **k))[1])
    done = run(small(), where)
    assert names == [f"{done.record.key} on {done.record.data.sha256['train']}"]
    assert not list(where.checkpoints(done.record.key).glob("state-*")), "a finished run leaves no state"


def test_a_rerun_resumes_and_keeps_what_there_was_until_it_ends(where, monkeypatch):
    first = run(small(), where)
    names, original = [], experiment.training.train

    def dies(*arguments, **options):
        names.append(options["run"])
        original(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment.training, "train", dies)
    again = where.model_copy(update={"rerun": True})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(small(), again)
    assert names == [f"{first.record.key} on {first.record.data.sha256['train']}, again"] * 2
    assert list(where.checkpoints(first.record.key).glob("state-*")), "the second goes on from it"
    monkeypatch.undo()
    assert run(small(), where).record == first.record and run(small(), where).model is not None


@pytest.mark.parametrize("model", ["raw_pixels", "pca", "mean_fill", "biharmonic"])
def test_baselines_can_be_read_again(where, model):
    asked = small(model, options={}, test_masks=("random@0.75",))
    assert run(asked, where).record == run(asked, where).record


def test_the_key_knows_identity_and_not_execution(where):
    assert small().key == small().key != small(seed=1).key
    assert small().key == small(options={"hidden": [8], "latent": 3, "loss_on": "hidden"}).key, "defaults spelt out are the same run"
    assert len({small(strategy=name).key for name in ("random", "block", "grid")}) == 3


def test_a_new_behaviour_version_is_a_new_key(monkeypatch):
    before = small().key
    monkeypatch.setattr("lib.training.VERSION", 99)
    assert small().key != before


def test_weights_that_are_not_here_are_trained_again_only_if_needed(where):
    done = run(small(), where)
    (where.checkpoints(done.record.key) / "model.safetensors").unlink()
    assert run(small(), where, need_model=False).model is None
    assert run(small(), where).model is not None


def test_other_data_under_a_finished_record_is_noticed(where, tmp_path):
    from PIL import Image

    from lib.data.registry import read_once

    for number in range(20):
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(tmp_path / f"{number}.png")
    asked = small("mean_fill", dataset=f"folder:{tmp_path}", options={}, probe=False)
    run(asked, where)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "3.png")
    read_once.cache_clear()
    with pytest.raises(DataError, match="made from other data"):
        run(asked, where)


def test_a_record_is_found_without_its_data(where, monkeypatch):
    done = run(small(), where)

    def absent(*arguments):
        raise DataError("not here")

    monkeypatch.setattr(experiment, "load_splits", absent)
    assert run(small(), where, need_model=False).record == done.record


def test_families_and_seeds_are_judged_on_the_same_masks(where, monkeypatch):
    used, original = [], experiment.evaluate.reconstruct
    monkeypatch.setattr(
        experiment.evaluate,
        "reconstruct",
        lambda model, images, mask, device: (used.append((images, mask)), original(model, images, mask, device))[1],
    )
    for asked in (small(), small(seed=1), small("mean_fill", options={})):
        run(asked, where)
    validation, test = used[0::2], used[1::2]
    for images, mask in validation + test:
        reference = validation[0] if len(images) and torch.equal(images, validation[0][0]) else test[0]
        assert torch.equal(images, reference[0]) and torch.equal(mask, reference[1])
    assert not torch.equal(validation[0][1], test[0][1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vae"}, "unknown model 'vae'"),
        ({"strategy": "rnd"}, "unknown masking strategy 'rnd'"),
        ({"strategy": "grid", "mask_ratio": 0.5}, "not defined at ratio 0.5"),
        ({"test_masks": ("grid@0.5",)}, "not defined at ratio 0.5"),
        ({"options": {"latnet": 3}}, "latnet"),
        ({"mask_ratio": 1.0}, "less than 1"),
        ({"dataset": "digitz"}, "unknown data set"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_loaded(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_patches_that_do_not_fit_are_refused_before_training(where):
    with pytest.raises(ValueError, match="3x3 do not tile images of 8x8"):
        run(small(patch_size=3), where)


def test_pictures_without_labels_are_measured_without_a_probe(where, tmp_path):
    from PIL import Image

    for number in range(20):
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(tmp_path / f"{number}.png")
    done = run(small(dataset=f"folder:{tmp_path}"), where)
    assert done.record.metrics["test"]["probe_accuracy"].n == 0 and done.value("probe_accuracy") != done.value("probe_accuracy")
    assert done.value("random@0.75/psnr_hidden") > 0
