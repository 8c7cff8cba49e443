"""Masks of a training and of tests follow from names, and see what their strategy looks at."""

import pytest
import torch

from lib import masking
from lib.masking import STRATEGIES, draw
from lib.masks import Masks, parse_mask
from lib.masks import test_mask as masks_of_a_test
from lib.pixels import unit_range
from lib.scores import scores_of
from lib.streams import stream

PATCH, GRID = (2, 2), (4, 4)
LOOKING = [name for name, one in STRATEGIES.items() if one.looks_at]
IN_PART = ("attention_hint", "hard_patches")  # whose masks are by lot in part


def pictures(count, seed=0):
    size = (count, 1, 8, 8)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(seed, "pictures"))


def step_of(masks, number, progress=0.5, count=6):
    return masks(unit_range(pictures(count)), 0, count, number, progress)


def test_the_masks_of_a_training_follow_from_seed_and_step_alone():
    masks = Masks("random", 0.75, PATCH, seed=3)
    expected = draw("random", batch=6, grid=GRID, ratio=0.75, generator=stream(3, "mask/120"))
    step_of(masks, 119)  # what was drawn before makes no difference
    assert torch.equal(step_of(masks, 120), expected)
    assert not torch.equal(step_of(masks, 121), expected)
    assert not torch.equal(step_of(Masks("random", 0.75, PATCH, seed=4), 120), expected)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_masks_of_some_rows_are_those_of_the_whole_batch(name):
    """So several processes draw the same."""
    masks = Masks(name, STRATEGIES[name].nearest(0.75), PATCH, seed=3)
    images = unit_range(pictures(7))
    whole = masks(images, 0, 7, 5, 0.4)
    parts = [masks(images[:3], 0, 7, 5, 0.4), masks(images[3:], 3, 7, 5, 0.4)]
    assert torch.equal(torch.cat(parts), whole)


def test_the_masks_of_validation_are_fixed_and_no_steps():
    masks = Masks("random", 0.75, PATCH, seed=3)
    fixed = masks.validation(pictures(6))
    expected = draw("random", batch=6, grid=GRID, ratio=0.75, generator=stream(3, "validation"))
    assert torch.equal(fixed, expected) and torch.equal(fixed, masks.validation(pictures(6, 1)))


@pytest.mark.parametrize("name", [name for name in LOOKING if name not in IN_PART])
def test_who_looks_sees_the_image_in_training_validation_and_tests(name):
    images = pictures(6)
    masks = Masks(name, 0.5, PATCH, seed=3)
    made = [masks.validation(images), masks_of_a_test(f"{name}@0.5", "test", images, PATCH)]
    for hidden in [*made, step_of(masks, 0)]:
        scores = scores_of(name, images, PATCH)
        seen, gone = scores.masked_fill(hidden, torch.nan), scores.masked_fill(~hidden, torch.nan)
        by_image = [(row.nan_to_num(-9).max(), row.nan_to_num(9).min()) for row in gone]
        others = [(row.nan_to_num(-9).max(), row.nan_to_num(9).min()) for row in seen]
        highest = all(low >= top for (_, low), (top, _) in zip(by_image, others, strict=True))
        lowest = all(top <= low for (top, _), (_, low) in zip(by_image, others, strict=True))
        assert highest != lowest


def test_a_scheduled_strategy_hears_how_far_training_is(monkeypatch):
    monkeypatch.setattr(STRATEGIES, "entries", dict(STRATEGIES))
    heard = []

    @masking.strategy()
    def scheduled(batch, grid, hidden, generator, scores=None, progress=None):
        """Random ones."""
        heard.append(progress)
        return STRATEGIES["random"].function(batch, grid, hidden, generator)

    masks = Masks("scheduled", 0.5, PATCH, seed=0)
    step_of(masks, 7, progress=0.25)
    masks.validation(pictures(2))
    masks_of_a_test("scheduled@0.5", "test", pictures(2), PATCH)
    assert heard == [0.25, 1.0, None]


def test_test_masks_depend_on_split_strategy_and_ratio_alone():
    def drawn(name="random@0.75", split="test", seed=0):
        return masks_of_a_test(name, split, pictures(20, seed), PATCH)

    torch.manual_seed(1)
    first = drawn()
    torch.manual_seed(2)
    assert torch.equal(first, drawn()) and torch.equal(first, drawn(seed=1))
    assert not torch.equal(first, drawn(split="validation"))
    assert not drawn("none").any()


def test_a_test_mask_is_drawn_from_the_stream_of_its_name():
    """So a reader can draw it again."""
    generator = stream(0, "test/block@0.5")
    expected = draw("block", batch=9, grid=GRID, ratio=0.5, generator=generator)
    assert torch.equal(masks_of_a_test("block@0.5", "test", pictures(9), PATCH), expected)


@pytest.mark.parametrize("name", ["random", "random@", "random@half", "@", "r" * 300])
def test_a_test_mask_that_is_not_one_is_refused(name):
    with pytest.raises(ValueError, match="strategy@ratio") as raised:
        parse_mask(name)
    assert len(str(raised.value)) < 320


@pytest.mark.parametrize("name", ["random@nan", "random@2", "@0.5"])
def test_a_test_mask_that_cannot_be_drawn_is_refused(name):
    with pytest.raises(ValueError, match=r"ratio|strategy"):
        masks_of_a_test(name, "test", pictures(2), PATCH)
