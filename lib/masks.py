"""The masks of images: of a training's steps, of its validation, and those of tests.

A strategy draws masks and sees no image; here it is given what it looks at in them. All masks
follow from names: those of a training from its seed and the step, those of tests from the split,
the strategy and the ratio (`test/random@0.75`), so that every model, whatever its seed, is judged
on the same masks of the same images; of as many, since another number of images draws others. A
test mask is written `strategy@ratio`; `none` hides nothing.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Generator

from lib.masking import draw
from lib.patches import Size, grid_of
from lib.scores import Scores, scores_of
from lib.shapes import Bytes, Mask, Pixels
from lib.streams import stream


@dataclass(frozen=True)
class Masks:
    """The masks of one training, each drawn from the stream of its step."""

    strategy: str
    ratio: float
    patch: Size
    seed: int

    def __call__(self, images: Pixels, first: int, whole: int, step: int, progress: float) -> Mask:
        """The masks of images that are rows of a step's batch of `whole`, from `first` on.

        progress   the share of training done
        Raises ValueError as `draw`.
        """
        own = slice(first, first + len(images))
        grid = grid_of(tuple(images.shape[2:]), self.patch)
        scores = scores_of(self.strategy, images, self.patch)
        if scores is not None:  # what is elsewhere in the batch is looked at there
            scores = F.pad(scores, (0, 0, first, whole - own.stop))
        generator = stream(self.seed, f"mask/{step}")
        return self.drawn(whole, grid, generator, progress, scores)[own]

    def validation(self, images: Bytes) -> Mask:
        """The fixed masks of the validation loss, as at the end of training. Raises as `draw`."""
        grid = grid_of(tuple(images.shape[2:]), self.patch)
        scores = scores_of(self.strategy, images, self.patch)
        return self.drawn(len(images), grid, stream(self.seed, "validation"), 1.0, scores)

    def drawn(
        self, batch: int, grid: Size, generator: Generator, progress: float, scores: Scores | None
    ) -> Mask:
        return draw(
            self.strategy,
            batch=batch,
            grid=grid,
            ratio=self.ratio,
            generator=generator,
            scores=scores,
            progress=progress,
        )


def parse_mask(name: str) -> tuple[str, float]:
    """The strategy and ratio of a test mask.

    Raises ValueError where it is not `strategy@ratio` or `none`.
    """
    if name == "none":
        return "random", 0.0
    strategy, _, ratio = name.partition("@")
    try:
        return strategy, float(ratio)
    except ValueError:
        raise ValueError(
            f"test mask {name[:200]!r} is not written strategy@ratio, such as random@0.75, or none"
        ) from None


def test_mask(name: str, split: str, images: Bytes | Pixels, patch: Size) -> Mask:
    """The fixed masks of all images on which models are judged.

    Raises ValueError as `parse_mask` and `draw`.
    """
    strategy, ratio = parse_mask(name)
    return draw(
        strategy,
        batch=len(images),
        grid=grid_of(tuple(images.shape[2:]), patch),
        ratio=ratio,
        generator=stream(0, f"{split}/{name}"),
        scores=scores_of(strategy, images, patch),
    )
