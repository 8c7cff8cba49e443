"""The masks of images: of a training's steps, of its validation, and those of tests.

A strategy draws masks and sees no image; here it is given what it looks at in them. All masks
follow from names: those of a training from its seed and the step, those of tests from the split,
the strategy and the ratio (`test/random@0.75`), so that every model, whatever its seed, is judged
on the same masks of the same images; of as many, since another number of images draws others. A
test mask is written `strategy@ratio`; `none` hides nothing.

What asks a model asks the one that learns, in a training alone (`masks_of`); for validation and in
tests it asks the frozen judge.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from lib import adversary, judge, teacher
from lib.adversary import Adversary
from lib.feed import ALONE, Processes
from lib.machine import Precision
from lib.masking import STRATEGIES, draw
from lib.patches import Size, grid_of
from lib.scores import OF_A_MODEL, scores_of
from lib.shapes import Bytes, Mask, Pixels, Scores
from lib.streams import stream
from lib.teacher import Teacher


@dataclass(frozen=True)
class Masks:
    """The masks of one training, each drawn from the stream of its step."""

    strategy: str
    ratio: float
    patch: Size
    seed: int
    scorer: Teacher | Adversary | None = None  # of a training; None: the images say, or the judge

    def __call__(self, images: Pixels, first: int, whole: int, step: int, progress: float) -> Mask:
        """The masks of images that are rows of a step's batch of `whole`, from `first` on.

        progress   the share of training done
        Raises ValueError as `draw`.
        """
        own = slice(first, first + len(images))
        if self.scorer is None:
            scores = scores_of(self.strategy, images, self.patch)
        else:
            scores = self.scorer.scores(images, first, whole, step)
        if scores is not None:  # what is elsewhere in the batch is looked at there
            scores = F.pad(scores, (0, 0, first, whole - own.stop))
        mask = self.drawn(whole, self.grid(images), f"mask/{step}", scores, progress)[own]
        if self.scorer is not None:
            self.scorer.learn(images, mask, whole)
        return mask

    def validation(self, images: Bytes) -> Mask:
        """The fixed masks of the validation loss, as at the end of training. Raises as `draw`."""
        scores = scores_of(self.strategy, images, self.patch)
        return self.drawn(len(images), self.grid(images), "validation", scores, 1.0)

    def grid(self, images: Bytes | Pixels) -> Size:
        """Rows and columns of patches."""
        return grid_of(tuple(images.shape[2:]), self.patch)

    def drawn(
        self, count: int, grid: Size, name: str, scores: Scores | None, progress: float | None
    ) -> Mask:
        """Of `count` images, from the stream of that name."""
        return draw(
            self.strategy,
            batch=count,
            grid=grid,
            ratio=self.ratio,
            generator=stream(self.seed, name),
            scores=scores,
            progress=progress,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.scorer is None else self.scorer.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        if self.scorer is not None:
            self.scorer.restore(tensors)


def masks_of(
    model: nn.Module,
    strategy: str,
    ratio: float,
    patch: Size,
    seed: int,
    precision: Precision,
    processes: Processes = ALONE,
) -> Masks:
    """The masks of a model's training, which ask the model where their strategy does."""
    looks_at = STRATEGIES[strategy].looks_at
    scorer = None
    if ratio and looks_at == "adversary":
        scorer = Adversary(model, seed, precision, processes)
    elif ratio and looks_at in OF_A_MODEL:
        scorer = Teacher(model, looks_at, seed, precision)
    return Masks(strategy, ratio, patch, seed, scorer)


def components(strategy: str, ratio: float, training: bool) -> dict[str, int]:
    """The behaviour version of whatever masks depend on; nothing where nothing is hidden."""
    if not ratio:
        return {}
    used = {f"masking.{strategy}": STRATEGIES[strategy].version}
    looks_at = STRATEGIES[strategy].looks_at
    if looks_at not in OF_A_MODEL:
        return used
    used["judge"] = judge.VERSION
    if training and looks_at == "adversary":
        used["adversary"] = adversary.VERSION
    elif training:
        used["teacher"] = teacher.VERSION
    return used


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
    masks = Masks(strategy, ratio, patch, seed=0)
    scores = scores_of(strategy, images, patch)
    return masks.drawn(len(images), masks.grid(images), f"{split}/{name}", scores, None)
