import math
from itertools import pairwise

import pytest
import torch

from lib import checkpoint
from lib.feed import epoch_order
from lib.masking import draw
from lib.models import MODELS, build
from lib.optim import GradientStep, StepSettings, Update
from lib.pixels import Shape
from lib.streams import stream
from lib.training import NotFinite, Recipe, rate_factor, train

SHAPE = Shape(1, 4, 4, (2, 2))
RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.01, evaluations=4, augment="crop_flip")
OPTIONS = {"autoencoder": {"hidden": (8,), "latent": 3}, "adversarial": {"hidden": (8,), "discriminator": (6,), "latent": 2}}


def data(count=40, seed=0):
    return torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=stream(seed, "data"))


def draw_mask(batch, generator, progress):
    return draw("random", batch=batch, grid=SHAPE.grid, ratio=0.5, generator=generator)


def fresh(name="autoencoder", **settings):
    model = build(name, OPTIONS[name], SHAPE, torch.tensor([0.5]), torch.tensor([0.3]), stream(0, "w"))
    return model, MODELS[name].make_step(model, StepSettings(**{"learning_rate": 0.01, "weight_decay": 0.05} | settings))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name):
    results = []
    for seed in (3, 3, 4):
        model, step = fresh(name)
        results.append((train(model, step, data(), data(10, 1), draw_mask, RECIPE, seed=seed), weights(model)))
    assert results[0][0] == results[1][0] and same(results[0][1], results[1][1])
    assert results[0][0] != results[2][0]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("stop_at", [3, 5, 11, 19])
def test_an_interrupted_run_ends_with_the_same_bits(name, stop_at, tmp_path):
    """Stopped in the middle of an epoch or at its end, for one optimiser and for three; a state at every step."""
    model, step = fresh(name)
    history = train(model, step, data(), data(10, 1), draw_mask, RECIPE, seed=0)

    class Killed(Exception):
        pass

    first, first_step = fresh(name)
    calls = iter(range(1000))

    class Dying(type(first_step)):
        def __call__(self, *arguments):
            if next(calls) == stop_at:
                raise Killed
            return super().__call__(*arguments)

    first_step.__class__ = Dying
    with pytest.raises(Killed):
        train(first, first_step, data(), data(10, 1), draw_mask, RECIPE, seed=0, run="r", folder=tmp_path, save_every=0.0)
    again, again_step = fresh(name)
    assert train(again, again_step, data(), data(10, 1), draw_mask, RECIPE, seed=0, run="r", folder=tmp_path, save_every=0.0) == history
    assert same(weights(again), weights(model))


def test_a_state_of_another_run_is_not_taken(tmp_path):
    model, step = fresh()
    train(model, step, data(), data(10, 1), draw_mask, RECIPE, seed=0, run="one", folder=tmp_path)
    assert checkpoint.latest_state(tmp_path, "one") is not None
    assert checkpoint.latest_state(tmp_path, "other") is None


def test_an_epoch_sees_every_image_once():
    generator, began = stream(0, "order"), stream(0, "order").get_state()
    first = epoch_order(10, generator, began)
    assert sorted(first.tolist()) == list(range(10))
    second_began = generator.get_state()
    assert epoch_order(10, generator, second_began).tolist() != first.tolist()
    assert epoch_order(10, generator, began).tolist() == first.tolist(), "a resumed run sees the same order"


def test_best_on_validation_is_kept():
    """Validation images that contradict training get worse: the best weights are early ones."""
    results = {}
    for keep in ("best", "last"):
        model, step = fresh()
        recipe = Recipe(epochs=60, batch_size=8, learning_rate=0.02, evaluations=10, keep=keep)
        history = train(model, step, data(8), 255 - data(8), draw_mask, recipe, seed=0)
        from lib.training import mean_loss, validation_masks

        results[keep] = mean_loss(model, 255 - data(8), validation_masks(8, draw_mask, 0), "float32")
    losses = [row["validation_loss"] for row in history]
    assert losses[-1] > min(losses)
    assert results["best"] == pytest.approx(min(losses), rel=1e-5) and results["last"] == pytest.approx(losses[-1], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(tmp_path):
    model, step = fresh()
    calls = iter(range(1000))

    class Breaking(GradientStep):
        def __call__(self, *arguments):
            losses = super().__call__(*arguments)
            return losses if next(calls) < 7 else {"loss": torch.tensor(math.nan)}

    step = Breaking(model, StepSettings(0.01, 0.0))
    with pytest.raises(NotFinite, match=r"loss became nan at step 7 of 20, learning rate \d.*no state was saved"):
        train(model, step, data(), data(10, 1), draw_mask, RECIPE, seed=0)


def test_the_last_good_state_is_named(tmp_path):
    model, _ = fresh()
    calls = iter(range(1000))

    class Breaking(GradientStep):
        def __call__(self, *arguments):
            losses = super().__call__(*arguments)
            return losses if next(calls) < 7 else {"loss": torch.tensor(math.inf)}

    with pytest.raises(NotFinite, match="state-000000007"):
        train(
            model,
            Breaking(model, StepSettings(0.01, 0.0)),
            data(),
            data(10, 1),
            draw_mask,
            RECIPE,
            seed=0,
            run="r",
            folder=tmp_path,
            save_every=0.0,
        )


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1 and factors[55] == pytest.approx(0.5) and factors[99] < 0.001
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_no_epoch_changes_nothing():
    model, step = fresh()
    before = weights(model)
    assert train(model, step, data(), data(10, 1), draw_mask, Recipe(epochs=0), seed=0) == []
    assert same(before, weights(model))


def test_clipping_bounds_the_gradient(generator):
    layer = torch.nn.Linear(4, 4)
    Update(layer.parameters(), StepSettings(0.01, 0.0, clip=0.5))([(1000 * layer(torch.ones(2, 4)).sum(), 1.0)])
    total = sum(p.grad.pow(2).sum() for p in layer.parameters()).sqrt()
    assert total.item() == pytest.approx(0.5, rel=1e-3)


def test_a_step_equals_torchs_adamw(generator):
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    update = Update(ours.parameters(), StepSettings(0.1, 0.0))
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.1, betas=(0.9, 0.95), weight_decay=0.0)
    x = torch.randn(5, 3, generator=generator)
    for _ in range(3):
        update([(ours(x).pow(2).mean(), 1.0)])
        reference.zero_grad()
        theirs(x).pow(2).mean().backward()
        reference.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_bf16_ends_near_float32():
    ends = []
    for precision in ("float32", "bf16"):
        model, step = fresh(precision=precision)
        recipe = Recipe(epochs=10, batch_size=8, learning_rate=0.01, precision=precision)
        ends.append(train(model, step, data(), data(10, 1), draw_mask, recipe, seed=0)[-1]["validation_loss"])
    assert ends[0] != ends[1] and ends[1] == pytest.approx(ends[0], rel=0.02)
