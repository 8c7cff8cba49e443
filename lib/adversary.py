"""A small network that learns to hide what the model cannot fill.

In the spirit of ADIOS (Shi et al. 2022, arXiv 2201.13100) and AutoMAE (Chen et al. 2023, arXiv
2303.06583): one network chooses where to hide, against the model that fills. Here it sees the
whole image and gives each patch a score; Gumbel noise is added, and the highest are hidden, the
exact number (Kool et al. 2019, Gumbel top-k, arXiv 1903.06059). The choice has no gradient, so it
passes straight through to the scores: where a hidden patch was filled worse than the others its
score rises. A patch that was seen says nothing and counts as the mean. Scores have a fixed spread
in each image, so that some of the choice stays with the lot.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from lib.feed import Processes
from lib.judge import error_under
from lib.machine import Precision, autocast
from lib.models.layers import initialise
from lib.models.transformer import Transformer, sincos_positions
from lib.patches import patchify
from lib.pixels import PixelSpace
from lib.shapes import Mask, Pixels, Scores
from lib.streams import stream
from lib.training import moments, named, restore_moments

VERSION = 1  # raise it when an adversary says otherwise
DIM, DEPTH, HEADS = 64, 2, 4
SPREAD = 2.0  # standard deviation of an image's scores; that of the noise is 1.3
RATE = 1e-3  # of AdamW


class MaskNetwork(nn.Module):
    """A score for every patch of an image that is wholly seen."""

    def __init__(self, space: PixelSpace, seed: int):
        super().__init__()
        self.space = space
        height, width = space.shape.patch
        self.embedding = nn.Linear(height * width * space.shape.channels, DIM)
        self.register_buffer("positions", sincos_positions(space.grid, DIM), persistent=False)
        self.transformer = Transformer(DIM, DEPTH, HEADS)
        self.head = nn.Linear(DIM, 1)
        initialise(self, stream(seed, "adversary"))

    def forward(self, images: Pixels) -> Scores:
        patches = patchify(self.space.standardise(images), self.space.shape.patch)
        tokens = self.transformer(self.embedding(patches) + self.positions)
        scores = self.head(tokens)[:, :, 0].float()
        return SPREAD * F.layer_norm(scores, scores.shape[1:])


class Adversary:
    """A mask network and how it learns; its weights are saved with the training's."""

    def __init__(self, model: nn.Module, seed: int, precision: Precision, processes: Processes):
        self.model = model
        self.network = MaskNetwork(model.space, seed).to(next(model.parameters()).device)
        self.optimiser = AdamW(self.network.parameters(), lr=RATE, betas=(0.9, 0.95))
        self.seed = seed
        self.precision = precision
        self.processes = processes

    @torch.no_grad()
    def scores(self, images: Pixels, first: int, whole: int, step: int) -> Scores:
        """With noise, of images that are rows of a step's batch of `whole`, from `first` on."""
        with autocast(images.device, self.precision):
            said = self.network(images).cpu()
        drawn = torch.rand(whole, said.shape[1], generator=stream(self.seed, f"gumbel/{step}"))
        noise = -(-drawn.clamp_min(1e-9).log()).log()
        return said + noise[first : first + len(images)]

    def learn(self, images: Pixels, mask: Mask, whole: int) -> None:
        """Give higher scores to what the model fills worst under these masks."""
        mask = mask.to(images.device)
        with autocast(images.device, self.precision):
            wrong = error_under(self.model, images, mask).float()
            chances = self.network(images).softmax(dim=1)
        mean = wrong.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
        worse = torch.where(mask, wrong - mean, 0.0)
        loss = -(chances * worse).sum() / whole
        parameters = list(self.network.parameters())
        gradients = self.processes.sums(list(torch.autograd.grad(loss, parameters)))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        own = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return own | {f"adamw.{n}": value for n, value in moments(self.optimiser).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict(named(tensors, "network."))
        restore_moments(self.optimiser, named(tensors, "adamw."))
