"""Subspaces: what a linear autoencoder is compared by.

A linear autoencoder finds a subspace, not axes (Baldi & Hornik 1989), so it is held
against PCA by the principal angles between the two spans (Bjorck & Golub 1973).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.patches import patchify


@torch.no_grad()
def decoder_span(model: nn.Module, latent: int) -> Float[Tensor, "pixels latent"]:
    """The directions in which a decoder moves an image, in patch order and image units: one column a latent."""
    code = torch.eye(latent, device=model.space.mean.device)
    moved = (model.decode(code) - model.decode(0 * code)) * model.space.std
    return patchify(moved, model.space.shape.patch).flatten(1).T.cpu()


def principal_angles(first: Float[Tensor, "pixels first"], second: Float[Tensor, "pixels second"]) -> Float[Tensor, " angles"]:
    """The angles between two column spans in degrees, smallest first."""
    bases = [torch.linalg.qr(span.double()).Q for span in (first, second)]
    cosines = torch.linalg.svdvals(bases[0].T @ bases[1]).clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosines)).float()
