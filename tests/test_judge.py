"""What a model says of patches: its attention and its errors; the judge is frozen and sees any image."""

import pytest
import torch
from families import small

from lib import judge
from lib.judge import attention_of, error_of, error_under
from lib.masks import test_mask as masks_of_a_test
from lib.models.published import load_pretrained
from lib.patches import patchify
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 8, 8, (2, 2))


def pictures(count=3, channels=1, side=8):
    return torch.rand(count, channels, side, side, generator=stream(0, "pictures"))


def test_attention_is_what_the_class_token_gives_each_patch():
    model = small("mae", SHAPE)
    maps = model.attention(pictures())  # batch heads tokens tokens
    found = attention_of(model, pictures())
    expected = sum(maps[1, head, 0, 1 + 5] for head in range(maps.shape[1])) / maps.shape[1]
    assert found.shape == (3, 16) and found[1, 5] == pytest.approx(float(expected))
    assert (found.sum(dim=1) < 1).all(), "[CLS] keeps some for itself"


@pytest.mark.parametrize("name", ["mae", "autoencoder"])
def test_an_error_is_that_of_a_hidden_patch(name):
    """By hand: every mask of the two passes, every patch that it hides."""
    model = small(name, SHAPE)
    images = pictures()
    noise = torch.rand(3, 16, generator=stream(1, "noise"))
    by_hand = [[[] for _ in range(16)] for _ in range(3)]
    for order in (noise.argsort(dim=1), noise.argsort(dim=1, descending=True)):
        mask = torch.zeros(3, 16, dtype=torch.bool).scatter(1, order[:, :12], True)
        with torch.no_grad():
            made = model.reconstruct(images, mask)
        wrong = patchify((made - images) ** 2, SHAPE.patch).mean(dim=2)
        for image, patch in mask.nonzero().tolist():
            by_hand[image][patch].append(float(wrong[image, patch]))
    assert all(len(errors) in (1, 2) for row in by_hand for errors in row), "each is hidden"
    expected = [sum(errors) / len(errors) for row in by_hand for errors in row]
    found = error_of(model, images, noise[None])
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-5)
    twice = error_of(model, images, torch.stack([noise, noise]))
    torch.testing.assert_close(twice, found)
    assert not torch.allclose(error_of(model, images, torch.stack([noise, noise.flip(1)])), found)


def test_where_there_is_no_image_there_is_no_error():
    """The share of a process in a last batch that is smaller than the number of processes."""
    found = error_of(small("mae", SHAPE), pictures(0), torch.zeros(1, 0, 16))
    assert found.shape == (0, 16)


def test_nothing_is_wrong_with_what_is_seen():
    mask = torch.zeros(3, 16, dtype=torch.bool)
    mask[:, 3:9] = True
    found = error_under(small("mae", SHAPE), pictures(), mask)
    assert (found[~mask] == 0).all() and (found[mask] > 0).all()


def test_the_judge_is_the_committed_model_in_more_digits():
    images = pictures(2, 3, 64)
    expected = attention_of(load_pretrained("imagenette-mae"), images)
    torch.testing.assert_close(judge.attention(images, (8, 8)), expected, rtol=1e-3, atol=1e-6)
    assert all(one.dtype == torch.float64 for one in judge.judge().parameters())


@pytest.mark.parametrize(
    ("channels", "side", "patch"), [(1, 28, (4, 4)), (3, 56, (4, 8)), (4, 9, (3, 3))]
)
def test_it_sees_images_of_any_size_and_colour(channels, side, patch):
    images = pictures(2, channels, side)
    images[1] = 0.5
    images[1, :, : side // 3, : side // 3] = pictures(1, channels, side // 3)[0]
    for said in (judge.attention(images, patch), judge.error(images, patch)):
        assert said.shape == (2, side // patch[0] * (side // patch[1]))
    errors = judge.error(images, patch)[1].reshape(side // patch[0], side // patch[1])
    noisy = errors[: len(errors) // 3, : errors.shape[1] // 3]
    assert noisy.mean() > 3 * errors[-2:, -2:].mean(), "noise is hard and grey is easy"


def test_what_it_says_of_an_image_does_not_depend_on_the_others():
    images = pictures(5, 3, 64)
    for ask in (judge.attention, judge.error):
        alone = torch.cat([ask(images[i : i + 1], (8, 8)) for i in range(5)])
        torch.testing.assert_close(ask(images, (8, 8)), alone, rtol=1e-6, atol=1e-9)


def test_the_same_question_is_asked_once(monkeypatch):
    monkeypatch.setattr(judge, "SAID", {})
    asked = []

    def counted(*arguments, ask=judge.ask):
        asked.append(arguments)
        return ask(*arguments)

    monkeypatch.setattr(judge, "ask", counted)
    images = (pictures(2, 3, 64) * 255).to(torch.uint8)
    for name in ("attention_high", "attention_hint", "hardest", "hard_patches"):
        masks_of_a_test(f"{name}@0.75", "test", images, (8, 8))
    masks_of_a_test("hardest@0.75", "test", images[:1], (8, 8))
    assert len(asked) == 3, "attention and errors of two images, and errors of one"
    monkeypatch.setattr(judge, "REMEMBERED", 3)
    masks_of_a_test("hardest@0.75", "test", images[1:], (8, 8))
    assert len(judge.SAID) == 3, "the oldest is forgotten"
