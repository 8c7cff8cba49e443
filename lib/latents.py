"""How codes are spread: distance to a prior, and whether samples of a code space look like data."""

import numpy as np
import torch
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors
from torch import Generator, Tensor


def sliced_distance(
    first: Float[Tensor, "count dim"], second: Float[Tensor, "count dim"], generator: Generator, directions: int = 128
) -> float:
    """Sliced Wasserstein-1 distance of two samples of equal size (Bonneel et al. 2015): 0 for equal distributions.

    The mean over random directions of the distance between sorted projections.
    """
    axes = torch.nn.functional.normalize(torch.randn(first.shape[1], directions, generator=generator), dim=0)
    return float(((first @ axes).sort(dim=0).values - (second @ axes).sort(dim=0).values).abs().mean())


def whiten(codes: Float[Tensor, "count dim"]) -> tuple[Float[Tensor, "count dim"], Tensor, Tensor]:
    """Codes with mean 0 and covariance 1, and the mean and matrix that take them back (`white @ matrix.T + mean`)."""
    mean = codes.mean(dim=0)
    root = torch.linalg.cholesky(torch.cov((codes - mean).T) + 1e-6 * torch.eye(codes.shape[1]))
    return torch.linalg.solve_triangular(root, (codes - mean).T, upper=False).T, mean, root


def distance_to_data(samples: Float[Tensor, "count ..."], data: Float[Tensor, "images ..."]) -> float:
    """Mean Euclidean distance from each sample to the nearest real image, in image units."""
    nearest = NearestNeighbors(n_neighbors=1).fit(data.flatten(1).numpy())
    return float(np.mean(nearest.kneighbors(samples.flatten(1).numpy())[0]))


def lattice(side: int, reach: float) -> Float[Tensor, "cells 2"]:
    """A square lattice of the plane from -reach to reach, row by row from the top."""
    ticks = torch.linspace(-reach, reach, side)
    vertical, horizontal = torch.meshgrid(-ticks, ticks, indexing="ij")
    return torch.stack([horizontal.flatten(), vertical.flatten()], dim=1)
