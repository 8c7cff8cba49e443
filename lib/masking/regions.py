"""Masks made of connected regions: blocks, squares, stripes, halves, the centre and the border.

A region rarely has just as many patches as asked for. One that is drawn whole (a block, a square)
loses part of an outer row or column; where several overlap, random patches are hidden or shown.
"""

from math import ceil, log

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from lib.masking.registry import Grid, hide_highest, rows_and_columns, strategy, uniform_noise
from lib.shapes import Mask

LONGEST = 1 / 0.3  # of a block's sides to each other, as in BEiT
SQUAREST = 1.01  # so that of a square less a line the tall and the wide one come by lot
SMALLEST = 4  # patches of a BEiT rectangle, while more than that remain to be hidden
ROUNDS = 50  # of BEiT's rectangles that are tried for each image of up to 14x14 patches
KEPT = 3  # side of a square that data2vec 2.0 keeps
TARGETS = 4  # blocks that I-JEPA predicts
COVERS = 1 / 0.15  # how many times its size the smallest block needs to cover the image alone
HALVINGS = 12  # in the search for their size, to a patch on grids of up to 1,000 patches


@strategy(version=2)
def block(batch, grid, hidden, generator, scores=None, progress=None):
    """One connected rectangle of random aspect and place, one side trimmed to the exact count."""
    # A single patch too many is the last one, since published runs were judged on such masks.
    return one_rectangle(batch, grid, hidden, generator, LONGEST, by_lot_from=2)


@strategy(version=2)
def visible_square(batch, grid, hidden, generator, scores=None, progress=None):
    """All but one square at a random place, the block-wise mask of HPM.

    Wang et al. 2023 (arXiv 2304.05919). The square loses part of an outer row or column
    to reach the exact count; where the grid is too narrow for it, it is the squarest rectangle.
    """
    visible = grid[0] * grid[1] - hidden
    return ~one_rectangle(batch, grid, visible, generator, longest=SQUAREST)


@strategy()
def blockwise(batch, grid, hidden, generator, scores=None, progress=None):
    """Several rectangles of random size, aspect and place, one after another, as in BEiT.

    Bao et al. 2022 (arXiv 2106.08254), algorithm 1: of 4 patches (16 in the paper, on a grid of 14)
    up to what remains to be hidden, of an aspect between .3 and 1 / .3. Here one that would hide
    too many is drawn again; what is still missing after many rounds is hidden at random.
    """
    mask = torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool)
    for _ in range(max(ROUNDS, grid[0] * grid[1] // 4)):
        remaining = hidden - mask.sum(dim=1, keepdim=True)
        if not remaining.any():
            break
        smallest = remaining.clamp(max=SMALLEST)
        area = smallest + (remaining - smallest) * torch.rand(batch, 1, generator=generator)
        aspect = log_uniform(batch, LONGEST, generator)
        more = mask | rectangle(*sides(area, aspect, grid), grid, anywhere(batch, generator))
        mask = torch.where(more.sum(dim=1, keepdim=True) <= hidden, more, mask)
    return hide_highest(mask + uniform_noise(batch, grid, generator), hidden)


@strategy()
def inverse_block(batch, grid, hidden, generator, scores=None, progress=None):
    """All but squares of 3x3 patches at random places, as in data2vec 2.0.

    Baevski et al. 2022 (arXiv 2212.07525), section 3: as many squares stay visible as would
    fill the visible share if they did not overlap; random patches are hidden or shown to reach
    the exact count. Squares lie wholly inside, so corners are seen less often than the middle.
    """
    one = torch.ones(batch, 1, dtype=torch.long)
    height, width = one * min(KEPT, grid[0]), one * min(KEPT, grid[1])
    squares = ceil((grid[0] * grid[1] - hidden) / int(height[0] * width[0]))
    kept = [rectangle(height, width, grid, anywhere(batch, generator)) for _ in range(squares)]
    kept = torch.stack(kept).any(dim=0)
    return hide_highest(uniform_noise(batch, grid, generator) - kept.float(), hidden)


@strategy()
def multi_block(batch, grid, hidden, generator, scores=None, progress=None):
    """Four blocks of about equal size at random places, the targets of I-JEPA.

    Assran et al. 2023 (arXiv 2301.08243), section 3: aspect .75 to 1.5, each .15 to .2 of the
    image, which hides about half of it. For any ratio, here, they grow until they hide as much as
    is asked, one up to a third larger than another, as there; the last few are random; on a grid of
    one or two rows, which blocks of such shapes do not fill, many are.
    """
    tokens = grid[0] * grid[1]
    size = 0.15 + 0.05 * torch.rand(TARGETS, batch, 1, generator=generator)
    aspect = 0.75 * 2 ** torch.rand(TARGETS, batch, 1, generator=generator)
    place = torch.rand(TARGETS, 2, batch, 1, generator=generator)
    mask = torch.zeros(batch, tokens, dtype=torch.bool)
    low, high = torch.zeros(batch, 1), torch.full((batch, 1), 2 * COVERS)  # fits, does not
    for _ in range(HALVINGS):
        scale = (low + high) / 2
        blocks = [
            rectangle(*sides(scale * size[i] * tokens, aspect[i], grid), grid, place[i])
            for i in range(TARGETS)
        ]
        union = torch.stack(blocks).any(dim=0)
        fits = union.sum(dim=1, keepdim=True) <= hidden
        mask = torch.where(fits, union, mask)
        low, high = torch.where(fits, scale, low), torch.where(fits, high, scale)
    return hide_highest(mask + uniform_noise(batch, grid, generator), hidden)


@strategy(version=2)
def rows(batch, grid, hidden, generator, scores=None, progress=None):
    """Whole rows drawn at random, the last of them hidden in part, from the left or the right."""
    row, column = rows_and_columns(grid)
    order = lines(batch, grid[0], generator)[:, row[0]]
    return hide_highest(order - from_an_end(column, grid[1], batch, generator), hidden)


@strategy(version=2)
def columns(batch, grid, hidden, generator, scores=None, progress=None):
    """Whole columns drawn at random, the last of them hidden in part, from above or below."""
    row, column = rows_and_columns(grid)
    order = lines(batch, grid[1], generator)[:, column[0]]
    return hide_highest(order - from_an_end(row, grid[0], batch, generator), hidden)


@strategy(ratios=(0.5, 0.5))
def half(batch, grid, hidden, generator, scores=None, progress=None):
    """The left, right, upper or lower half; where a side is odd, half of the middle line too."""
    row, column = rows_and_columns(grid)
    # Each ranks all patches line by line, away from its side; the second term orders a line.
    vertical, horizontal = column + row / grid[0], row + column / grid[1]
    four = torch.cat([vertical, -vertical, horizontal, -horizontal])
    return hide_highest(four[torch.randint(0, 4, (batch,), generator=generator)], hidden)


@strategy(moves=False, version=2)
def centre(batch, grid, hidden, generator, scores=None, progress=None):
    """The middle of the image, the hole of context encoders (Pathak et al. 2016)."""
    return hide_highest(-from_centre(grid).expand(batch, -1), hidden)


@strategy(moves=False, version=2)
def border(batch, grid, hidden, generator, scores=None, progress=None):
    """All around a visible middle: outpainting."""
    return hide_highest(from_centre(grid).expand(batch, -1), hidden)


def one_rectangle(
    batch: int, grid: Grid, area: int, generator: Generator, longest: float, by_lot_from: int = 1
) -> Mask:
    """One rectangle of `area` patches, one side trimmed, at a random place.

    longest       of its sides to each other; the logarithm of the aspect is uniform
    by_lot_from   patches to trim from which on the side and its end come by lot; fewer are the last
    """
    shapes = torch.tensor(rectangles(grid, area))  # shapes 2: height, width
    aspect = (shapes[:, 0] / shapes[:, 1]).log()
    # Log-uniform, so that wide and tall are as likely; then the rectangle that is nearest to it.
    wanted = log_uniform(batch, longest, generator).log()
    nearest = (wanted - aspect).abs().argmin(dim=1)
    height, width = shapes[nearest].T[:, :, None]  # each batch 1
    row, column = away_from(height, width, grid, anywhere(batch, generator))
    covered = inside(row, column, height, width)
    missing = height * width - area
    by_column = missing < height
    if (missing >= by_lot_from).any():
        lot = (torch.rand(3, batch, 1, generator=generator) < 1 / 2) & (missing >= by_lot_from)
        by_column &= lot[0] | (missing >= width)  # where a row would do, too
        row = torch.where(lot[1], height - 1 - row, row)
        column = torch.where(lot[2], width - 1 - column, column)
    rank = torch.where(by_column, column * height + row, row * width + column)
    return covered & (rank < area)


def rectangles(grid: Grid, area: int) -> list[tuple[int, int]]:
    """The rectangles (height, width) of a grid that hold `area` once one side is trimmed."""
    rows, columns = grid
    tall = [(height, ceil(area / height)) for height in range(1, rows + 1)]
    wide = [(ceil(area / width), width) for width in range(1, columns + 1)]
    return sorted({one for one in tall + wide if one[0] <= rows and one[1] <= columns})


def rectangle(
    height: Int64[Tensor, "batch 1"],
    width: Int64[Tensor, "batch 1"],
    grid: Grid,
    place: Float[Tensor, "2 batch 1"],
) -> Mask:
    """A rectangle of each image's own size.

    place   how far down and across, from 0 to 1 of the room that its size leaves
    """
    row, column = away_from(height, width, grid, place)
    return inside(row, column, height, width)


def away_from(height: Tensor, width: Tensor, grid: Grid, place: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns [batch, tokens] counted from the corner of a rectangle, as above."""
    row, column = rows_and_columns(grid)
    top = (place[0] * (grid[0] - height + 1)).long()
    left = (place[1] * (grid[1] - width + 1)).long()
    return row - top, column - left


def inside(row: Tensor, column: Tensor, height: Tensor, width: Tensor) -> Mask:
    """Which of the patches, counted from a rectangle's corner, belong to it."""
    return (row >= 0) & (row < height) & (column >= 0) & (column < width)


def anywhere(batch: int, generator: Generator) -> Float[Tensor, "2 batch 1"]:
    """A random place for a rectangle in each image."""
    return torch.rand(2, batch, 1, generator=generator)


def sides(
    area: Float[Tensor, "batch 1"], aspect: Float[Tensor, "batch 1"], grid: Grid
) -> tuple[Int64[Tensor, "batch 1"], Int64[Tensor, "batch 1"]]:
    """Height and width of rectangles, in whole patches that fit a grid."""
    height = (area * aspect).sqrt().round().long().clamp(1, grid[0])
    width = (area / aspect).sqrt().round().long().clamp(1, grid[1])
    return height, width


def log_uniform(batch: int, longest: float, generator: Generator) -> Float[Tensor, "batch 1"]:
    """Height over width between 1 / longest and longest, so that wide and tall are as likely."""
    return (log(longest) * (2 * torch.rand(batch, 1, generator=generator) - 1)).exp()


def lines(batch: int, count: int, generator: Generator) -> Int64[Tensor, "batch lines"]:
    """The rank of each row or column in a random order."""
    return torch.rand(batch, count, generator=generator).argsort(dim=1).argsort(dim=1)


def from_an_end(
    place: Int64[Tensor, "1 tokens"], length: int, batch: int, generator: Generator
) -> Float[Tensor, "batch tokens"]:
    """How far along a line each place lies, below 1, counted from an end that comes by lot."""
    turned = torch.rand(batch, 1, generator=generator) < 1 / 2
    return torch.where(turned, length - 1 - place, place) / length


def from_centre(grid: Grid) -> Int64[Tensor, "1 tokens"]:
    """How far out each patch lies, on rings of the grid's own shape; of a ring its corners last.

    In whole numbers, no two alike, so that nothing is left to chance.
    """
    row, column = rows_and_columns(grid)
    tokens = row.shape[1]
    down = (2 * row + 1 - grid[0]).abs() * grid[1]
    across = (2 * column + 1 - grid[1]).abs() * grid[0]
    ring, farther = torch.maximum(down, across), torch.minimum(down, across)
    return (ring * (tokens * 4) + farther) * tokens + torch.arange(tokens)
