"""How codes lie: the subspace they span, their distance to a prior, whether samples look like data.

A linear autoencoder finds a subspace, not axes (Baldi & Hornik 1989), so it is held against PCA
by the principal angles between the two spans (Björck & Golub 1973). A code that an adversary has
shaped is held against its prior by a distance of samples (Bonneel et al. 2015), and what is
decoded from the prior against the data by the nearest real image.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from lib.patches import patchify
from lib.shapes import Code


@torch.no_grad()
def decoder_span(model: nn.Module, latent: int) -> Float[Tensor, "pixels latent"]:
    """The directions in which a decoder moves an image: one column for each number of the code.

    In patch order and in image units.
    """
    code = torch.eye(latent, device=model.space.mean.device)
    still = model.decode(torch.zeros_like(code))
    moved = (model.decode(code) - still) * model.space.std
    return patchify(moved, model.space.shape.patch).flatten(1).T.cpu()


def principal_angles(
    first: Float[Tensor, "pixels first"], second: Float[Tensor, "pixels second"]
) -> Float[Tensor, " angles"]:
    """The angles between two column spans in degrees, smallest first."""
    one = torch.linalg.qr(first.double()).Q
    other = torch.linalg.qr(second.double()).Q
    cosines = torch.linalg.svdvals(one.T @ other).clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosines)).float()


def sliced_distance(
    first: Code, second: Code, generator: Generator, directions: int = 128
) -> float:
    """Sliced Wasserstein-1 distance of two samples of equal size: 0 for equal distributions.

    The mean over random directions of the distance between sorted projections.
    """
    axes = torch.randn(first.shape[1], directions, generator=generator)
    axes = F.normalize(axes, dim=0)
    one = (first @ axes).sort(dim=0).values
    other = (second @ axes).sort(dim=0).values
    return float((one - other).abs().mean())


def whiten(codes: Code) -> tuple[Code, Float[Tensor, " latent"], Float[Tensor, "latent latent"]]:
    """Codes with mean 0 and covariance 1, and the mean and matrix that take them back.

    They go back by `white @ matrix.T + mean`.
    """
    mean = codes.mean(dim=0)
    ridge = 1e-6 * torch.eye(codes.shape[1])  # so that a number that never moves can be divided by
    root = torch.linalg.cholesky(torch.cov((codes - mean).T) + ridge)
    white = torch.linalg.solve_triangular(root, (codes - mean).T, upper=False).T
    return white, mean, root


def distance_to_data(
    samples: Float[Tensor, "count ..."], data: Float[Tensor, "images ..."]
) -> float:
    """Mean Euclidean distance from each sample to the nearest real image, in image units."""
    # Here, since it costs everybody three seconds who does without.
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1).fit(data.flatten(1).numpy())
    distances, _ = nearest.kneighbors(samples.flatten(1).numpy())
    return float(distances.mean())


def lattice(side: int, reach: float) -> Float[Tensor, "cells 2"]:
    """A square lattice of the plane from -reach to reach, row by row from the top."""
    ticks = torch.linspace(-reach, reach, side)
    vertical, horizontal = torch.meshgrid(-ticks, ticks, indexing="ij")
    return torch.stack([horizontal.flatten(), vertical.flatten()], dim=1)
