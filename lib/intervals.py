"""How sure a comparison is.

Seeds are few, so an interval over seeds uses Student's t. Two models that were judged
on the same masks of the same images are compared image by image: the difference of
their errors varies far less than the errors do.
"""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats


def t_interval(values: Float[np.ndarray, " seeds"] | list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean and half-width of its confidence interval; the half-width is NaN for a single value."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(values.mean()), math.nan
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(half)


def paired_psnr_gain(first: list[pd.DataFrame], second: list[pd.DataFrame], mask: str, split: str = "test") -> tuple[float, float]:
    """How many dB `first` is above `second` on hidden pixels: mean over seeds and the half-width of its interval.

    Both lists hold one table of per-image measures a seed, in the same order of seeds.
    Raises ValueError where the images are not the same ones.
    """
    gains = []
    for a, b in zip(first, second, strict=True):
        a, b = (rows[(rows["mask"] == mask) & (rows["split"] == split)].set_index("image")["mse_hidden"] for rows in (a, b))
        if not a.index.equals(b.index) or not len(a):
            raise ValueError(f"the two runs did not measure the same images under {mask} on {split}")
        gains.append(10 * math.log10(b.mean() / a.mean()))
    return t_interval(gains)


def paired_share_better(first: pd.DataFrame, second: pd.DataFrame, mask: str, split: str = "test") -> float:
    """The share of images on which `first` has the smaller error on hidden pixels."""
    a, b = (rows[(rows["mask"] == mask) & (rows["split"] == split)]["mse_hidden"].to_numpy() for rows in (first, second))
    return float((a < b).mean())
