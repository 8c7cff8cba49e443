"""Every family of the register, small enough for a test. A new one is found with its defaults."""

import torch
from torch import nn

from lib.masking import draw
from lib.models.family import MODELS, build
from lib.pixels import Shape
from lib.streams import stream

VIT = {
    "dim": 8,
    "depth": 2,
    "heads": 2,
    "decoder_dim": 12,
    "decoder_depth": 1,
    "decoder_heads": 2,
}
SMALL = {
    "autoencoder": {"hidden": (16,), "latent": 4},
    "conv_autoencoder": {"channels": (8, 16), "latent": 16},
    "adversarial": {"hidden": (16,), "discriminator": (8,), "latent": 2},
    "mae": VIT,
    "mae_tokens": VIT,
    "mae_visible": VIT,
    "mae_cross": VIT | {"predict_share": 0.5},
    "mae_frequencies": VIT | {"radius": 0.2},
    "mae_components": VIT | {"components": 12},
}
TRAINED = [name for name, family in MODELS.items() if family.trained]


def small(name: str, shape: Shape, *, deviation: float = 0.3, **options) -> nn.Module:
    """A small model of a family for pixels of some deviation; what is fitted has not been."""
    mean = torch.full((shape.channels,), 0.5)
    std = torch.full((shape.channels,), deviation)
    model = build(name, SMALL.get(name, {}) | options, shape, mean, std, stream(0, "w"))
    if MODELS[name].trained:
        size = (30, shape.channels, shape.height, shape.width)
        seen = torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(0, "prepare"))
        model.prepare(seen)
    return model


def ready(name: str, shape: Shape, images: torch.Tensor, **options) -> nn.Module:
    """A small model that can be asked."""
    model = small(name, shape, **options)
    if not MODELS[name].trained:
        model.fit(images)
    return model


def masks(shape: Shape, ratio: float = 0.5, batch: int = 5) -> torch.Tensor:
    generator = stream(0, "mask")
    return draw("random", batch=batch, grid=shape.grid, ratio=ratio, generator=generator)


def spoilt(model: nn.Module, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The images with other pixels where they are hidden."""
    noise = torch.rand(images.shape, generator=stream(1, "noise"))
    return torch.where(model.space.hidden_pixels(mask), noise, images)
