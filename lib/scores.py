"""What tells patches apart: by these scores informed strategies choose.

Some are of the image alone, some of what the frozen judge makes of it, so that all models are
tested under the same masks. To add one, write a function of images [0, 1] and add it to `SCORES`;
a strategy names it as `looks_at`. Those in `OF_A_MODEL` come from the model that learns in its
training.
"""

from collections.abc import Callable

import torch

from lib import judge
from lib.mapped import release
from lib.masking import STRATEGIES
from lib.patches import Size, patchify
from lib.pixels import unit_range
from lib.shapes import Bytes, Pixels, Scores

TOGETHER = 256  # images in a batch


def variance(images: Pixels, patch: Size) -> Scores:
    """Of a patch's values about their mean in each channel."""
    channels = images.shape[1]
    values = patchify(images, patch).unflatten(2, (-1, channels))  # batch tokens pixels channels
    return values.var(dim=2, correction=0).mean(dim=2)


def edges(images: Pixels, patch: Size) -> Scores:
    """The mean length of the gradient of the grey image, by differences of neighbours."""
    grey = images.mean(dim=1, keepdim=True)
    down = torch.nn.functional.pad(grey.diff(dim=2), (0, 0, 0, 1))
    across = torch.nn.functional.pad(grey.diff(dim=3), (0, 1, 0, 0))
    return patchify((down.square() + across.square()).sqrt(), patch).mean(dim=2)


SCORES: dict[str, Callable[[Pixels, Size], Scores]] = {
    "variance": variance,
    "edges": edges,
    "attention": judge.attention,
    "error": judge.error,
    "adversary": judge.error,  # what it would come to hide
}
OF_A_MODEL = ("attention", "error", "adversary")


def scores_of(strategy: str, images: Bytes | Pixels, patch: Size) -> Scores | None:
    """What a strategy looks at in images, on the CPU; None where it looks at nothing.

    images   bytes, or [0, 1]
    Raises ValueError where patches do not tile the images.
    """
    chosen = STRATEGIES.get(strategy)  # an unknown one is for `draw` to refuse
    if chosen is None or chosen.looks_at is None:
        return None
    found = []
    for part in images.split(TOGETHER):
        pixels = part if part.is_floating_point() else unit_range(part)
        found.append(SCORES[chosen.looks_at](pixels, patch).cpu())
        release()
    return torch.cat(found)
