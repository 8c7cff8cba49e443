"""What any model has to beat: four baselines behind the same interface.

`mean_fill` predicts the average training image. `biharmonic` continues the visible pixels
smoothly into the hidden ones (Damelin & Hoang 2018, as in scikit-image): a prior of smoothness,
no learning. `pca` is the best linear model of the training set, in its probabilistic form
(Tipping & Bishop 1999), so that a code can be inferred from visible pixels alone; with nothing
hidden it is the projection of PCA. That form takes what the code leaves out for white noise. Of
images it is not: what is missing at one pixel is missing at the next, so many visible pixels tell
less about a code than as many independent ones would. The variance of the noise is therefore
multiplied by a factor, which is chosen on training images that were held out of the fit.
`raw_pixels` has no reconstruction: its features are the pixels. `mask` is True = hidden.

Nothing is trained: what can be learned is learned at once by `fit`. Images are in [0, 1].
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor, nn

from lib.config import Config
from lib.models.family import family
from lib.patches import patchify, unpatchify
from lib.pixels import PixelSpace
from lib.shapes import Mask, Patches, Pixels
from lib.streams import stream

MOST_FOR_EXACT = 1000  # pixels up to which the whole covariance is decomposed
LEAST_NOISE = 1e-8  # variance outside of the code, so that codes stay defined where there is none
FACTORS = (1, 2, 4, 8, 16, 32, 64)  # of that variance
HELD = 10  # one training image of so many is held out to choose among them,
MOST_HELD = 500  # and so many at most


class NoOptions(Config):
    pass


class PCAConfig(Config):
    components: int = Field(256, ge=1)  # numbers in the code, capped by images and pixels
    fit_images: int = Field(10_000, ge=2)  # training images that the fit uses at most


class Baseline(nn.Module):
    def __init__(self, config: Config, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config = config
        self.space = space

    def fit(self, images: Pixels) -> None:
        """Learn what can be learned in closed form; most baselines learn nothing."""


@family("mean_fill", config=NoOptions, label="Mean image", trained=False)
class MeanFill(Baseline):
    def fit(self, images: Pixels) -> None:
        self.register_buffer("average", images.mean(dim=0))

    def reconstruct(self, images: Pixels, mask: Mask) -> Pixels:
        return self.average.expand_as(images)


@family("biharmonic", config=NoOptions, label="Biharmonic inpainting", trained=False)
class Biharmonic(Baseline):
    def reconstruct(self, images: Pixels, mask: Mask) -> Pixels:
        hidden = self.space.hidden_pixels(mask)[:, 0]
        pairs = zip(images, hidden, strict=True)
        return torch.stack([inpainted(image, gaps) for image, gaps in pairs])


def inpainted(
    image: Float[Tensor, "channels height width"], hidden: Bool[Tensor, "height width"]
) -> Float[Tensor, "channels height width"]:
    """An image whose hidden pixels continue the visible ones smoothly, in [0, 1]."""
    # Here, since it costs every process a second that does without.
    from skimage.restoration import inpaint_biharmonic

    picture = image.permute(1, 2, 0).cpu().double().numpy()
    filled = inpaint_biharmonic(picture, hidden.cpu().numpy(), channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1).to(image).clamp(0, 1)


@family("raw_pixels", config=NoOptions, label="Raw pixels", trained=False)
class RawPixels(Baseline):
    def embed(self, images: Pixels) -> Float[Tensor, "batch pixels"]:
        return images.flatten(1)


@family("pca", config=PCAConfig, label="PCA", trained=False, version=2)
class PrincipalComponents(Baseline):
    """Its buffers are in patch order: `centre` [tokens, pixels], `axes` and `loadings`
    [tokens, pixels, components], the loadings being axes times the signal's deviation.
    """

    def fit(self, images: Pixels) -> None:
        images = images[: self.config.fit_images]
        held = min(len(images) // HELD, MOST_HELD)
        factor = 1
        if held:
            lot = torch.randperm(len(images), generator=stream(0, "pca"))
            self.find(images[lot[held:]])
            factor = self.best_factor(images[lot[:held]])
        self.find(images)
        self.noise *= factor

    def best_factor(self, images: Pixels) -> int:
        """The one that fills gaps of images best that the components are not of."""
        tokens = math.prod(self.space.grid)
        places = torch.rand(len(images), tokens, generator=stream(0, "pca gaps")).argsort(dim=1)
        mask = places >= tokens // 4
        hidden, noise, wrong = self.space.hidden_pixels(mask), self.noise, {}
        for factor in FACTORS:
            self.noise = factor * noise
            filled = self.reconstruct(images, mask)
            wrong[factor] = float((hidden * (filled - images).square()).sum())
        return min(wrong, key=wrong.get)

    def find(self, images: Pixels) -> None:
        """The components, and the variance outside of them, of the images given."""
        # Here, since it costs every process three seconds that does without.
        from sklearn.decomposition import PCA

        patches = patchify(images, self.space.shape.patch)
        count, tokens, pixels = patches.shape
        components = min(self.config.components, count - 1, tokens * pixels - 1)
        exact = tokens * pixels <= MOST_FOR_EXACT
        solver = "covariance_eigh" if exact else "randomized"
        pca = PCA(components, svd_solver=solver, random_state=0)
        flat = patches.flatten(1).numpy()
        pca.fit(flat.astype(np.float64) if exact else flat)
        axes = pca.components_.T  # tokens*pixels components
        signal = np.maximum(pca.explained_variance_ - pca.noise_variance_, 0)
        self.keep("centre", pca.mean_, (tokens, pixels))
        self.keep("axes", axes, (tokens, pixels, components))
        self.keep("loadings", axes * np.sqrt(signal), (tokens, pixels, components))
        self.noise = max(float(pca.noise_variance_), LEAST_NOISE)

    def keep(self, name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
        self.register_buffer(name, torch.from_numpy(values.reshape(shape)).float())

    def centred(self, images: Pixels) -> Patches:
        return patchify(images, self.space.shape.patch) - self.centre

    def code(self, images: Pixels, mask: Mask) -> Float[Tensor, "batch components"]:
        """The most likely code given the visible pixels.

        As in Tipping & Bishop 1999, section 3.3, on a subset of the pixels.
        """
        visible = (~mask).float()
        offset = self.centred(images) * visible[:, :, None]
        # What each patch tells about the code; those that are seen add up.
        told = torch.einsum("tpk,tpl->tkl", self.loadings, self.loadings)
        matrix = torch.einsum("bt,tkl->bkl", visible, told)
        matrix = matrix + self.noise * torch.eye(told.shape[1]).to(offset)
        return torch.linalg.solve(matrix, torch.einsum("btp,tpk->bk", offset, self.loadings))

    def reconstruct(self, images: Pixels, mask: Mask) -> Pixels:
        if mask.any():
            patches = torch.einsum("bk,tpk->btp", self.code(images, mask), self.loadings)
        else:
            patches = torch.einsum("bk,tpk->btp", self.embed(images), self.axes)
        patch, grid = self.space.shape.patch, self.space.grid
        return unpatchify(patches + self.centre, patch, grid).clamp(0, 1)

    def embed(self, images: Pixels) -> Float[Tensor, "batch components"]:
        """The plain projection on the principal axes."""
        return torch.einsum("btp,tpk->bk", self.centred(images), self.axes)
