"""Augmentations change each image by its own choices; a mixed one is its label's proportions."""

import pytest
import torch

from lib import augment
from lib.augment import AUGMENTATIONS, box, known, mixed
from lib.finetune import Classifier, FineTune
from lib.models.family import Batch, build
from lib.pixels import Shape
from lib.streams import stream

WAYS = [
    {"mixup": 0.8, "cutmix": 0.0},
    {"mixup": 0.0, "cutmix": 1.0},
    {"mixup": 0.8, "cutmix": 1.0},
]


def pictures(count=40, height=16, width=12):
    """Smooth pictures, so that interpolation is close to what it should give."""
    down, across = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    slopes = torch.rand(count, 2, 1, 1, generator=stream(0, "slopes")) * 120
    return (slopes[:, :1] * rows + slopes[:, 1:] * columns).round().to(torch.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation_keeps_shape_and_type_and_is_its_generators(name):
    entry, images = AUGMENTATIONS[name], pictures()
    first, again, other = (
        entry.apply(images, entry.draw(40, 16, 12, stream(seed, "a"))) for seed in (0, 0, 1)
    )
    assert first.shape == images.shape and first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert name == "none" or not torch.equal(first, other)
    assert images.equal(pictures()), "the images it was given are as they were"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_depends_on_its_own_choices_alone(name):
    entry, images = AUGMENTATIONS[name], pictures()
    choices = entry.draw(40, 16, 12, stream(0, "a"))
    whole = entry.apply(images, choices)
    assert torch.equal(whole[7:9], entry.apply(images[7:9], choices[7:9]))
    assert entry.apply(images[:0], choices[:0]).shape == (0, 1, 16, 12)


def test_a_coin_below_a_half_mirrors():
    images = pictures(2)
    flipped = AUGMENTATIONS["flip"].apply(images, torch.tensor([[0.49], [0.5]]))
    assert torch.equal(flipped[0], images[0].flip(2)) and torch.equal(flipped[1], images[1])


def test_a_shifted_image_is_a_window_of_the_reflected_one():
    """Sides of 16 and 8 are shifted by up to 2 and 1: (2, 1) is the place of the image itself."""
    image = torch.arange(128, dtype=torch.uint8).reshape(1, 1, 16, 8)

    def shifted(top, left):
        return AUGMENTATIONS["crop_flip"].apply(image, torch.tensor([[top, left, 0.9]]))[0, 0]

    assert torch.equal(shifted(2.0, 1.0), image[0, 0])
    moved = shifted(0.0, 2.0)
    assert torch.equal(moved[2:, :-1], image[0, 0, :-2, 1:])
    assert torch.equal(moved[:2, :-1], image[0, 0, [2, 1], 1:]), "what moves in is reflected"
    assert torch.equal(moved[2:, -1], image[0, 0, :-2, -2])


def test_shifts_reach_every_place_and_no_other():
    top, left, coin = AUGMENTATIONS["crop_flip"].draw(4000, 24, 9, stream(0, "a")).unbind(1)
    assert set(top.tolist()) == set(range(7)) and set(left.tolist()) == set(range(3))
    assert 0.45 < (coin < 0.5).float().mean() < 0.55


def test_a_crop_of_the_whole_is_the_image_and_a_half_is_that_half():
    images = pictures()
    crop = AUGMENTATIONS["resized_crop_flip"].apply

    def part(*choices):
        return crop(images, torch.tensor([choices]).expand(40, -1))

    assert torch.equal(part(0.0, 0.0, 1.0, 1.0, 0.9), images)
    assert torch.equal(part(0.0, 0.0, 1.0, 1.0, 0.1), images.flip(3))
    upper = part(0.0, 0.0, 0.5, 1.0, 0.9).float()[:, :, ::2].mean(dim=(1, 2, 3))
    assert (upper - images[:, :, :8].float().mean(dim=(1, 2, 3))).abs().max() < 3
    right = part(0.0, 0.5, 1.0, 0.5, 0.9).float()[:, :, :, ::2].mean(dim=(1, 2, 3))
    assert (right - images[:, :, :, 6:].float().mean(dim=(1, 2, 3))).abs().max() < 3


def test_crops_cover_a_fifth_to_all_of_the_area_inside_the_image():
    choices = AUGMENTATIONS["resized_crop_flip"].draw(5000, 16, 16, stream(0, "a"))
    top, left, height, width, coin = choices.unbind(1)
    area, aspect = height * width, (height / width).log().abs()
    assert area.min() > 0.18 and area.max() <= 1
    assert 0.45 < (coin < 0.5).float().mean() < 0.55
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    assert aspect.max() <= torch.tensor(16 / 9).log() and aspect.mean() > 0.05


def test_an_unknown_augmentation_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown augmentation 'crop'.*crop_flip"):
        known("crop")


def plain(count, side=8):
    """Images of one brightness each: their label is the brightness."""
    labels = torch.arange(count)
    brightness = (labels / count).float()[:, None, None, None]
    return brightness.expand(count, 3, side, side).contiguous(), labels


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("count", [1, 5, 6])
def test_labels_are_mixed_as_the_pixels_are(how, count):
    """The mean brightness of a mixed image is the mean of its label."""
    images, labels = plain(count)
    before = images.clone()
    classes = count + 2
    for seed in range(20):
        found, targets = mixed(images, labels, classes, **how, generator=stream(seed, "mix"))
        assert targets.shape == (count, classes)
        assert torch.allclose(targets.sum(1), torch.ones(count))
        brightness = targets @ torch.arange(classes).div(count)
        assert torch.allclose(found.mean((1, 2, 3)), brightness, atol=1e-5)
    assert torch.equal(images, before)


def test_mixup_blends_every_pixel_and_cutmix_copies_each_from_one_image():
    images, labels = plain(4)
    blended, _ = mixed(images, labels, 4, **WAYS[0], generator=stream(3, "mix"))
    copied, _ = mixed(images, labels, 4, **WAYS[1], generator=stream(3, "mix"))
    assert all(len(image.unique()) == 1 for image in blended)
    assert not torch.isin(blended, images).all()
    assert torch.isin(copied, images).all() and not torch.equal(copied, images)


def test_the_first_image_meets_the_last(monkeypatch):
    """With nothing left of themselves, images are each other's."""
    monkeypatch.setattr(augment, "beta", lambda alpha, generator: 0.0)
    images, labels = plain(5)
    found, targets = mixed(images, labels, 5, **WAYS[0], generator=stream(0, "mix"))
    assert torch.equal(found, images.flip(0)) and torch.equal(targets, torch.eye(5).flip(0))


def test_where_both_are_on_a_coin_decides():
    images, labels = plain(4)
    cut = 0
    for seed in range(400):
        found, _ = mixed(images, labels, 4, **WAYS[2], generator=stream(seed, "mix"))
        cut += bool(torch.isin(found, images).all())
    assert 150 < cut < 250


def test_shares_follow_the_beta_distribution():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1))."""
    generator = stream(0, "mix")
    drawn = torch.tensor([augment.beta(0.8, generator) for _ in range(4000)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.var() == pytest.approx(1 / (4 * 2.6), rel=0.06)


def test_a_box_in_the_middle_has_its_area_and_one_at_the_border_is_cut_off():
    assert box(0.25, 8, 16, [0.5, 0.5]) == (2, 6, 4, 12)
    assert box(0.25, 8, 16, [0.0, 0.999]) == (0, 2, 11, 16)
    top, bottom, left, right = box(0.0, 8, 8, [0.3, 0.3])
    assert top == bottom and left == right


def test_nothing_to_mix_is_said():
    with pytest.raises(ValueError, match="set mixup or cutmix above 0"):
        mixed(*plain(2), 2, mixup=0.0, cutmix=0.0, generator=stream(0, "mix"))


def test_fine_tuning_learns_from_the_mixed_labels(monkeypatch):
    """Its loss written out, for a quarter of each image and three of its partner."""
    monkeypatch.setattr(augment, "beta", lambda alpha, generator: 0.25)
    images, _ = plain(6)
    labels = torch.tensor([0, 0, 1, 2, 1, 2])
    shape, mean = Shape(3, 8, 8, (4, 4)), torch.full((3,), 0.5)
    options = {"hidden": (5,), "latent": 4}
    body = build("autoencoder", options, shape, mean, mean / 2, stream(0, "weights"))
    classifier = Classifier(body, 4, 3, FineTune(mixup=1.0, label_smoothing=0.1), seed=0)
    batch = Batch(images, torch.zeros(6, 4, dtype=torch.bool), 6, labels=labels)
    ((_, found),) = classifier.phases(batch)

    logs = classifier(0.25 * images + 0.75 * images.flip(0)).log_softmax(dim=1)
    own, partners = torch.eye(3)[labels], torch.eye(3)[labels.flip(0)]
    wanted = 0.9 * (0.25 * own + 0.75 * partners) + 0.1 / 3
    assert found.item() == pytest.approx(-(wanted * logs).sum(dim=1).mean().item(), rel=1e-5)
