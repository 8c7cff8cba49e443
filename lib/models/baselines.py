"""What any model has to beat: four baselines behind the same interface.

`mean_fill` predicts the average training image. `biharmonic` continues the visible
pixels smoothly into the hidden ones (Damelin & Hoang 2018, as in scikit-image): a
prior of smoothness, no learning. `pca` is the best linear model of the training set,
in its probabilistic form (Tipping & Bishop 1999), so that a code can be inferred from
visible pixels alone; with nothing hidden it is the projection of PCA. `raw_pixels`
has no reconstruction: its features are the pixels. `mask` is True = hidden.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor, nn

from lib.models.registry import Config, family
from lib.patches import patchify, unpatchify
from lib.pixels import PixelSpace


class NoOptions(Config):
    pass


class PCAConfig(Config):
    components: int = Field(32, ge=1)  # numbers in the code, capped by images and pixels
    fit_images: int = Field(5000, ge=2)  # largest number of training images that the fit uses


class Baseline(nn.Module):
    def __init__(self, config: Config, space: PixelSpace, generator: Generator):
        super().__init__()
        self.config, self.space = config, space

    def fit(self, images: Float[Tensor, "batch channels height width"]) -> None:
        """Learn what can be learned in closed form; most baselines learn nothing."""


@family("mean_fill", config=NoOptions, label="Mean image", trained=False)
class MeanFill(Baseline):
    def fit(self, images: Float[Tensor, "batch channels height width"]) -> None:
        self.register_buffer("average", images.mean(dim=0))

    def reconstruct(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        return self.average.expand_as(images)


@family("biharmonic", config=NoOptions, label="Biharmonic inpainting", trained=False)
class Biharmonic(Baseline):
    def reconstruct(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        from skimage.restoration import inpaint_biharmonic  # here: a second less for each process that does without

        hidden = self.space.hidden_pixels(mask)[:, 0].cpu().numpy()
        pictures = images.permute(0, 2, 3, 1).cpu().double().numpy()
        filled = [inpaint_biharmonic(p, h, channel_axis=-1) for p, h in zip(pictures, hidden, strict=True)]
        return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(images).clamp(0, 1)


@family("raw_pixels", config=NoOptions, label="Raw pixels", trained=False)
class RawPixels(Baseline):
    def embed(self, images: Tensor) -> Float[Tensor, "batch pixels"]:
        return images.flatten(1)


@family("pca", config=PCAConfig, label="PCA", trained=False)
class PrincipalComponents(Baseline):
    def fit(self, images: Float[Tensor, "batch channels height width"]) -> None:
        from sklearn.decomposition import PCA  # here: three seconds less for each process that does without

        flat = patchify(images, self.space.shape.patch)[: self.config.fit_images]  # batch tokens pixels
        tokens, pixels = flat.shape[1:]
        count = min(self.config.components, len(flat) - 1, tokens * pixels - 1)
        pca = PCA(count, svd_solver="covariance_eigh" if tokens * pixels <= 1000 else "randomized", random_state=0)
        pca.fit(flat.flatten(1).double().numpy())
        loadings = pca.components_.T * np.sqrt(np.maximum(pca.explained_variance_ - pca.noise_variance_, 0))
        for name, value in (("centre", pca.mean_), ("loadings", loadings), ("axes", pca.components_.T)):
            self.register_buffer(name, torch.from_numpy(value.reshape(tokens, pixels, *value.shape[1:])).float())
        self.noise = max(float(pca.noise_variance_), 1e-8)

    def code(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch components"]:
        """The most likely code given the visible pixels (Tipping & Bishop 1999, section 3.3, on a subset)."""
        offset = (patchify(images, self.space.shape.patch) - self.centre) * ~mask[:, :, None]
        information = torch.einsum("tpk,tpl->tkl", self.loadings, self.loadings)  # of each patch about the code
        matrix = torch.einsum("bt,tkl->bkl", (~mask).float(), information) + self.noise * torch.eye(information.shape[1]).to(offset)
        return torch.linalg.solve(matrix, torch.einsum("btp,tpk->bk", offset, self.loadings))

    def reconstruct(self, images: Tensor, mask: Bool[Tensor, "batch tokens"]) -> Tensor:
        patch, grid = self.space.shape.patch, self.space.grid
        if not mask.any():
            patches = torch.einsum("bk,tpk->btp", self.embed(images), self.axes)
        else:
            patches = torch.einsum("bk,tpk->btp", self.code(images, mask), self.loadings)
        return unpatchify(patches + self.centre, patch, grid).clamp(0, 1)

    def embed(self, images: Tensor) -> Float[Tensor, "batch components"]:
        """The plain projection on the principal axes."""
        return torch.einsum("btp,tpk->bk", patchify(images, self.space.shape.patch) - self.centre, self.axes)
