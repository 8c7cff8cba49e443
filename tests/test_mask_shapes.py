"""Each strategy has the shape that its definition says."""

import pytest
import torch
from scipy.ndimage import label

from lib.masking import draw, hide_highest, regions
from lib.streams import stream


def many(name, grid, ratio, batch=200):
    """Masks [batch, rows, columns]."""
    made = draw(name, batch=batch, grid=grid, ratio=ratio, generator=stream(0, "mask"))
    return made.reshape(batch, *grid)


def in_cells(masks):
    """[batch, cells, 4]: which patches of each 2x2 cell are hidden; even sides."""
    return masks.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).flatten(1, 2)


def distances(visible):
    """Of each patch of a kind to the nearest other one."""
    places = visible.nonzero().float()
    apart = torch.cdist(places, places)
    return apart.fill_diagonal_(torch.inf).min(dim=1).values


def borders(masks):
    """How many neighbours differ in being hidden, on average over images."""
    down, across = masks[:, 1:] != masks[:, :-1], masks[:, :, 1:] != masks[:, :, :-1]
    return (down.sum((1, 2)) + across.sum((1, 2))).float().mean()


def neighbours(masks):
    """How many of the eight patches around each are hidden."""
    around = torch.ones(1, 1, 3, 3)
    around[0, 0, 1, 1] = 0
    return torch.nn.functional.conv2d(masks[:, None].float(), around, padding=1)[:, 0]


def power(masks):
    """Mean power [rows, columns] of what is not constant, and each frequency in cycles a patch."""
    centred = masks.float() - masks.float().mean()
    found = torch.fft.fft2(centred).abs().square().mean(dim=0)
    down, across = (torch.fft.fftfreq(n) for n in masks.shape[1:])
    return found, (down[:, None] ** 2 + across[None] ** 2).sqrt()


def test_a_block_is_one_connected_region_that_fills_its_rectangle_but_for_one_trimmed_line():
    for ratio in (0.2, 0.5, 0.75):
        for mask in many("block", (8, 8), ratio, batch=60):
            square = mask.numpy()
            assert label(square)[1] == 1
            rows, columns = square.any(axis=1).sum(), square.any(axis=0).sum()
            missing = rows * columns - square.sum()
            assert missing < max(rows, columns)


def test_a_block_is_cut_on_any_side_and_from_any_end():
    """At nine tenths of 8x8 patches one rectangle fits, the whole image: 4 sides, 2 ends of each."""
    cut = ~many("block", (8, 8), 0.9)
    assert len(cut.flatten(1).unique(dim=0)) == 8
    assert len(many("block", (7, 7), 0.75).flatten(1).unique(dim=0)) >= 16


def test_blocks_differ_in_shape_and_place():
    square = many("block", (8, 8), 0.5)
    shapes = {(int(m.any(1).sum()), int(m.any(0).sum())) for m in square}
    assert len(shapes) >= 3 and len(square.unique(dim=0)) > len(shapes)


def test_the_grid_keeps_one_patch_of_every_cell_at_one_place():
    for visible in ~in_cells(many("grid", (6, 8), 0.75, batch=50)):
        assert (visible.sum(dim=1) == 1).all() and len(visible.unique(dim=0)) == 1


def test_all_four_places_of_the_grid_occur():
    assert len(many("grid", (4, 4), 0.75).flatten(1).unique(dim=0)) == 4


def test_uniform_keeps_one_patch_of_every_cell_at_places_of_their_own():
    visible = ~in_cells(many("uniform", (6, 8), 0.75))
    assert (visible.sum(dim=2) == 1).all()
    places = visible.int().argmax(dim=2)
    assert (places != places[:, :1]).any(dim=1).all(), "of twelve cells not all alike"
    assert places.unique(return_counts=True)[1].min() > 500  # of 600 expected


def test_units_are_hidden_whole_but_for_the_last():
    for ratio in (0.3, 0.75):
        cells = in_cells(many("units", (6, 8), ratio)).sum(dim=2)
        assert (((cells != 0) & (cells != 4)).sum(dim=1) <= 1).all()


def test_a_checkerboard_hides_neighbours_of_what_is_seen():
    masks = many("checkerboard", (6, 8), 0.5)
    assert (masks[:, 1:] != masks[:, :-1]).all() and (masks[:, :, 1:] != masks[:, :, :-1]).all()
    assert masks[:, 0, 0].unique().tolist() == [False, True]


def test_a_poisson_disk_keeps_the_rarer_kind_apart():
    for mask in many("poisson_disk", (8, 8), 0.1, batch=50):
        assert distances(mask).min() >= 2
    found = torch.cat([distances(~mask) for mask in many("poisson_disk", (8, 8), 0.75)])
    of_random = torch.cat([distances(~mask) for mask in many("random", (8, 8), 0.75)])
    assert (found > 1).float().mean() > 0.97 > 0.7 > (of_random > 1).float().mean()


def test_a_visible_square_is_one_and_all_else_is_hidden():
    for visible in ~many("visible_square", (8, 8), 0.75, batch=60):
        assert visible.any(dim=1).sum() == visible.any(dim=0).sum() == 4
    for visible in ~many("visible_square", (8, 8), 0.7, batch=60):  # 19 patches: 4x5 less one
        assert label(visible.numpy())[1] == 1
        assert {int(visible.any(dim=d).sum()) for d in (0, 1)} == {4, 5}
    tall = (~many("visible_square", (8, 8), 0.7)).any(dim=2).sum(dim=1) == 5
    assert 0.3 < tall.float().mean() < 0.7


def test_blockwise_masks_are_unions_of_rectangles_and_rarely_one():
    masks = many("blockwise", (14, 14), 0.4)
    assert borders(masks) < 0.5 * borders(many("random", (14, 14), 0.4))
    boxes = masks.any(2).sum(1) * masks.any(1).sum(1)
    assert (boxes > 1.2 * masks[0].sum()).float().mean() > 0.5
    alone = masks & (neighbours(masks) == 0)
    assert alone.float().sum() < 0.01 * masks.sum(), "few are hidden one by one"


def test_an_inverse_block_keeps_squares_of_three():
    one = ~many("inverse_block", (8, 8), 1 - 9 / 64)
    whole = one.float().unfold(1, 3, 1).unfold(2, 3, 1).sum((3, 4)) == 9
    assert (whole.sum((1, 2)) == 1).all()
    several = ~many("inverse_block", (14, 14), 0.75)
    squares = several.float().unfold(1, 3, 1).unfold(2, 3, 1).sum((3, 4)) == 9
    assert squares.any(2).any(1).float().mean() > 0.9
    padded = torch.nn.functional.pad(squares.float(), (2, 2, 2, 2))
    touched = torch.nn.functional.max_pool2d(padded, 3, 1) > 0
    assert (several & ~touched).float().sum() < 0.25 * several.sum(), "few are seen one by one"


def test_multi_block_masks_are_four_blocks_but_for_a_few_patches(monkeypatch):
    last = []

    def watched(scores, hidden):
        last.append(hidden - (scores >= 1).sum(dim=1))
        return hide_highest(scores, hidden)

    monkeypatch.setattr(regions, "hide_highest", watched)
    for ratio in (0.1, 0.54, 0.75, 0.9):
        masks = many("multi_block", (14, 14), ratio)
        assert last[-1].min() >= 0 and last[-1].float().mean() < 5
        assert borders(masks) < 0.5 * borders(many("random", (14, 14), ratio))
    pieces = [label(mask.numpy())[1] for mask in many("multi_block", (14, 14), 0.1)]
    assert 2 < sum(pieces) / len(pieces) < 5, "small ones rarely touch"


@pytest.mark.parametrize(("name", "dim"), [("rows", 2), ("columns", 1)])
def test_lines_are_hidden_whole_but_for_one_that_is_from_either_end(name, dim):
    masks = many(name, (6, 8), 0.4)  # 19 of 48
    length = masks.shape[dim]
    hidden = masks.sum(dim=dim)
    assert ((hidden == length).sum(dim=1) == 19 // length).all()
    assert (((hidden != 0) & (hidden != length)).sum(dim=1) == 1).all()
    along = masks if dim == 2 else masks.transpose(1, 2)
    begins = (along[:, :, 1:] & ~along[:, :, :-1]).any(dim=2).any(dim=1)
    ends = (~along[:, :, 1:] & along[:, :, :-1]).any(dim=2).any(dim=1)
    assert (begins ^ ends).all(), "one piece at one end of the line"
    assert begins.any() and ends.any()


def test_a_half_is_one_of_four_sides():
    masks = many("half", (6, 8), 0.5).unique(dim=0)
    assert len(masks) == 4
    rows, columns = masks.any(2).sum(1), masks.any(1).sum(1)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (3, 8),
        (3, 8),
        (6, 4),
        (6, 4),
    ]


def test_the_centre_and_what_is_around_it():
    middle = torch.zeros(8, 8, dtype=torch.bool)
    middle[2:6, 2:6] = True
    assert (many("centre", (8, 8), 0.25) == middle).all()
    assert (many("border", (8, 8), 0.75) == ~middle).all()
    wide = torch.zeros(4, 8, dtype=torch.bool)
    wide[1:3, 2:6] = True
    assert (many("centre", (4, 8), 0.25) == wide).all(), "of the grid's own shape"


def test_colours_of_noise_have_their_frequencies():
    grid = (16, 16)
    names = ("random", "red_noise", "blue_noise", "green_noise", "purple_noise")
    found = {name: power(many(name, grid, 0.75, batch=300)) for name in names}

    def share(name, low, high):
        powers, frequency = found[name]
        return float(powers[(frequency >= low) & (frequency < high)].mean() / powers.mean())

    low, middle, high = ((0.01, 0.08), (0.13, 0.25), (0.4, 1.0))
    assert share("red_noise", *low) > 3 * share("random", *low)
    assert share("blue_noise", *low) < 0.7 * share("random", *low)
    assert share("red_noise", *high) < 0.5 * share("random", *high) < share("blue_noise", *high)
    assert share("green_noise", *middle) > 1.2 * share("random", *middle)
    assert share("green_noise", *low) < share("red_noise", *low) / 2
    assert share("purple_noise", *middle) < 0.8 * share("random", *middle)


def test_by_what_is_in_a_patch():
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.3]])
    asked = {"batch": 1, "grid": (2, 2), "ratio": 0.5, "generator": stream(0, "mask")}
    found = {name: draw(name, scores=scores, **asked) for name in ("busiest", "calmest", "edges")}
    assert found["busiest"].tolist() == [[False, True, True, False]]
    assert found["calmest"].tolist() == [[True, False, False, True]]
    assert torch.equal(found["edges"], found["busiest"])


def test_by_what_a_model_makes_of_a_patch():
    scores = torch.rand(300, 40, generator=stream(0, "scores"))
    asked = {"batch": 300, "grid": (5, 8), "ratio": 0.5, "scores": scores}

    def ranks(name, **more):
        """Of the hidden patches, 0 the highest score: [batch, hidden], ascending."""
        mask = draw(name, generator=stream(0, "mask"), **asked, **more)
        order = scores.argsort(dim=1, descending=True).argsort(dim=1)
        return order[mask].reshape(300, 20).sort(dim=1).values

    for name in ("attention_high", "hardest", "adversarial"):
        assert (ranks(name) == torch.arange(20)).all()
    hints = ranks("attention_hint")
    assert (hints[:, 2:] == torch.arange(4, 22)).all(), "two of the first four are shown"
    assert 1.3 < hints[:, :2].float().mean() < 1.7, "any of them"
    for progress, certain in ((0.0, 0), (0.5, 5), (1.0, 10), (None, 10)):
        hard = ranks("hard_patches", progress=progress)
        assert (hard[:, :certain] == torch.arange(certain)).all()
        others = hard[:, certain:].float()
        assert abs(others.mean() - (certain + 39) / 2) < 1, "of the others any"


def test_of_equal_patches_any_is_hidden():
    """As of the empty ones around a digit."""
    scores = torch.zeros(400, 16)
    masks = draw(
        "calmest", batch=400, grid=(4, 4), ratio=0.5, generator=stream(0, "mask"), scores=scores
    )
    assert (masks.float().mean(dim=0) - 0.5).abs().max() < 0.15


def test_growing_masks_begin_with_half():
    def hidden(progress):
        asked = {"batch": 5, "grid": (8, 8), "ratio": 0.75, "generator": stream(0, "mask")}
        return draw("growing", progress=progress, **asked).sum(dim=1).unique().tolist()

    assert [hidden(progress) for progress in (0.0, 0.5, 1.0, None)] == [[24], [36], [48], [48]]


def test_a_mixture_has_all_its_kinds():
    masks = many("mixture", (8, 8), 0.5, batch=600)
    whole_units = (in_cells(masks).sum(dim=2) % 4 == 0).all(dim=1)
    one_region = torch.tensor([label(mask.numpy())[1] == 1 for mask in masks])
    shares = [whole_units & ~one_region, one_region & ~whole_units, ~whole_units & ~one_region]
    assert all(0.2 < share.float().mean() < 0.45 for share in shares)


def test_the_highest_are_hidden():
    scores = torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]])
    assert hide_highest(scores, 2).tolist() == [[False, True, True], [True, False, True]]
