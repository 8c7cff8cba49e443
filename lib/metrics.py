"""How far a reconstruction is from the truth, on hidden, visible and all pixels apart.

PSNR is that of the mean squared error over a set of images, in dB with peak 1 (a mean
of per-image PSNR would be ruled by the smoothest images); an exact copy has no finite
PSNR and gives None. SSIM (Wang et al. 2004) is scikit-image's full map with a uniform
window of 7 pixels (3 where a side is below 16) and data range 1, averaged over the
pixels of a region, borders included; windows at the edge of a mask mix both sides,
so it is reported for the prediction as it is and with visible pixels pasted back.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

VERSION = 1  # raise it when a measure changes: records made before are then stale


def psnr(mse: float | None) -> float | None:
    """Peak signal-to-noise ratio in dB of a mean squared error; None where it is absent or zero."""
    return None if mse is None or math.isnan(mse) or mse == 0 else -10 * math.log10(mse)


def ssim_map(
    truth: Float[np.ndarray, "height width channels"], prediction: Float[np.ndarray, "height width channels"]
) -> Float[np.ndarray, "height width"]:
    """SSIM at every pixel, mean over channels. Raises ValueError for images below 3x3."""
    side = min(truth.shape[:2])
    if side < 3:
        raise ValueError(f"SSIM needs images of at least 3x3 pixels, got {truth.shape[0]}x{truth.shape[1]}")
    window = 7 if side >= 16 else 3
    from skimage.metrics import structural_similarity  # here: a second less for each process that measures nothing

    _, full = structural_similarity(truth, prediction, win_size=window, data_range=1.0, channel_axis=2, full=True)
    return full.mean(axis=2)


def regions(hidden: Bool[np.ndarray, "height width"]) -> dict[str, np.ndarray]:
    """The three regions of one image; an empty one is left out."""
    named = {"hidden": hidden, "visible": ~hidden, "all": np.ones_like(hidden)}
    return {name: region for name, region in named.items() if region.any()}


def image_measures(
    truth: Float[np.ndarray, "height width channels"],
    prediction: Float[np.ndarray, "height width channels"],
    hidden: Bool[np.ndarray, "height width"],
) -> dict[str, float]:
    """Squared error and SSIM of one image on each region, as predicted and with visible pixels pasted back."""
    squared = ((truth - prediction) ** 2).mean(axis=2)
    pasted = np.where(hidden[:, :, None], prediction, truth)
    maps = {"ssim": ssim_map(truth, prediction), "pasted_ssim": ssim_map(truth, pasted)}
    measures = {}
    for name, region in regions(hidden).items():
        measures[f"mse_{name}"] = squared[region].mean()
        measures |= {f"{kind}_{name}": full[region].mean() for kind, full in maps.items()}
    measures["pasted_mse_all"] = (squared * hidden).mean()
    return {name: float(value) for name, value in measures.items()}
