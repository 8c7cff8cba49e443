"""Every model is judged on the same masks of the same images, each prediction by its own image."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lib import evaluate, measures
from lib.data.registry import Images
from lib.masking import STRATEGIES
from lib.pixels import Shape
from lib.streams import stream

CPU = torch.device("cpu")
SHAPE = Shape(1, 4, 4, (2, 2))


# --- batches and pairing ----------------------------------------------------------------------


def test_batches_give_every_row_once_in_order_and_the_last_may_be_short():
    heard = []

    def doubled(rows, more):
        heard.append(len(rows))
        return (rows + more).double()

    rows = torch.arange(7.0)
    found = evaluate.in_batches(doubled, rows, rows * 10, device=CPU, batch=3)
    assert heard == [3, 3, 1]
    assert found.tolist() == [0, 11, 22, 33, 44, 55, 66] and found.dtype == torch.float32


class Painter(nn.Module):
    """Predicts 0.1 at every place that is hidden and 0.2 elsewhere."""

    def reconstruct(self, images, mask):
        hidden = mask.reshape(-1, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return torch.where(hidden, 0.1, 0.2).expand_as(images)


def test_each_prediction_is_held_against_its_own_image_under_its_own_mask():
    """Worked out by hand: image i is of one brightness, i/255."""
    brightness = torch.tensor([0, 51, 102, 153, 204, 255], dtype=torch.uint8)
    images = brightness[:, None, None, None].expand(6, 1, 4, 4).contiguous()
    rows = evaluate.per_image(Painter(), images, "random@0.75", "test", SHAPE, CPU)
    assert rows["image"].tolist() == list(range(6))
    assert set(rows["split"]) == {"test"} and set(rows["mask"]) == {"random@0.75"}
    truth = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert np.allclose(rows["mse_hidden"], (truth - 0.1) ** 2, atol=1e-6)
    assert np.allclose(rows["mse_visible"], (truth - 0.2) ** 2, atol=1e-6)
    assert np.allclose(rows["mse_all"], 0.75 * (truth - 0.1) ** 2, atol=1e-6)


class Copier(nn.Module):
    """Predicts what it is given."""

    def reconstruct(self, images, mask):
        return images


def test_many_images_in_uneven_batches_are_each_measured():
    """A mistake of pairing would show: every image has content of its own."""
    images = torch.randint(0, 256, (300, 1, 4, 4), dtype=torch.uint8, generator=stream(0, "images"))
    rows = evaluate.per_image(Copier(), images, "random@0.5", "test", SHAPE, CPU)
    assert len(rows) == 300 and rows["raw_mse_all"].max() < 1e-12
    assert rows["ssim_all"].min() > 1 - 1e-6


# --- from images to measures ------------------------------------------------------------------


def table(**columns):
    count = len(next(iter(columns.values())))
    place = {"split": "test", "mask": "m", "image": range(count)}
    return pd.DataFrame(place | columns)


def test_psnr_of_a_set_is_that_of_its_mean_error():
    rows = table(mse_hidden=[0.1, 0.001], ssim_hidden=[0.2, 0.4], mse_visible=[0.0, 0.0])
    found = evaluate.summarise(rows)["test"]
    assert found["m/psnr_hidden"] == {"value": pytest.approx(-10 * np.log10(0.0505)), "n": 2}
    assert found["m/ssim_hidden"]["value"] == pytest.approx(0.3)
    assert found["m/psnr_visible"] == {"value": None, "n": 2}, "an exact copy has no finite PSNR"


def test_every_column_has_one_name_and_raw_ones_keep_theirs():
    truth, prediction = np.full((4, 4, 1), 0.5), np.full((4, 4, 1), 0.6)
    hidden = np.arange(16).reshape(4, 4) < 8
    row = measures.image_measures(truth, prediction, hidden)
    found = evaluate.summarise(table(**{name: [value] for name, value in row.items()}))["test"]
    assert len(found) == len(row)
    assert set(found) >= {
        *("m/psnr_hidden", "m/psnr_visible", "m/psnr_all", "m/ssim_hidden", "m/ssim_all"),
        *("m/raw_psnr_all", "m/raw_ssim_hidden", "m/raw_ssim_visible", "m/raw_ssim_all"),
    }
    assert found["m/raw_psnr_all"]["value"] == pytest.approx(20)
    assert found["m/psnr_all"]["value"] == pytest.approx(20 + 10 * np.log10(2))


def test_what_a_mask_does_not_have_is_left_out_beside_one_that_has():
    hidden = table(mse_hidden=[0.1], mse_all=[0.01])
    none = table(mse_all=[0.1]).assign(mask="none")
    found = evaluate.summarise(pd.concat([hidden, none], ignore_index=True))["test"]
    assert set(found) == {"m/psnr_hidden", "m/psnr_all", "none/psnr_all"}


# --- features ---------------------------------------------------------------------------------


class Means(nn.Module):
    """The mean brightness of the left and of the right half."""

    def embed(self, images):
        left, right = images.mean(dim=1).chunk(2, dim=2)
        return torch.stack([left.mean(dim=(1, 2)), right.mean(dim=(1, 2))], dim=1)


def halves(count, seed, labelled=True):
    """Images of two classes: bright on the left, or on the right."""
    generator = stream(seed, "halves")
    labels = torch.arange(count) % 2
    pixels = torch.randint(0, 200, (count, 1, 4, 4), generator=generator)
    bright = torch.where(labels[:, None, None, None] == 1, torch.arange(4) > 1, torch.arange(4) < 2)
    images = (pixels + 55 * bright).to(torch.uint8)
    held = {"variant": "toy", "sha256": "", "licence": "", "citation": ""}
    return Images(images, labels if labelled else None, ("left", "right"), **held)


def splits(**options):
    sizes = {"train": 60, "validation": 40, "test": 30}
    return {
        name: halves(count, seed, **options) for seed, (name, count) in enumerate(sizes.items())
    }


def test_features_are_probed_on_validation_and_test():
    found = evaluate.probe(Means(), splits(), CPU)
    assert set(found.metrics["test"]) == {"probe_accuracy", "knn_accuracy"}
    for split, count in (("validation", 40), ("test", 30)):
        for name in ("probe_accuracy", "knn_accuracy"):
            assert found.metrics[split][name]["n"] == count
            assert found.metrics[split][name]["value"] > 0.75
    assert found.strength in measures.STRENGTHS
    chosen = found.metrics["validation"]["probe_strength"]
    assert chosen == {"value": found.strength, "n": 40}


def test_accuracies_are_those_of_the_split_that_they_stand_under():
    """Of test images with all labels turned round a good classifier has few right."""
    given = splits()
    turned = given["test"]
    turned = Images(
        turned.images, 1 - turned.labels, turned.classes, "toy", sha256="", licence="", citation=""
    )
    found = evaluate.probe(Means(), given | {"test": turned}, CPU).metrics
    for name in ("probe_accuracy", "knn_accuracy"):
        assert found["test"][name]["value"] < 0.25 < 0.75 < found["validation"][name]["value"]


def test_without_labels_nothing_is_measured_over_no_images():
    found = evaluate.probe(Means(), splits(labelled=False), CPU)
    nothing = {"value": None, "n": 0}
    assert found.metrics["test"] == {"probe_accuracy": nothing, "knn_accuracy": nothing}
    assert found.metrics["validation"]["probe_strength"] == nothing
    assert found.strength is None and not found.warnings


def test_a_strength_at_the_end_of_its_grid_is_said(monkeypatch):
    assert evaluate.probe(Means(), splits(), CPU).warnings == []
    monkeypatch.setattr(measures, "STRENGTHS", (0.01,))
    found = evaluate.probe(Means(), splits(), CPU)
    assert found.edge and "C=0.01, an end of its grid" in found.warnings[0]


def test_a_strategys_own_masks_are_its_own_or_what_it_ends_as_or_random():
    judged = [f"{name}@0.75" for name in ("random", "block", "hardest")]
    assert evaluate.own_mask("block", 0.75, judged) == "block@0.75"
    assert evaluate.own_mask("adversarial", 0.75, judged) == "hardest@0.75"
    assert evaluate.own_mask("rows", 0.75, judged) == "random@0.75"


def test_what_a_strategy_ends_as_has_test_masks_in_the_sweeps():
    ends = {name: one.ends_as for name, one in STRATEGIES.items() if one.ends_as}
    assert ends
    for name, other in ends.items():
        assert evaluate.own_mask(name, 0.75, evaluate.EVERY) == f"{other}@0.75"
