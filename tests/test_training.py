"""The loop: the same seed gives the same bits, a run taken up again ends as if nothing had been."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from families import TRAINED, small
from pydantic import ValidationError
from torch import nn

from lib import training
from lib.feed import Feed, NoMasks, Processes
from lib.finetune import Classifier, FineTune
from lib.masks import Masks
from lib.models.family import Batch, Group, Model
from lib.pixels import Shape, unit_range
from lib.run.states import States
from lib.streams import stream
from lib.training import HeldOut, NotFinite, Recipe, State, adamw, mean_loss, rate_factor, train

SHAPE = Shape(1, 4, 4, (2, 2))
RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.01, evaluations=4, augment="crop_flip")
MASKS = Masks("random", 0.5, SHAPE.patch, seed=0)
HOW = FineTune(drop_path=0.3, mixup=0.8, cutmix=1.0, layer_decay=0.5)


def data(count=40, seed=0):
    size = (count, 1, 4, 4)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(seed, "data"))


def labels(count):
    return torch.arange(count) % 3


def fresh(name="autoencoder") -> Model:
    if name == "fine-tuning":
        return Classifier(small("mae", SHAPE), 8, 3, HOW, seed=0)
    return small(name, SHAPE)


def trained(name="autoencoder", recipe=RECIPE, seed=0, **options):
    """A model after training, and its history."""
    model = options.pop("model", None) or fresh(name)
    if name == "fine-tuning":
        options |= {"labels": (labels(40), labels(10))}
    masks = NoMasks() if name == "fine-tuning" else Masks("random", 0.5, SHAPE.patch, seed)
    history = train(model, data(), data(10, 1), masks, recipe, seed=seed, **options)
    return model, history


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


ALL = [*TRAINED, "fine-tuning"]


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name):
    one, other, third = (trained(name, seed=seed) for seed in (3, 3, 4))
    assert one[1] == other[1] and same(weights(one[0]), weights(other[0]))
    assert one[1] != third[1]


class Killed(Exception):
    pass


def kept_at(step: int, kept: list):
    """What watches a training, keeps its state at a step and ends it there."""

    def watch(state: State) -> None:
        if state.step == step:
            tensors = {name: value.clone() for name, value in state.tensors().items()}
            kept.append((tensors, state.numbers()))
            raise Killed

    return watch


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("step", [1, 4, 5, 9, 10, 19])
def test_a_run_taken_up_again_ends_with_the_same_bits(name, step):
    """In the middle of an epoch of five steps, at its end, and around a validation."""
    model, history = trained(name)
    kept = []
    with pytest.raises(Killed):
        trained(name, watch=kept_at(step, kept))
    again, rest = trained(name, start=kept[0])
    assert rest == history and same(weights(again), weights(model))


def test_a_state_on_disk_is_as_good_as_one_in_memory(tmp_path):
    """By way of a file, for three optimisers; what it holds is tensors and JSON."""
    model, history = trained("adversarial")
    states = States(tmp_path, "a run", every=0.0)

    def watch(state: State) -> None:
        states.save(state)
        if state.step == 7:
            raise Killed

    with pytest.raises(Killed):
        trained("adversarial", watch=watch)
    again, rest = trained("adversarial", start=states.latest())
    assert rest == history and same(weights(again), weights(model))


@pytest.mark.parametrize("name", TRAINED)
def test_parts_of_a_batch_are_descended_as_one(name):
    """Eight images in three parts: three, three and two."""
    whole, parts = (trained(name, accumulate=count)[1] for count in (1, 3))
    for one, other in zip(whole, parts, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_an_epoch_sees_every_image_once_and_the_next_in_another_order():
    numbered = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4)
    feed = Feed(numbered, None, MASKS, "none", 8, False, 0, torch.device("cpu"))
    seen = []
    for step in range(10):
        batch = feed.batch(step, feed.order(step // 5), 0.0)
        seen += (batch.images[:, 0, 0, 0] * 255).round().int().tolist()
    assert sorted(seen[:40]) == sorted(seen[40:]) == list(range(40))
    assert seen[:40] != seen[40:]


@pytest.mark.parametrize(("keep_last", "steps"), [(True, 6), (False, 5)])
def test_images_that_fill_no_batch_are_kept_or_dropped(keep_last, steps):
    feed = Feed(data(43), None, MASKS, "none", 8, keep_last, 0, torch.device("cpu"))
    assert feed.steps == steps
    sizes = [len(feed.batch(step, feed.order(0), 0.0)) for step in range(steps)]
    assert sizes == [8] * 5 + [3] * keep_last


def test_an_uneven_last_part_weighs_as_many_images_as_it_has():
    """Mean over images, by hand: parts of 512, 512 and 6 would else count alike."""

    class Brightness(Model):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def loss(self, images, mask):
            return (images * self.gain).mean()

    images = data(10, 1)
    held_out = HeldOut(images, torch.zeros(10, 1, dtype=torch.bool), None)
    expected = (images.double() / 255).mean().item()
    for size in (3, 4, 10):
        loss = mean_loss(Brightness(), held_out, "float32", batch_size=size)
        assert loss == pytest.approx(expected, rel=1e-6)


def test_the_best_on_validation_is_kept():
    """Validation images that contradict training get worse: the best weights are early ones."""
    results = {}
    held_out = HeldOut(255 - data(8), MASKS.validation(data(8)), None)
    for keep in ("best", "last"):
        model = fresh()
        recipe = Recipe(epochs=120, batch_size=8, learning_rate=0.05, evaluations=10, keep=keep)
        history = train(model, data(8), 255 - data(8), MASKS, recipe, seed=0)
        results[keep] = mean_loss(model, held_out, "float32")
    losses = [row["validation_loss"] for row in history]
    assert losses[-1] > min(losses)
    assert results["best"] == pytest.approx(min(losses), rel=1e-5)
    assert results["last"] == pytest.approx(losses[-1], rel=1e-5)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_state_holds_the_best_weights_where_they_are_kept_and_no_others(keep):
    held = []
    recipe = Recipe(epochs=2, batch_size=8, evaluations=2, keep=keep)
    train(fresh(), data(8), data(8), MASKS, recipe, seed=0, watch=lambda s: held.append({*s.best}))
    assert bool(held[-1]) == (keep == "best")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(value):
    model = fresh()
    original = model.loss
    calls = iter(range(1000))

    def breaking(images, mask):
        loss = original(images, mask)
        return loss if next(calls) < 3 else loss * value

    model.loss = breaking
    expected = rf"loss became {value} at step 3 of 20, learning rate \d.*lower learning_rate"
    with pytest.raises(NotFinite, match=expected):
        trained(model=model)


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    factors = [rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1 and factors[55] == pytest.approx(0.5) and factors[99] < 0.001
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_a_recipe_gives_its_rate_at_a_step():
    recipe = Recipe(epochs=1, learning_rate=0.2, warmup=0.5)
    assert recipe.rate(0, 10) == pytest.approx(0.04) and recipe.rate(5, 10) == pytest.approx(0.2)


def test_no_epoch_changes_nothing():
    before = weights(fresh())
    model, history = trained(recipe=Recipe(epochs=0))
    assert history == [] and same(before, weights(model))


class Two(Model):
    """Two weights, two phases; the second loss looks at both weights."""

    def __init__(self, **second):
        super().__init__()
        self.first = nn.Parameter(torch.tensor([[1.0]]))
        self.second = nn.Parameter(torch.tensor([[2.0]]))
        self.bias = nn.Parameter(torch.tensor([3.0]))
        self.how = second
        self.seen = []

    def groups(self):
        return {
            "loss": Group([self.first, self.bias]),
            "other": Group([self.second], **self.how),
        }

    def phases(self, batch: Batch) -> Iterator:
        yield "loss", (self.first**2 + self.bias**2).sum()
        self.seen.append(self.first.item())
        yield "other", (self.first * self.second).sum() ** 2


def one_step(model: Model, recipe: Recipe) -> State:
    optimisers = {name: adamw(group, recipe) for name, group in model.groups().items()}
    state = State(model, optimisers, total=1)
    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, dtype=torch.bool), 2)
    training.descend(state, batch, recipe, 1, training.ALONE)
    return state


def adam_by_hand(value, gradient, rate, betas, decay):
    """One first step, written out (Loshchilov & Hutter 2019, algorithm 2)."""
    average = (1 - betas[0]) * gradient / (1 - betas[0])
    square = (1 - betas[1]) * gradient**2 / (1 - betas[1])
    return value * (1 - rate * decay) - rate * average / (math.sqrt(square) + 1e-8)


def test_a_step_is_adamw_with_each_groups_own_numbers():
    recipe = Recipe(epochs=1, learning_rate=0.1, weight_decay=0.5, warmup=0.0)
    model = Two(rate=0.25, betas=(0.5, 0.99), decay=0.0)
    one_step(model, recipe)
    moved = adam_by_hand(1.0, 2.0, 0.1, (0.9, 0.95), 0.5)
    assert model.first.item() == pytest.approx(moved, rel=1e-5)
    spared = adam_by_hand(3.0, 6.0, 0.1, (0.9, 0.95), 0.0)
    assert model.bias.item() == pytest.approx(spared, rel=1e-5), "decay spares biases"
    gradient = 2 * moved * moved * 2.0
    other = adam_by_hand(2.0, gradient, 0.025, (0.5, 0.99), 0.0)
    assert model.second.item() == pytest.approx(other, rel=1e-5)
    assert model.seen == [pytest.approx(moved, rel=1e-5)], "the second loss sees the first's move"


def test_second_moments_are_those_of_the_betas():
    """Over several steps, where betas matter, against torch's own AdamW on the same gradients."""
    recipe = Recipe(epochs=1, learning_rate=0.1, weight_decay=0.0, warmup=0.0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    group = Group(list(ours.parameters()), betas=(0.5, 0.99))
    mine = adamw(group, recipe)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.1, betas=(0.5, 0.99), weight_decay=0.0)
    for seed in range(3):
        x = torch.randn(5, 3, generator=stream(seed, "x"))
        for layer, optimiser in ((ours, mine), (theirs, reference)):
            optimiser.zero_grad()
            layer(x).pow(2).mean().backward()
            optimiser.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_single_parameters_have_their_own_factor_of_the_rate():
    recipe = Recipe(epochs=1, learning_rate=0.1, weight_decay=0.0, warmup=0.0)
    model = Two()
    model.groups = lambda: {
        "loss": Group([model.first, model.bias], scales={model.first: 0.1}),
        "other": Group([model.second]),
    }
    one_step(model, recipe)
    assert 1 - model.first.item() == pytest.approx(0.01, rel=1e-4)
    assert 3 - model.bias.item() == pytest.approx(0.1, rel=1e-4)


def test_a_phase_moves_its_own_group_alone():
    model = fresh("adversarial")
    recipe = Recipe(epochs=1, learning_rate=0.01, warmup=0.0)
    optimisers = {name: adamw(group, recipe) for name, group in model.groups().items()}
    for name in ("loss", "generator"):  # so that nothing but the discriminator could move
        for group in optimisers[name].param_groups:
            group["factor"] = 0.0
    before = weights(model)
    batch = Batch(torch.rand(5, 1, 4, 4), MASKS(torch.rand(5, 1, 4, 4), 0, 5, 0, 0.0), 5)
    training.descend(State(model, optimisers, 1), batch, recipe, 1, training.ALONE)
    moved = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("discriminator.") for name in moved)


def test_clipping_bounds_the_gradient_of_a_group():
    model = Two()
    one_step(model, Recipe(epochs=1, clip=0.5))
    norm = math.sqrt(model.first.grad.item() ** 2 + model.bias.grad.item() ** 2)
    assert norm == pytest.approx(0.5, rel=1e-3)


def test_a_phase_out_of_order_is_an_error():
    model = Two()
    model.phases = lambda batch: iter([("other", (model.second**2).sum())])
    with pytest.raises(RuntimeError, match="phase 'other' came where group 'loss' was due"):
        one_step(model, Recipe(epochs=1))


@pytest.mark.parametrize("name", ["autoencoder", "adversarial"])
def test_bf16_ends_near_float32(name):
    """For three phases too: each casts the weights as they are by then."""
    ends = []
    for precision in ("float32", "bf16"):
        recipe = Recipe(epochs=10, batch_size=8, learning_rate=0.01, precision=precision)
        ends.append(trained(name, recipe)[1][-1])
    assert ends[0] != ends[1]
    assert ends[1]["validation_loss"] == pytest.approx(ends[0]["validation_loss"], rel=0.02)


class Casting(Two):
    """The second phase says what its product gives under autocast."""

    def phases(self, batch: Batch) -> Iterator:
        row = torch.ones(1, 1)
        yield "loss", (row @ self.first).sum()
        self.seen.append((row @ self.first).item())
        yield "other", (row @ self.second).sum()


def test_every_phase_casts_weights_anew():
    """One context around all phases would multiply with weights of before the update."""
    model = Casting()
    one_step(model, Recipe(epochs=1, learning_rate=0.5, warmup=0.0, precision="bf16"))
    assert model.seen == [pytest.approx(model.first.item(), rel=1e-2)]
    assert model.first.item() == pytest.approx(0.5, abs=0.03)


OUTSIDE = [
    ("epochs", -1),
    ("epochs", 1_000_001),
    ("batch_size", 0),
    ("learning_rate", 0.0),
    ("learning_rate", 1.0),
    ("weight_decay", -0.01),
    ("warmup", -0.01),
    ("warmup", 1.0),
    ("clip", 0.0),
    ("evaluations", 0),
]


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_a_recipe_that_nobody_can_follow_is_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=rf"{name}\n.*(greater|less) than"):
        Recipe(**{"epochs": 1, name: value})


def test_masks_are_shown_the_images_that_the_model_sees():
    """Augmented, and the rows of this process."""

    class Second(Processes):
        rank, size = 1, 2

        def rows(self, count):
            return slice(count // 2, count)

    masks = Masks("busiest", 0.5, SHAPE.patch, seed=0)
    device = torch.device("cpu")
    for processes in (Processes(), Second()):
        feed = Feed(data(), None, masks, "crop_flip", 8, False, 0, device, processes)
        order = feed.order(0)
        batch = feed.batch(3, order, 0.3)
        own = processes.rows(8)
        assert torch.equal(batch.mask, masks(batch.images, own.start, 8, 3, 0.3))
        raw = unit_range(data()[order[24:32]])[own]
        assert not torch.equal(batch.images, raw)
        assert not torch.equal(batch.mask, masks(raw, own.start, 8, 3, 0.3))
