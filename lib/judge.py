"""What a model says of patches, and the one model that says it in tests.

Some strategies hide what a model attends to, or what it fills badly. In a training they ask the
model that learns (lib/teacher.py, lib/adversary.py). In tests they ask the judge, the model that
comes with the code (lib/weights/imagenette-mae): it is frozen, so the masks on which models are
judged never depend on the model that is judged. It sees any image at its own size and in colour,
and works in float64, so that no rounding decides between two patches. It is a masked autoencoder
itself, trained under random masks, so what it finds hard is hard for one of its kind; and nothing
taught its [CLS] where to look, as DINO's loss teaches the teacher of AttMask.
"""

import functools
import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lib.masking import hidden_count, hide_in_order
from lib.patches import Size, grid_of, patchify
from lib.shapes import Mask, Pixels, Scores
from lib.streams import stream

VERSION = 1  # raise it when the judge says otherwise: records of masks that ask it are then stale
NAME = "imagenette-mae"
RATIO = 0.75  # of the patches that are hidden when a model's errors are measured
LOOKS = 4  # pairs of passes of the judge: errors of a single one depend on its places
REMEMBERED = 256  # batches of images whose scores are kept
SAID: dict[tuple, Scores] = {}


@torch.no_grad()
def attention_of(model: nn.Module, images: Pixels) -> Scores:
    """How much [CLS] attends to each patch in the encoder's last block, nothing hidden.

    The mean over its heads, as in AttMask (Kakogeorgiou et al. 2022, arXiv 2203.12719, section 3).
    """
    return model.attention(images)[:, :, 0, 1:].mean(dim=1)


@torch.no_grad()
def error_of(
    model: nn.Module, images: Pixels, noise: Float[Tensor, "looks batch tokens"]
) -> Scores:
    """How badly a model fills each patch: the mean squared error, in pixels, while it is hidden.

    Each look is two passes, which see different quarters, so that every patch is hidden at least
    once.

    noise   of each look, whose order says which patches are seen
    """
    tokens = noise.shape[2]
    hidden = min(hidden_count(tokens, RATIO), tokens - 1)
    masks = [
        hide_in_order(order, hidden).to(images.device)
        for look in noise.argsort(dim=2)
        for order in (look, look.flip(1))
    ]
    errors = torch.stack([error_under(model, images, mask) for mask in masks])
    return errors.sum(dim=0) / torch.stack(masks).sum(dim=0)


@torch.no_grad()
def error_under(model: nn.Module, images: Pixels, mask: Mask) -> Scores:
    """The mean squared error of each hidden patch of a model's completion; 0 where it is seen."""
    if not len(images):  # the share of a process in a small last batch
        return torch.zeros(mask.shape, device=images.device)
    wrong = (model.reconstruct(images, mask) - images).square()
    return patchify(wrong, model.space.shape.patch).mean(dim=2) * mask


def attention(images: Pixels, patch: Size) -> Scores:
    """How much the judge attends to each patch."""
    return judged(attention_of, images, patch)


def error(images: Pixels, patch: Size) -> Scores:
    """How badly the judge fills each patch."""
    return judged(error_at_fixed_places, images, patch)


def error_at_fixed_places(model: nn.Module, images: Pixels) -> Scores:
    """`error_of`, the same places seen in every image."""
    tokens = model.space.grid[0] * model.space.grid[1]
    noise = torch.rand(LOOKS, 1, tokens, generator=stream(0, "judge"))
    return error_of(model, images, noise.expand(-1, len(images), -1))


def judged(asked: Callable[[nn.Module, Pixels], Scores], images: Pixels, patch: Size) -> Scores:
    """What the judge says of images of any size, resized to its own, for each of their patches.

    Several strategies ask the same of the same images: what was said last is remembered.
    """
    images = images.cpu()
    digest = hashlib.sha256(images.contiguous().numpy()).hexdigest()
    key = (asked.__name__, tuple(images.shape), patch, digest)
    if key not in SAID:
        if len(SAID) == REMEMBERED:
            SAID.pop(next(iter(SAID)))
        SAID[key] = ask(asked, images, patch)
    return SAID[key]


def ask(asked: Callable[[nn.Module, Pixels], Scores], images: Pixels, patch: Size) -> Scores:
    model = judge()
    shape = model.space.shape
    if images.shape[1] != shape.channels:
        images = images.mean(dim=1, keepdim=True).expand(-1, shape.channels, -1, -1)
    shown = resized(images.double(), (shape.height, shape.width))
    said = asked(model, shown).unflatten(1, model.space.grid)
    return resized(said[:, None], grid_of(tuple(images.shape[2:]), patch)).flatten(1).float()


def resized(images: Pixels, size: Size) -> Float[Tensor, "batch channels rows columns"]:
    """Images of that height and width; those that have it are left as they are."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


@functools.cache
def judge() -> nn.Module:
    """The committed model, in float64 on the CPU."""
    from lib.models.published import load_pretrained  # half a second that few masks need

    return load_pretrained(NAME).double().eval()
