"""The pictures beside a record."""

import numpy as np
import pytest
import torch

from lib import evaluate
from lib.data.embedded import photograph
from lib.masks import test_mask as masks_of_a_test
from lib.run import pictures, records, sheets
from lib.run.experiment import run
from lib.run.records import DamagedRecord
from lib.run.settings import Execution, Experiment
from lib.run.sheets import (
    COUNT,
    MOST_BYTES,
    PHOTOGRAPHS,
    SIDE,
    encoded,
    hidden_photograph,
    read_sheet,
)
from lib.training import Recipe
from lib.windows import complete

MASKS = ("random@0.75", "grid@0.75")
ROOM = 12  # levels of 255 that WebP may lose on average


@pytest.fixture(scope="module")
def where(tmp_path_factory, few_photos):
    out = str(tmp_path_factory.mktemp("out"))
    return Execution(output=out, scale="standard", notebook="test", progress=False)


def asked(dataset, **changes):
    return Experiment(
        **{
            "dataset": dataset,
            "subset": 64,
            "patch_size": 4,
            "model": "autoencoder",
            "options": {"hidden": (16,), "latent": 8},
            "test_masks": MASKS,
            "recipe": Recipe(epochs=2, batch_size=32, evaluations=1),
            "evaluate_images": 20,
            "probe": False,
        }
        | changes
    )


@pytest.fixture(scope="module")
def colour(where):
    return run(asked("photos"), where)


def near(found, expected):
    return (found.float() - expected.float()).abs().mean() < ROOM


def test_pictures_are_of_the_first_mask_of_its_own_and_of_the_next():
    masks = ("random@0.75", "grid@0.75", "rows@0.5", "block@0.5", "block@0.75", "half@0.5")
    asked = {"dataset": "digits", "model": "mae", "strategy": "block"}
    shown = Experiment(**asked, test_masks=masks).pictured
    assert shown == ("random@0.75", "block@0.5", "block@0.75", "grid@0.75")
    half = Experiment(**asked, mask_ratio=0.5, test_masks=(*masks, "random@0.5")).pictured
    assert half == ("random@0.75", "random@0.5", "block@0.5", "block@0.75")
    assert Experiment(**asked, test_masks=masks[:2]).pictured == masks[:2]
    judged = ("random@0.75", "block@0.75", "rows@0.75", "grid@0.75", "hardest@0.75")
    other = Experiment(**asked | {"strategy": "adversarial"}, test_masks=judged).pictured
    assert other[:2] == ("random@0.75", "hardest@0.75")


def test_a_sheet_shows_the_first_test_images_and_what_the_model_made_of_them(colour):
    images = colour.splits["test"].some(20).images
    assert near(colour.sheet.originals, images[:COUNT])
    for mask in MASKS:
        hidden = masks_of_a_test(mask, "test", images, colour.model.space.shape.patch)
        made = evaluate.reconstruct(colour.model, images, hidden, torch.device("cpu"))[:COUNT] * 255
        gone = colour.sheet.gone(mask)
        assert torch.equal(gone, colour.model.space.hidden_pixels(hidden[:COUNT]))
        expected = torch.where(gone, made, images[:COUNT].float())
        assert near(colour.sheet.completed[mask], expected)
        assert not near(colour.sheet.completed[mask], images[:COUNT])  # so that ROOM says something


def test_photographs_that_a_model_of_colour_never_saw_stand_in_it(colour):
    assert tuple(colour.sheet.photographs) == PHOTOGRAPHS
    for name, found in colour.sheet.photographs.items():
        assert found.shape == (3, SIDE, SIDE)
        assert near(found, complete(colour.model, *hidden_photograph(colour.model, name)) * 255)
    assert not near(found, photograph(name, SIDE) * 255)


def test_the_masks_of_a_photograph_are_the_same_for_every_model(colour):
    (_, first), (_, again) = (hidden_photograph(colour.model, "coffee") for _ in range(2))
    assert torch.equal(first, again) and first.sum() == 64 * 64 * 3 // 4
    assert not torch.equal(first, hidden_photograph(colour.model, "astronaut")[1])


def test_grey_images_have_no_photographs_and_few_images_a_short_sheet(where):
    done = run(asked("digits", patch_size=2, evaluate_images=3, test_masks=("none",)), where)
    assert done.sheet.originals.shape == (3, 3, 8, 8) and not done.sheet.photographs
    made = evaluate.reconstruct(
        done.model,
        done.splits["test"].some(3).images,
        torch.zeros(3, 16).bool(),
        torch.device("cpu"),
    )
    assert near(done.sheet.completed["none"], made * 255)


def test_a_sheet_is_read_back_with_its_record(colour, where):
    again = run(asked("photos"), where, need_model=False)
    assert torch.equal(again.sheet.originals, colour.sheet.originals)
    file = records.find(where.results, colour.record.key).with_suffix(".webp")
    assert file.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("spoil", ["remove", "change"])
def test_a_sheet_that_is_gone_or_changed_is_named(spoil, colour, where, tmp_path):
    record = colour.record
    sheet = records.find(where.results, record.key).with_suffix(".webp").read_bytes()
    file = tmp_path / f"{record.name}.json"
    if spoil == "change":
        file.with_suffix(".webp").write_bytes(sheet[:-1] + b"x")
    with pytest.raises(DamagedRecord, match=r"\.webp is missing or damaged: delete"):
        read_sheet(file, record)


def test_the_quick_scale_keeps_none_and_draws_exact_ones(where):
    quick = run(asked("photos"), replace_scale(where, "quick"))
    assert quick.kept is None and quick.record.sheet is None
    images = quick.splits["test"].some(20).images
    assert torch.equal(quick.sheet.originals, images[:COUNT])
    assert not list(where.results.parent.glob("quick/*.webp"))


@pytest.mark.parametrize(("model", "names"), [("mean_fill", ()), ("pca", PHOTOGRAPHS)])
def test_a_baseline_shows_test_images_and_photographs_where_it_learned_of_images(
    model, names, where
):
    filled = run(asked("photos", model=model, options={}, recipe=Recipe(epochs=0)), where)
    assert tuple(filled.sheet.photographs) == names
    assert len(filled.sheet.completed) == len(MASKS)


def test_what_reconstructs_nothing_has_no_pictures_and_says_so(where):
    pixels = run(asked("photos", model="raw_pixels", options={}, recipe=Recipe(epochs=0)), where)
    assert not list(where.results.glob("*raw_pixels*.webp"))
    with pytest.raises(ValueError, match=r"raw_pixels_.* keeps no pictures, and no model is here"):
        pixels.sheet  # noqa: B018


def test_rows_for_a_figure_are_alike_from_a_model_and_from_a_record(colour, where):
    quick = run(asked("photos"), replace_scale(where, "quick"))
    made, kept = (pictures.reconstructions({"mine": r}, MASKS[0], 5) for r in (quick, colour))
    assert list(made) == ["original", "what is seen", "mine"]
    for name, images in made.items():
        assert images.shape == (5, 3, 32, 32) and near(images * 255, kept[name] * 255)
    veiled = (made["what is seen"] != made["original"]).any(dim=1).float().mean()
    assert veiled == pytest.approx(0.75, abs=0.02)
    shown = pictures.photographs({"mine": colour}, "coffee")
    assert list(shown) == ["original", "mine"]
    assert torch.equal((shown["mine"] * 255).round().byte(), colour.sheet.photographs["coffee"])
    assert torch.equal(shown["original"], photograph("coffee", SIDE))


def replace_scale(execution, scale):
    return execution.model_copy(update={"scale": scale})


def test_the_quality_gives_way_to_the_size():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    smooth = np.full((512, 512, 3), 90, dtype=np.uint8)
    assert len(encoded(smooth)) < 2000
    assert len(encoded(noise[:256, :256])) <= MOST_BYTES


def test_of_large_images_a_sheet_has_as_many_as_its_format_takes(colour, monkeypatch):
    """Eight of 2,048 pixels beside each other would be one more than a WebP may have."""
    images = colour.splits["test"].images[:20]  # of 32 pixels
    monkeypatch.setattr(sheets, "SIDE", 32)
    monkeypatch.setattr(sheets, "LONGEST", 3 * 32 + 5)
    sheet = sheets.sheet_of(colour.model, images, MASKS, torch.device("cpu"))
    assert len(sheet.originals) == 3, "beside each other"
    assert list(sheet.hidden) == [MASKS[0]] == list(sheet.completed), "below each other"
    assert {len(mask) for mask in sheet.hidden.values()} == {3}
