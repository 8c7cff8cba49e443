"""One run: what it leaves, what it reads again, what it refuses."""

import json

import pytest
import torch
from PIL import Image

from lib import evaluate, training
from lib.data import registry
from lib.data.registry import DataError
from lib.run import experiment, records, settings, states
from lib.run.experiment import run
from lib.run.settings import Execution, Experiment
from lib.training import Recipe

SMALL = {
    "dataset": "digits",
    "subset": 64,
    "patch_size": 2,
    "evaluate_images": 12,
    "probe_images": 60,
    "options": {"hidden": (8,), "latent": 3},
    "recipe": Recipe(epochs=2, batch_size=16, evaluations=2),
}


def small(model="autoencoder", **changes):
    return Experiment(model=model, **SMALL | changes)


@pytest.fixture
def where(tmp_path):
    return Execution(
        output=str(tmp_path / "out"), scale="standard", notebook="test", progress=False
    )


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes, ten pictures each."""
    return painted(tmp_path / "pictures")


def painted(place, side=8):
    for number in range(20):
        file = place / "ab"[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (number * 10, 0, 0)).save(file)
    return place


@pytest.fixture(autouse=True)
def read_anew():
    """A data set is read once in a process; a test that changes its files begins anew."""
    registry.read_once.cache_clear()


def of_pictures(pictures, **changes):
    recipe = Recipe(epochs=2, batch_size=4, evaluations=2)
    return small(dataset=f"folder:{pictures}", subset=None, recipe=recipe, **changes)


def test_a_run_leaves_a_record_with_every_measure_on_validation_and_test(where):
    done = run(small(test_masks=("random@0.75", "none")), where)
    for split in ("validation", "test"):
        names = set(done.record.metrics[split])
        filled = {"psnr_hidden", "psnr_visible", "psnr_all", "ssim_hidden", "ssim_all"}
        assert {f"random@0.75/{name}" for name in filled} <= names
        assert {"random@0.75/raw_ssim_all", "none/psnr_all"} <= names
        assert {"probe_accuracy", "knn_accuracy"} <= names
        assert done.record.metrics[split]["random@0.75/psnr_hidden"].n == 12
    assert len(done.images) == 2 * 2 * 12
    assert done.record.model.parameters == sum(p.numel() for p in done.model.parameters())
    assert done.record.model.flops > 0
    assert done.record.data.counts == {"train": 64, "validation": 300, "test": 300}
    assert records.read(records.find(where.results, done.record.key)) == done.record


def test_the_record_spells_out_every_parameter(where):
    given = run(small(), where).record.parameters
    assert given["recipe"]["weight_decay"] == 0.05 and given["options"]["loss_on"] == "hidden"
    assert Experiment.model_validate_json(json.dumps(given)).key == small().key


def test_no_path_of_this_machine_enters_a_record(where, pictures):
    done = run(of_pictures(pictures), where)
    assert str(pictures) not in done.record.model_dump_json()
    assert done.record.parameters["dataset"] == "folder:pictures"


def test_a_finished_run_is_read_and_gives_the_same_predictions(where, monkeypatch):
    first = run(small(), where)
    monkeypatch.setattr(experiment, "perform", lambda *arguments: pytest.fail("trained again"))
    again = run(small(), where, need_model=True)
    assert again.record == first.record
    x, mask = torch.rand(3, 1, 8, 8), torch.tensor([[True] * 8 + [False] * 8] * 3)
    assert torch.equal(again.model.reconstruct(x, mask), first.model.reconstruct(x, mask))
    assert again.images.equals(first.images)


def counted(monkeypatch) -> list:
    """A list that grows with every training step."""
    steps = []
    original = training.descend

    def counting(*arguments):
        steps.append(1)
        return original(*arguments)

    monkeypatch.setattr(training, "descend", counting)
    return steps


def test_what_came_with_the_code_is_read_where_that_is_asked_for(where, tmp_path, monkeypatch):
    """And by nobody else: who tests a training must not be handed an old result."""
    monkeypatch.setattr(settings, "REPORTS", tmp_path / "out")
    first = run(small(), where)
    elsewhere = where.model_copy(update={"output": str(tmp_path / "elsewhere")})
    trainings = counted(monkeypatch)
    read = run(small(), elsewhere.model_copy(update={"published": True}), need_model=False)
    assert read.record == first.record and not trainings
    assert not elsewhere.results.exists(), "nothing is copied"
    assert run(small(), elsewhere).record.metrics == first.record.metrics
    assert trainings and len(list(elsewhere.results.glob("*.json"))) == 1


def test_what_came_with_the_code_and_was_made_from_other_bytes_is_left_aside(
    where, tmp_path, monkeypatch, pictures
):
    """A reader's own copy of a set has other bytes: what is compared is then trained on it."""
    monkeypatch.setattr(settings, "REPORTS", tmp_path / "out")
    asked = small("raw_pixels", dataset=f"folder:{pictures}", subset=None, options={})
    first = run(asked, where)
    repainted(pictures)
    registry.read_once.cache_clear()
    own = where.model_copy(update={"output": str(tmp_path / "own"), "published": True})
    with pytest.warns(UserWarning, match="published records were made from other bytes"):
        again = run(asked, own)
    assert again.record.data.sha256 != first.record.data.sha256
    assert run(asked, own).record == again.record, "its own is read"


def test_a_baseline_is_fitted_again_only_where_it_is_asked_for(where, monkeypatch):
    asked = small("pca", options={}, test_masks=("random@0.75",))
    first = run(asked, where)
    assert run(asked, where).model is not None
    monkeypatch.setattr(experiment, "fitted", lambda *arguments: pytest.fail("fitted"))
    again = run(asked, where, need_model=False)
    assert again.record == first.record and again.model is None


@pytest.mark.parametrize("again", [{"rerun": True}, {"scale": "quick"}])
def test_the_quick_scale_and_rerun_train_again(where, monkeypatch, again):
    asked = where.model_copy(update=again)
    first = run(small(), asked)
    steps = counted(monkeypatch)
    assert run(small(), asked).record.metrics == first.record.metrics
    assert len(steps) == 8, "two epochs of four batches"


class Killed(Exception):
    pass


def killed_after(monkeypatch, step: int) -> None:
    """A training ends with an error after so many steps, its state saved at each."""
    original = training.descend
    left = iter(range(step))

    def dying(*arguments):
        if next(left, None) is None:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(training, "descend", dying)


def test_an_interrupted_run_goes_on_and_ends_alike(where, tmp_path, monkeypatch):
    calm = run(small(), where.model_copy(update={"output": str(tmp_path / "calm")}))
    often = where.model_copy(update={"save_every": 0.0})
    with monkeypatch.context() as patch:
        killed_after(patch, 5)
        with pytest.raises(Killed):
            run(small(), often)
    assert records.find(often.results, small().key) is None
    last = states.files(often.checkpoints(small().key))[-1]
    tensors, about = states.load(last)
    states.save(last, tensors, about | {"seconds": 1000.0})
    steps = counted(monkeypatch)
    done = run(small(), often)
    assert len(steps) == 3
    assert done.record.provenance.seconds["training"] > 1000, "of all sittings"
    assert done.record.metrics == calm.record.metrics
    assert done.record.history == calm.record.history
    assert not states.files(often.checkpoints(small().key)), "a finished run leaves no state"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_interrupted_run_on_other_data_is_not_continued(where, pictures, monkeypatch, split):
    """With other validation pictures, too, histories would be mixed."""
    asked = of_pictures(pictures, probe=False)
    often = where.model_copy(update={"save_every": 0.0})
    members = experiment.load_splits(asked, often)[split]
    with monkeypatch.context() as patch:
        killed_after(patch, 5)
        with pytest.raises(Killed):
            run(asked, often)
    # The picture of the chosen split that is there first becomes another.
    shade = int(members.images[0, 0, 0, 0])
    file = next(pictures.glob(f"*/{shade // 10:02}.png"))
    Image.new("RGB", (8, 8), (shade, 9, 9)).save(file)
    registry.read_once.cache_clear()
    steps = counted(monkeypatch)
    run(asked, often)
    assert len(steps) == 2 * (16 // 4)


def test_weights_that_a_killed_rerun_left_are_not_those_of_the_record(where, pictures, monkeypatch):
    """It had trained on other pictures; then the old ones are put back."""
    asked = of_pictures(pictures, probe=False)
    first = run(asked, where)
    file = next(pictures.glob("*/03.png"))
    before = file.read_bytes()
    repainted(pictures)
    registry.read_once.cache_clear()

    def dies(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "write_record", dies)
        with pytest.raises(Killed):
            run(asked, where.model_copy(update={"rerun": True}))
    file.write_bytes(before)
    registry.read_once.cache_clear()
    assert run(asked, where, need_model=False).model is None
    again = run(asked, where)
    assert again.record.metrics == first.record.metrics
    weights = again.model.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in first.model.state_dict().items())


def test_a_rerun_resumes_and_keeps_what_there_was_until_it_ends(where, monkeypatch):
    often = where.model_copy(update={"save_every": 0.0})
    first = run(small(), often)
    again = often.model_copy(update={"rerun": True})
    for _ in range(2):
        with monkeypatch.context() as patch:
            killed_after(patch, 3)
            with pytest.raises(Killed):
                run(small(), again)
    assert states.files(often.checkpoints(first.record.key))[-1].stem.endswith("6"), "it went on"
    assert run(small(), often).record == first.record
    assert run(small(), often).model is not None


@pytest.mark.parametrize("model", ["raw_pixels", "pca", "mean_fill", "biharmonic"])
def test_baselines_can_be_read_again(where, model):
    asked = small(model, options={}, test_masks=("random@0.75",))
    assert run(asked, where).record == run(asked, where).record


def test_the_key_knows_identity_and_not_execution():
    assert small().key == small().key != small(seed=1).key
    spelt_out = {"hidden": [8], "latent": 3, "loss_on": "hidden"}
    assert small().key == small(options=spelt_out).key, "defaults spelt out are the same run"
    assert len({small(strategy=name).key for name in ("random", "block", "grid")}) == 3


def test_one_patch_and_one_mask_are_written_in_one_way():
    """Masks are drawn from their names: another name of one would be other masks."""
    assert small(patch_size=(2, 2)).key == small(patch_size=2).key != small(patch_size=(2, 4)).key
    for masks, message in {
        ("random@0.75", "random@0.750"): "write it random@0.75",
        ("none", "none"): "one stands twice",
    }.items():
        with pytest.raises(ValueError, match=message):
            small(test_masks=masks)


@pytest.mark.parametrize(
    "version",
    [
        "lib.training.VERSION",
        "lib.measures.MEASURES",
        "lib.measures.PROBES",
        "lib.run.settings.VERSION",
    ],
)
def test_a_new_behaviour_version_is_a_new_key(monkeypatch, version):
    before = small().key
    monkeypatch.setattr(version, 99)
    assert small().key != before


def test_weights_that_are_not_here_are_trained_again_only_if_needed(where):
    done = run(small(), where)
    (where.checkpoints(done.record.key) / "model.safetensors").unlink()
    assert run(small(), where, need_model=False).model is None
    assert run(small(), where).model is not None


def moved(pictures):
    file = next((pictures / "a").iterdir())
    file.rename(pictures / "b" / file.name)


def without_classes(pictures):
    for file in sorted(pictures.glob("*/*.png")):
        file.rename(pictures / file.name)
    (pictures / "a").rmdir()
    (pictures / "b").rmdir()


def repainted(pictures):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(next(pictures.glob("*/03.png")))


@pytest.mark.parametrize("change", [moved, without_classes, repainted])
def test_other_data_under_a_finished_record_is_noticed(where, pictures, change):
    asked = small("raw_pixels", dataset=f"folder:{pictures}", subset=None, options={})
    run(asked, where)
    change(pictures)
    registry.read_once.cache_clear()
    with pytest.raises(DataError, match="made from other data"):
        run(asked, where)


def test_a_record_under_another_key_is_not_served(where):
    one, other = run(small(), where), run(small(seed=1), where)
    files = [records.find(where.results, done.record.key) for done in (one, other)]
    files[1].write_bytes(files[0].read_bytes())
    with pytest.warns(UserWarning, match="under another name"):
        assert run(small(seed=1), where).record.metrics == other.record.metrics


def test_a_stray_copy_does_not_hide_the_record(where, monkeypatch):
    """A copy that comes first in the folder is named, and the record behind it is read."""
    done = run(small(), where)
    file = records.find(where.results, done.record.key)
    (where.results / f"a_{done.record.key}.json").write_bytes(file.read_bytes())
    steps = counted(monkeypatch)
    with pytest.warns(UserWarning, match="under another name"):
        assert run(small(), where).record == done.record
    assert not steps


def test_a_record_is_found_without_its_data(where, monkeypatch):
    done = run(small(), where)

    def absent(*arguments):
        raise DataError("not here")

    monkeypatch.setattr(experiment, "load_splits", absent)
    assert run(small(), where, need_model=False).record == done.record


def test_families_and_seeds_are_judged_on_the_same_masks(where, monkeypatch):
    used = []
    original = evaluate.reconstruct

    def noting(model, images, mask, device):
        used.append((images, mask))
        return original(model, images, mask, device)

    monkeypatch.setattr(evaluate, "reconstruct", noting)
    for asked in (small(), small(seed=1), small("mean_fill", options={})):
        run(asked, where)
    validation, test = used[0::2], used[1::2]
    for group in (validation, test):
        for images, mask in group:
            assert torch.equal(images, group[0][0]) and torch.equal(mask, group[0][1])
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
        ({"seed": 2**63}, "less than"),
        ({"recipe": {"epochs": 10**7}}, "less than or equal to 1000000"),
        ({"dataset": f"folder:{'x' * 250}"}, "dataset.*too long"),
        ({"dataset": f"folder:{'é' * 120}"}, "dataset.*too long.*has 247"),
        ({"dataset": "folder:latin-\udce9"}, "dataset.*no UTF-8 text"),
        ({"patch_size": 0}, "patch_size"),
        ({"patch_size": (2, -2)}, "patch_size"),
        ({"image_size": 2}, "image_size"),
        ({"image_size": 100_000}, "image_size"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_loaded(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 3}, "3x3 do not tile images of 8x8"),
        ({"patch_size": 4, "mask_ratio": 0.1}, "mask_ratio.*hides none of 4 patches"),
        ({"patch_size": 4, "mask_ratio": 0.9}, "mask_ratio.*hides all of 4 patches"),
        ({"patch_size": 4, "test_masks": ("random@0.1",)}, "test_masks.*hides none of 4 patches"),
        ({"patch_size": 4, "test_masks": ("random@0.9",)}, "test_masks.*hides all of 4 patches"),
        (
            {"patch_size": 4, "model": "pca", "options": {}, "test_masks": ("block@0.9",)},
            "hides all",
        ),
    ],
)
@pytest.mark.parametrize("scale", ["quick", "standard"])
def test_what_does_not_fit_the_images_is_refused_before_training(
    where, monkeypatch, changes, message, scale
):
    steps = counted(monkeypatch)
    with pytest.raises(ValueError, match=message):
        run(small(**changes), where.model_copy(update={"scale": scale}))
    assert not steps


@pytest.mark.parametrize("split", ["validation", "test"])
def test_splits_of_different_sizes_are_refused_before_training(where, tmp_path, monkeypatch, split):
    place = tmp_path / "sets"
    for name in ("train", "validation", "test"):
        painted(place / name, side=16 if name == split else 8)
    steps = counted(monkeypatch)
    with pytest.raises(DataError, match="give image_size"):
        run(of_pictures(place), where)
    assert not steps
    run(of_pictures(place, image_size=8), where)
    assert steps


def test_a_worker_that_is_started_by_hand_refuses_too(where, monkeypatch):
    """torchrun's workers come in here, without the call above them."""
    steps = counted(monkeypatch)
    with pytest.raises(ValueError, match=r"test_masks.*hides none"):
        experiment.perform(small(patch_size=4, test_masks=("random@0.1",)), where)
    assert not steps


def test_the_longest_name_is_the_name_of_a_record(where, tmp_path):
    name = "é" * 86  # bytes: 172, and 7 of `folder:`
    done = run(of_pictures(painted(tmp_path / name), probe=False), where)
    assert records.find(where.results, done.record.key).stem == done.record.name


def test_a_normalised_target_needs_more_than_one_number(where):
    mae = {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_depth": 1}
    options = mae | {"decoder_heads": 2, "normalise_target": True}
    with pytest.raises(ValueError, match=r"normalise_target.*patch_size"):
        run(small("mae", options=options, patch_size=1), where)


@pytest.mark.parametrize("scale", ["quick", "standard"])
def test_an_output_that_cannot_be_written_is_refused_before_training(
    where, tmp_path, monkeypatch, scale
):
    steps = counted(monkeypatch)
    (tmp_path / "file").write_text("")
    asked = where.model_copy(update={"output": str(tmp_path / "file" / "x"), "scale": scale})
    with pytest.raises(OSError, match="file"):
        run(small(), asked)
    assert not steps


def test_a_device_that_is_none_and_threads_without_end_are_refused(where):
    with pytest.raises(ValueError, match="device"):
        run(small(), where.model_copy(update={"device": "gpu"}))
    with pytest.raises(ValueError, match="threads"):
        Execution(threads=100_000)


def test_fine_tuning_without_labels_is_refused_before_the_pre_training(
    where, pictures, monkeypatch
):
    without_classes(pictures)
    steps = counted(monkeypatch)
    asked = of_pictures(pictures, fine_tune={"shares": (1.0,), "epochs": 1})
    with pytest.raises(ValueError, match="needs labels"):
        run(asked, where)
    assert not steps


def test_pictures_without_labels_are_measured_without_a_probe(where, pictures):
    without_classes(pictures)
    done = run(of_pictures(pictures), where)
    assert done.record.metrics["test"]["probe_accuracy"].n == 0
    assert done.value("probe_accuracy") != done.value("probe_accuracy"), "not a number"
    assert done.value("random@0.75/psnr_hidden") > 0


def test_a_probe_at_an_end_of_its_grid_is_a_warning_of_the_record(where, monkeypatch):
    monkeypatch.setattr("lib.measures.STRENGTHS", (1e-3, 1e-2))
    assert any("end of its grid" in said for said in run(small(), where).record.warnings)
