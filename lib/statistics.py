"""How sure a comparison is.

Seeds are few, so an interval over seeds uses Student's t, and needs three of them: with two, t's
quantile is 12.7 and the interval says nothing. Two models that were judged on the same masks of
the same images are compared image by image, seed by seed: the difference of their errors varies
far less than the errors do. That an interval holds 0 does not show that there is no difference.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import stdtrit  # and not scipy.stats, which takes a second to import

LEAST = 3  # values that an interval needs


def t_interval(
    values: Float[np.ndarray, " seeds"] | Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
    """Mean and half-width of its confidence interval; NaN for the latter below three values."""
    values = np.asarray(values, dtype=float)
    count = len(values)
    if count < LEAST:
        return float(values.mean()), math.nan
    quantile = stdtrit(count - 1, (1 + confidence) / 2)  # of Student's t
    return float(values.mean()), float(quantile * values.std(ddof=1) / math.sqrt(count))


def share_interval(share: float, n: int) -> float:
    """Half-width of the 95 % interval of a share of `n` images.

    By Agresti & Coull 1998, two successes and two failures added, so that a share of 0 or 1 is
    not taken for certain.
    """
    held = (share * n + 2) / (n + 4)
    return 1.96 * math.sqrt(held * (1 - held) / (n + 4))


def paired_psnr_gain(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], mask: str, split: str = "test"
) -> tuple[float, float]:
    """How many dB `first` is above `second` on hidden pixels: mean and half-width over seeds.

    See `psnr_gains`, whose errors it raises.
    """
    return t_interval(psnr_gains(first, second, mask, split))


def psnr_gains(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], mask: str, split: str = "test"
) -> list[float]:
    """How many dB `first` is above `second` on hidden pixels, for each seed.

    Both hold one table of measures of images (see `evaluate.per_image`) a seed, in the same
    order of seeds. Raises ValueError where the seeds are not as many or the images not the same.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} runs cannot be paired with {len(second)}, seed by seed")
    gains = []
    for one, other in zip(first, second, strict=True):
        better, worse = paired_errors(one, other, mask, split)
        gains.append(10 * math.log10(worse.mean() / better.mean()))
    return gains


def paired_share_better(
    first: pd.DataFrame, second: pd.DataFrame, mask: str, split: str = "test"
) -> float:
    """The share of images on which `first` has the smaller error on hidden pixels.

    Raises ValueError where the images are not the same ones.
    """
    one, other = paired_errors(first, second, mask, split)
    return float((one < other).mean())


def paired_errors(
    first: pd.DataFrame, second: pd.DataFrame, mask: str, split: str
) -> tuple[Float[np.ndarray, " images"], Float[np.ndarray, " images"]]:
    """The squared errors of two runs on hidden pixels, image by image.

    Raises ValueError where the images are not the same ones, and where there are none.
    """
    one = hidden_errors(first, mask, split)
    other = hidden_errors(second, mask, split)
    if one.empty or not one.index.equals(other.index):
        raise ValueError(f"the two runs did not measure the same images under {mask} on {split}")
    return one.to_numpy(dtype=float), other.to_numpy(dtype=float)


def hidden_errors(rows: pd.DataFrame, mask: str, split: str) -> pd.Series:
    """The squared error on hidden pixels by number of the image, in their order."""
    chosen = rows[(rows["mask"] == mask) & (rows["split"] == split)]
    return chosen.set_index("image")["mse_hidden"].sort_index()


def means(table: pd.DataFrame, measure: str, by: list[str], split: str = "test") -> pd.DataFrame:
    """Mean over seeds and half-width of its 95 % interval, a row for each combination of `by`.

    table   a row for each run, split and measure: columns split, measure, value, and parameters

    Columns: those of `by`, mean, half_width, seeds. Raises ValueError where the table has no such
    measure, where a seed is there twice in a row's group, whose interval would be too narrow, and
    where runs of a group differ in more than their seed.
    """
    chosen = table[(table["measure"] == measure) & (table["split"] == split)]
    chosen = chosen.dropna(subset="value")
    if chosen.empty:
        known = ", ".join(sorted(set(table["measure"])))
        raise ValueError(f"no {measure[:200]!r} on {split} in this table: it has {known}")
    rows = []
    for group, part in chosen.groupby(by, sort=True, dropna=False):
        named = dict(zip(by, group, strict=True))
        if "seed" in part and part["seed"].duplicated().any():
            raise ValueError(
                f"one seed stands twice at {named}: select rows, "
                "or name what else differs between them in `by`"
            )
        others = differing(part.drop(columns=[*by, "value"]))
        if others:
            raise ValueError(
                f"runs at {named} differ in {', '.join(others)}: select rows, or name it in `by`"
            )
        mean, half_width = t_interval(part["value"].to_numpy(dtype=float))
        rows.append(named | {"mean": mean, "half_width": half_width, "seeds": len(part)})
    return pd.DataFrame(rows)


def differing(rows: pd.DataFrame) -> list[str]:
    """Columns in which rows differ, but for what makes one run another: its seed and its key."""
    own = ("seed", "key")
    return [name for name in rows if name not in own and rows[name].map(str).nunique() > 1]
