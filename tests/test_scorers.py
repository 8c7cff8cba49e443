"""Masks that ask the model that learns: the teacher follows it, the adversary plays against it."""

import copy
import math

import pytest
import torch
from families import small

from lib.adversary import SPREAD, Adversary
from lib.feed import Processes
from lib.judge import attention_of
from lib.masking import STRATEGIES, draw
from lib.masks import masks_of
from lib.models.family import Model
from lib.pixels import PixelSpace, Shape, unit_range
from lib.run.settings import Experiment
from lib.scores import OF_A_MODEL
from lib.streams import stream
from lib.teacher import MOMENTUM, Teacher
from lib.training import Recipe, train

SHAPE = Shape(1, 8, 8, (2, 2))
ASKING = [name for name, one in STRATEGIES.items() if one.looks_at in OF_A_MODEL]
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.01, evaluations=2, augment="crop_flip")


def data(count=24, seed=0):
    size = (count, 1, 8, 8)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(seed, "data"))


def trained(name, **options):
    model = small("mae", SHAPE)
    masks = masks_of(model, name, 0.75, SHAPE.patch, 0, "float32")
    history = train(model, data(), data(10, 1), masks, RECIPE, seed=0, **options)
    return model, masks, history


def scores(scorer, step, images=None):
    images = unit_range(data(6)) if images is None else images
    return scorer.scores(images, 0, len(images), step)


def test_those_that_ask_have_somebody_to_ask_and_others_have_not():
    kinds = {}
    for name, one in STRATEGIES.items():
        ratio = one.nearest(0.75)
        scorer = masks_of(small("mae", SHAPE), name, ratio, SHAPE.patch, 0, "float32").scorer
        kinds.setdefault(type(scorer).__name__, []).append(name)
    assert kinds.pop("Adversary") == ["adversarial"]
    assert sorted([*kinds.pop("Teacher"), "adversarial"]) == sorted(ASKING)
    assert masks_of(small("mae", SHAPE), ASKING[0], 0.0, SHAPE.patch, 0, "float32").scorer is None


def test_a_teacher_follows_its_model_at_first_closely_then_slowly():
    model = small("mae", SHAPE)
    teacher = Teacher(model, "attention", 0, "float32")
    assert torch.equal(scores(teacher, 0), attention_of(model, unit_range(data(6))))
    average, weight = teacher.average.head.weight, model.head.weight
    for step, kept in ((0, 0.1), (10, 0.55), (10**6, MOMENTUM)):
        with torch.no_grad():
            weight.add_(1.0)
        before = average.clone()
        teacher.follow(step)
        expected = kept * before + (1 - kept) * weight
        torch.testing.assert_close(average, expected)
    assert not average.requires_grad and weight.requires_grad


@pytest.mark.parametrize("looks_at", ["attention", "error"])
def test_what_a_teacher_says_moves_with_its_model(looks_at):
    model = small("mae", SHAPE)
    moved, still = (Teacher(model, looks_at, 0, "float32") for _ in range(2))
    before = scores(still, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=stream(5, "other")))
    assert not torch.allclose(scores(moved, 1), before)


@pytest.mark.parametrize("name", ASKING)
def test_large_batches_are_asked_about_in_parts(name, monkeypatch):
    images = unit_range(data(7))
    whole, parts = (
        masks_of(small("mae", SHAPE), name, 0.5, SHAPE.patch, 0, "float32") for _ in range(2)
    )
    expected = [whole(images, 0, 7, step, 0.5) for step in range(2)]
    monkeypatch.setattr("lib.teacher.TOGETHER", 3)
    monkeypatch.setattr("lib.adversary.TOGETHER", 3)
    for step, mask in enumerate(expected):
        assert torch.equal(parts(images, 0, 7, step, 0.5), mask)


def test_who_has_no_attention_is_not_asked_for_it():
    asked = {"dataset": "digits", "model": "autoencoder", "strategy": "attention_high"}
    with pytest.raises(ValueError, match="'autoencoder' has none: take 'mae'"):
        Experiment(**asked, recipe=Recipe(epochs=1))
    assert Experiment(**asked).recipe.epochs == 0, "nothing is trained, nobody asked"
    assert Experiment(**asked, recipe=Recipe(epochs=1), mask_ratio=0.0).trains


def test_a_record_names_who_was_asked():
    asked = {"dataset": "digits", "model": "mae", "test_masks": ("random@0.75",)}
    trained = Recipe(epochs=1)
    for strategy, named in (
        ("random", set()),
        ("edges", set()),
        ("hardest", {"judge", "teacher"}),
        ("attention_high", {"judge", "teacher"}),
        ("adversarial", {"judge", "adversary"}),
    ):
        found = Experiment(**asked, strategy=strategy, recipe=trained).components()
        assert found.keys() & {"judge", "teacher", "adversary"} == named
    judged = Experiment(**asked | {"test_masks": ("hardest@0.75",)}, recipe=trained).components()
    assert judged.keys() & {"judge", "teacher", "adversary"} == {"judge"}


def test_masks_of_a_training_ask_its_own_model():
    images = unit_range(data(6))
    first = small("mae", SHAPE)
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=stream(5, "other")))
    for name in ("attention_high", "hardest"):
        made = [
            masks_of(model, name, 0.5, SHAPE.patch, 0, "float32")(images, 0, 6, 0, 0.5)
            for model in (first, second)
        ]
        assert not torch.equal(*made)
        fixed = [
            masks_of(model, name, 0.5, SHAPE.patch, 0, "float32").validation(data(6))
            for model in (first, second)
        ]
        assert torch.equal(*fixed), "validation asks the judge"


@pytest.mark.parametrize("name", ASKING)
def test_one_taken_up_again_ends_with_the_same_bits(name):
    kept = {}

    def watch(state):
        if state.step == 4:
            kept["state"] = (
                {name: value.clone() for name, value in state.tensors().items()},
                copy.deepcopy(state.numbers()),
            )

    model, masks, history = trained(name, watch=watch)
    assert any(key.startswith("masks.") for key in kept["state"][0])
    again, masks_again, history_again = trained(name, start=kept["state"])
    assert history == history_again
    for first, second in (
        (model.state_dict(), again.state_dict()),
        (masks.tensors(), masks_again.tensors()),
    ):
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ASKING)
def test_rows_of_a_batch_are_masked_as_in_the_whole_of_it(name):
    images = unit_range(data(6))

    def fresh():
        return masks_of(small("mae", SHAPE), name, 0.5, SHAPE.patch, 3, "float32")

    whole = fresh()(images, 0, 6, 2, 0.4)
    parts = [fresh()(images[:2], 0, 6, 2, 0.4), fresh()(images[2:], 2, 6, 2, 0.4)]
    assert torch.equal(torch.cat(parts), whole)


class FailsOnBright(Model):
    """Completes dark patches and no bright ones."""

    def __init__(self):
        super().__init__()
        self.space = PixelSpace(SHAPE, torch.tensor([0.5]), torch.tensor([0.3]))
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def reconstruct(self, images, mask):
        return images - 0.5 * (images > 0.5)


def test_an_adversary_learns_to_hide_what_the_model_cannot_fill():
    """Three quarters are hidden: in the end the dark quarter of each image is what is seen."""
    images = torch.rand(32, 16, generator=stream(0, "order")).argsort(dim=1) >= 4
    bright = images.float()
    pixels = bright.reshape(-1, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    masks = masks_of(FailsOnBright(), "adversarial", 0.75, SHAPE.patch, 0, "float32")
    drawn = torch.stack([masks(pixels, 0, 32, step, 0.0) for step in range(150)]).float()
    dark_seen = ((1 - drawn) * (1 - bright)).mean(dim=(1, 2)) * 4  # of the quarter that is seen
    assert dark_seen[0] < 0.45 and dark_seen[-10:].mean() > 0.7


def test_the_scores_of_an_adversary_have_a_fixed_spread_and_gumbel_noise():
    images = unit_range(data(400))
    adversary = Adversary(small("mae", SHAPE), 0, "float32", Processes())
    said = adversary.network(images).detach()
    torch.testing.assert_close(said.std(dim=1, correction=0), torch.full((400,), SPREAD))
    noise = adversary.scores(images, 0, 400, 7) - said
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.05)  # Euler's constant
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.1)
    assert float((noise < 0).float().mean()) == pytest.approx(math.exp(-1), abs=0.02)


def test_several_processes_teach_one_adversary():
    """The gradients of two halves, summed, are those of the whole."""

    class Noting(Processes):
        def sums(self, tensors):
            noted.append(tensors)
            return tensors

    noted = []
    images = unit_range(data(8))
    mask = draw("random", batch=8, grid=(4, 4), ratio=0.5, generator=stream(2, "mask"))
    for rows in (slice(0, 8), slice(0, 3), slice(3, 8)):
        one = Adversary(small("mae", SHAPE), 0, "float32", Noting())
        one.learn(images[rows], mask[rows], 8)
    for whole, *halves in zip(*noted, strict=True):
        torch.testing.assert_close(whole, sum(halves), rtol=1e-3, atol=1e-7)
