"""A small network that learns to hide what the model cannot fill.

After ADIOS (Shi et al. 2022, arXiv 2201.13100), where masks are trained against an encoder: there
by the distance of representations, differentiated through it; here by the error of the filling,
which is measured and not differentiated. The network sees the whole image and gives each patch a
score; Gumbel noise is added, and the highest are hidden, the exact number (Kool et al. 2019, Gumbel
top-k, arXiv 1903.06059). The choice has no gradient. In its place the chance stands with which a
patch would be hidden, a sigmoid about the score from which on patches are hidden; so those are
moved for which it is undecided, up where a hidden patch was filled worse than the others. A patch
that was seen says nothing and counts as their mean. Scores have a fixed spread in each image, so
that some of the choice is left to chance. A step costs 1.9 times one with random masks.
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
from lib.shapes import Loss, Mask, Pixels, Scores
from lib.streams import stream
from lib.training import moments, named, restore_moments

VERSION = 1  # raise it when an adversary says otherwise
DIM, DEPTH, HEADS = 64, 2, 4
SPREAD = 2.0  # standard deviation of an image's scores; that of the noise is 1.3
RATE = 1e-3  # of AdamW, the same at every step, without decay
TOGETHER = 256  # images whose graph is kept in one go


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
        return SPREAD * F.layer_norm(scores, scores.shape[1:], eps=1e-12)


class Adversary:
    """A mask network and how it learns; its weights are saved with the training's."""

    def __init__(self, model: nn.Module, seed: int, precision: Precision, processes: Processes):
        self.model = model
        self.network = MaskNetwork(model.space, seed).to(next(model.parameters()).device)
        self.optimiser = AdamW(
            self.network.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0
        )
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
        parameters = list(self.network.parameters())
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for some, hidden in zip(images.split(TOGETHER), mask.split(TOGETHER), strict=True):
            gain = self.gain(some, hidden.to(images.device)) / whole
            gradients = torch.autograd.grad(-gain, parameters)
            total = [so_far + more for so_far, more in zip(total, gradients, strict=True)]
        for parameter, gradient in zip(parameters, self.processes.sums(total), strict=True):
            parameter.grad = gradient
        self.optimiser.step()

    def gain(self, images: Pixels, mask: Mask) -> Loss:
        """How much worse the model fills what is likely to be hidden than what else is hidden."""
        with autocast(images.device, self.precision):
            wrong = error_under(self.model, images, mask).float()
            scores = self.network(images)
        mean = wrong.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
        worse = torch.where(mask, wrong - mean, 0.0)
        ranked = scores.detach().sort(dim=1, descending=True).values
        hidden = mask.sum(dim=1, keepdim=True)  # fewer than tokens: something is always seen
        threshold = (ranked.gather(1, hidden - 1) + ranked.gather(1, hidden)) / 2
        return ((scores - threshold).sigmoid() * worse).sum()

    def tensors(self) -> dict[str, Tensor]:
        own = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return own | {f"adamw.{n}": value for n, value in moments(self.optimiser).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.network.load_state_dict(named(tensors, "network."))
        restore_moments(self.optimiser, named(tensors, "adamw."))
