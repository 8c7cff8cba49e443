"""Masks by what is in the patches, or by what a model makes of them.

The caller brings a score for each patch, named by `looks_at` (lib/scores.py): of the image alone
(variance, edges), or of a model: its attention, its errors, or the scores of a network that plays
against it. In a training that is the model that learns; in tests it is the frozen judge
(lib/judge.py). Ties, such as the empty background of a digit, are broken at random.
"""

import torch
from torch import Generator

from lib.masking.registry import hide_highest, hide_in_order, strategy, uniform_noise
from lib.shapes import Mask, Scores

HARDEST = 0.5  # largest share of what is hidden that the hardest patches take, as in HPM
HINT = 0.1  # the most attended share of all patches, among which hints are given
SHOWN = 0.5  # share of these that is shown


@strategy(looks_at="variance")
def busiest(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that vary most: what is left is flat."""
    return highest_by_lot(scores, hidden, generator)


@strategy(looks_at="variance")
def calmest(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that vary least: what is left is texture and outline."""
    return highest_by_lot(-scores, hidden, generator)


@strategy(looks_at="edges")
def edges(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches with the strongest edges."""
    return highest_by_lot(scores, hidden, generator)


@strategy(looks_at="attention")
def attention_high(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that a model attends to most, as in AttMask.

    Kakogeorgiou et al. 2022 (arXiv 2203.12719), section 3: the attention of a teacher's [CLS].
    """
    return highest_by_lot(scores, hidden, generator)


@strategy(looks_at="attention")
def attention_hint(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that a model attends to most, but for a few of the very first: AttMask's hint.

    Kakogeorgiou et al. 2022 (arXiv 2203.12719), section 3. Here half of the most attended tenth
    is shown, by lot, and as many that are attended to less are hidden instead, which the paper
    does not do; it also leaves half of the images without a mask.
    """
    tokens = scores.shape[1]
    foremost = round(HINT * tokens)
    shown = min(round(SHOWN * foremost), tokens - hidden)
    top = highest_by_lot(scores, foremost, generator)
    hints = hide_highest(top + uniform_noise(batch, grid, generator), shown)
    return highest_by_lot(scores.masked_fill(hints, -torch.inf), hidden, generator)


@strategy(looks_at="error")
def hard_patches(batch, grid, hidden, generator, scores=None, progress=None):
    """Random patches, of which a share that grows from none to half is what a model fills worst.

    HPM, Wang et al. 2023 (arXiv 2304.05919), section 3: from easy to hard. There the loss is
    predicted by a head that learns to; here it is measured, while each patch is hidden.
    """
    share = HARDEST * (1.0 if progress is None else progress)
    certain = highest_by_lot(scores, round(share * hidden), generator)
    return hide_highest(certain + uniform_noise(batch, grid, generator), hidden)


@strategy(looks_at="error")
def hardest(batch, grid, hidden, generator, scores=None, progress=None):
    """The patches that a model fills worst, and no others."""
    return highest_by_lot(scores, hidden, generator)


@strategy(looks_at="adversary", ends_as="hardest")
def adversarial(batch, grid, hidden, generator, scores=None, progress=None):
    """What a network hides that is trained to make the model fail, after ADIOS.

    Shi et al. 2022 (arXiv 2201.13100); lib/adversary.py. In tests, where none has been trained,
    what the judge fills worst.
    """
    return highest_by_lot(scores, hidden, generator)


def highest_by_lot(scores: Scores, hidden: int, generator: Generator) -> Mask:
    """Hide the `hidden` patches with the highest scores of each image, of equals any."""
    shuffled = torch.rand(scores.shape, generator=generator).argsort(dim=1)
    ranked = (-scores).gather(1, shuffled).argsort(dim=1, stable=True)
    return hide_in_order(shuffled.gather(1, ranked), hidden)
