"""Many against one: how sure a comparison is where many are made at once.

Of twenty-eight strategies that are all alike, one will look better than random masks by luck: with
separate 95 % intervals it happens to one in twenty. So next to each strategy's own interval stands
one that is wider, such that all of them together hold the truth 95 times in 100.

Reconstructions are compared image by image: *gains* of each arm over a reference in dB, by a
bootstrap that draws images and seeds anew, the same for every arm, since all were judged on the
same images and began from the same weights (Efron & Tibshirani 1993, chapter 8); the joint
interval is that of the largest deviation of all (Westfall & Young 1993, section 2.5). A bootstrap
over few seeds makes their part of the spread too small: over two by the root of 1/2, over three by
that of 2/3. Accuracies have no image by image; what remains of them after each arm's and each
seed's mean is their noise, taken to be alike in all arms, and the joint interval is Dunnett's
(1955).

Arms are what is compared: models that differ in one thing, here the strategy of their masks.
"""

import math

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.special import ndtri, stdtrit
from torch import Generator, Tensor

DRAWS = 4000
BLOCK = 250  # draws at a time: what an array of all images would take in memory

Errors = Float[np.ndarray, "seeds images"]


def gains(
    errors: dict[str, Errors], reference: str, generator: Generator, confidence: float = 0.95
) -> pd.DataFrame:
    """How many dB each arm's PSNR is above the reference's, with intervals by bootstrap.

    errors   arm -> squared error on hidden pixels of each image, by seed; all of the same images
        and seeds, in the same order

    A row for each arm but the reference: gain, half_width (its own), joint_half_width (of all at
    once), and better: the share of images on which the arm's error is smaller, over seeds.
    Raises ValueError for arms that have other numbers of seeds or images than the reference.
    """
    theirs = errors[reference]
    others = {name: own for name, own in errors.items() if name != reference}
    for name, own in others.items():
        if own.shape != theirs.shape:
            raise ValueError(
                f"{name} has {own.shape} errors by seed and image, {reference} {theirs.shape}: "
                "compare arms on the same seeds and images"
            )
    if not others:
        return pd.DataFrame(columns=["gain", "half_width", "joint_half_width", "better"])
    every = np.stack([theirs, *others.values()])
    blocks = [resampled(every, generator, BLOCK) for _ in range(DRAWS // BLOCK)]
    means = np.concatenate(blocks)  # [draws, arms]
    drawn = 10 * np.log10(means[:, :1] / means[:, 1:])
    own_mean = every.mean(axis=(1, 2))
    found = {
        "gain": 10 * np.log10(own_mean[0] / own_mean[1:]),
        "half_width": np.diff(np.quantile(drawn, tails(confidence), axis=0), axis=0)[0] / 2,
        "joint_half_width": joint(drawn, confidence),
        "better": [float((own < theirs).mean()) for own in others.values()],
    }
    return pd.DataFrame(found, index=list(others))


def resampled(
    errors: Float[np.ndarray, "arms seeds images"], generator: Generator, draws: int
) -> Float[np.ndarray, "draws arms"]:
    """Mean errors over seeds and images that are drawn with replacement, the same for all arms."""
    _, seeds, images = errors.shape
    of_seeds = shares(seeds, draws, generator)
    of_images = shares(images, draws, generator)
    return np.einsum("ds,asd->da", of_seeds, errors @ of_images.T)


def shares(count: int, draws: int, generator: Generator) -> Float[np.ndarray, "draws count"]:
    """How much of each draw, of as many with replacement, is each of `count` things."""
    drawn = torch.randint(count, (draws, count), generator=generator)
    ones = torch.ones(drawn.shape, dtype=torch.float64)
    return (torch.zeros_like(ones).scatter_add(1, drawn, ones) / count).numpy()


def joint(drawn: Float[np.ndarray, "draws arms"], confidence: float) -> Float[np.ndarray, " arms"]:
    """Half-widths that all arms keep at once: each its spread times one number for all."""
    spread = drawn.std(axis=0)
    away = np.abs(drawn - drawn.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.quantile(away.max(axis=1), confidence) * spread


def tails(confidence: float) -> tuple[float, float]:
    """The quantiles between which so much lies."""
    return (1 - confidence) / 2, (1 + confidence) / 2


def differences(
    values: dict[str, Float[np.ndarray, " seeds"]],
    reference: str,
    generator: Generator,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """How far each arm's mean over seeds is above the reference's, by Student and by Dunnett.

    values   arm -> a number for each seed, in the same order; arms of one seed share what it
        brings (the order of images, the first weights), which is no noise of a difference

    A row for each arm but the reference: difference, half_width (its own), joint_half_width (of
    all at once); NaN for the latter two with one seed. Raises ValueError for arms that have not
    all as many seeds.
    """
    names = [reference, *(name for name in values if name != reference)]
    if len({len(values[name]) for name in names}) > 1:
        raise ValueError("arms have different numbers of seeds: compare them on the same ones")
    table = np.array([values[name] for name in names], dtype=float)
    arms, seeds = table.shape
    free = (arms - 1) * (seeds - 1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    noise = math.sqrt((rest**2).sum() / free * 2 / seeds) if free else math.nan
    found = {
        "difference": table[1:].mean(axis=1) - table[0].mean(),
        "half_width": noise * float(stdtrit(max(1, free), tails(confidence)[1])),
        "joint_half_width": noise * dunnett(arms - 1, max(1, free), generator, confidence),
    }
    return pd.DataFrame(found, index=names[1:])


def dunnett(arms: int, free: int, generator: Generator, confidence: float = 0.95) -> float:
    """By how many standard errors the largest of so many differences from one reference is off.

    Two-sided, as many values in the reference as in each arm; `free` degrees of freedom. Drawn
    200,000 times, which gives two decimals.
    """
    draws = 200_000

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    of_reference = normal(draws)
    largest = torch.zeros(draws, dtype=torch.float64)
    for _ in range(arms):
        apart = (normal(draws) - of_reference).abs() / math.sqrt(2)
        largest = torch.maximum(largest, apart)
    spread = normal(draws, free).square().mean(dim=1).sqrt()
    return float(np.quantile((largest / spread).numpy(), confidence))


def rank_correlation(
    first: Float[np.ndarray, " count"],
    second: Float[np.ndarray, " count"],
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Spearman's correlation of two numbers of the same things, and its interval.

    By Fisher's transformation with the variance of Bonett & Wright (2000). NaN for the interval
    below four things and where both orders are the same, or each other's reverse, which says too
    little of how far the truth is from it; for all three where one number is the same for all.
    """
    ranks = [pd.Series(numbers).rank() for numbers in (first, second)]
    if any(rank.nunique() < 2 for rank in ranks):
        return math.nan, math.nan, math.nan
    found = float(np.clip(ranks[0].corr(ranks[1]), -1, 1))
    if len(first) < 4 or math.isclose(abs(found), 1):
        return found, math.nan, math.nan
    reach = float(ndtri(tails(confidence)[1])) * math.sqrt((1 + found**2 / 2) / (len(first) - 3))
    middle = math.atanh(found)
    return found, math.tanh(middle - reach), math.tanh(middle + reach)
