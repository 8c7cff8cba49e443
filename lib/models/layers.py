"""Building blocks that more than one model family uses: initial weights and perceptrons.

Weights are drawn as in He et al. 2022, appendix A.1, for every family: one rule keeps the
comparison even. They come from a generator that the caller hands over, so that a seed fixes a
model without touching torch's global state. A parameter whose name ends in `_token` is drawn
as a token.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, nn


@torch.no_grad()
def initialise(model: nn.Module, generator: Generator) -> None:
    """Draw all weights in place.

    Xavier-uniform for linear layers and convolutions, zero for biases, deviation 0.02 for tokens.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, parameter in model.named_parameters():
        if name.endswith("_token"):
            nn.init.normal_(parameter, std=0.02, generator=generator)


def perceptron(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them and none at the end."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
