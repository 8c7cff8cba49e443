"""The arms of the study's comparisons: experiments by name, from a notebook's parameters.

Every arm of a comparison has the same data, masks, seed and budget and differs in one thing. A
*control* is a model with that thing taken away: nothing hidden, nothing learned, no network.
"""

from collections.abc import Sequence
from functools import partial

from lib.config import unknown
from lib.models.family import MODELS
from lib.run.parameters import Parameters
from lib.run.settings import Experiment

BASELINES = ("pca", "biharmonic", "mean_fill", "raw_pixels")
NOT_MASKED = {"options": {"loss_on": "all"}, "mask_ratio": 0.0}  # the whole image in, and asked for
MASKED = ("masked", "masked, frozen")  # ways to use few labels after masked pre-training,
CONTROLS = (
    "not masked",
    "not masked, frozen",
    "scratch",
    "scratch, longer",
    "pixels, linear",
    "pixels, nearest",
)  # and beside it
WAYS = MASKED + CONTROLS
Arms = dict[str, Experiment]


def families(p: Parameters, seed: int) -> Arms:
    """Each model that the notebook trains, under each of its ratios and strategies.

    A ratio of 0 is the control: nothing hidden, whatever the strategy. A model that hides something
    else than patches is trained once.
    """
    found = {}
    seeded = partial(p.experiment, seed=seed)
    for model in p.models:
        family = MODELS[model]
        if not family.module.hides_patches:
            found[family.label] = seeded(model)
            continue
        for ratio in p.mask_ratios:
            if ratio == 0:
                found[family.under("random", 0.0)] = seeded(model, **NOT_MASKED)
                continue
            for strategy in p.strategies:
                masked = seeded(model, strategy=strategy, mask_ratio=ratio)
                found[family.under(strategy, ratio)] = masked
    return found


def baselines(p: Parameters) -> Arms:
    """What trains nothing."""
    return {MODELS[name].label: p.baseline(name) for name in BASELINES}


def few_labels(
    p: Parameters,
    model: str,
    seed: int,
    steps: int,
    strategy: str = "random",
    ways: Sequence[str] = WAYS,
) -> Arms:
    """Ways to use few labels.

    model      that is pre-trained, or trained from scratch
    steps      optimiser steps of a pre-training: what the longer run from scratch has on top
    strategy   of the masks in pre-training
    ways       those that are wanted

    Raises ValueError for a way that there is not.
    """
    unheard = [way for way in ways if way not in WAYS]
    if unheard:
        raise ValueError(unknown("way to use few labels", unheard[0], WAYS))
    network = partial(p.experiment, model, seed=seed)
    pre_trained = partial(network, strategy=strategy)
    pixels = partial(p.baseline, "raw_pixels", seed=seed)
    tune = p.fine_tuning
    masked, not_masked, scratch = p.learning_rates
    untrained = {"recipe": {"epochs": 0}}
    from_scratch = {"learning_rate": scratch, "layer_decay": 1.0}  # no layer knows anything yet
    every = tune().shares
    few = [share for share in every if share < 1] or every
    longer = from_scratch | {"extra_steps": steps, "shares": few}
    found = {
        "masked": pre_trained(fine_tune=tune(learning_rate=masked)),
        "masked, frozen": pre_trained(fine_tune=tune(method="linear")),
        "not masked": network(**NOT_MASKED, fine_tune=tune(learning_rate=not_masked)),
        "not masked, frozen": network(**NOT_MASKED, fine_tune=tune(method="linear")),
        "scratch": network(**untrained, fine_tune=tune(**from_scratch)),
        "scratch, longer": network(**untrained, fine_tune=tune(**longer)),
        "pixels, linear": pixels(fine_tune=tune(method="linear")),
        "pixels, nearest": pixels(fine_tune=tune(method="nearest")),
    }
    return {way: found[way] for way in ways}
