"""Every strategy hides exactly as many patches as asked for, by its generator alone."""

import re

import nbformat
import pytest
import torch

from lib.files import NOTEBOOKS, ROOT
from lib.masking import STRATEGIES, draw, hidden_count
from lib.masking.registry import strategy
from lib.scores import SCORES
from lib.streams import stream

GRIDS = [(4, 4), (8, 8), (7, 7), (2, 8), (5, 6)]
CORNERS = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (1, 9), (2, 3), (13, 4)]
# Those of which every place is hidden equally often, on even sides. Not so filtered noise: its
# extremes within a window, and so what is seen, lie more often at the window's edge.
CELLS = ("grid", "uniform", "units", "checkerboard")  # cut at the far side of an odd grid
FREE = [
    name
    for name, entry in STRATEGIES.items()
    if entry.moves and not entry.looks_at and name not in CELLS and entry.defined_at(0.7)
]
FAIR = ("random", "grid", "uniform", "units", "checkerboard", "rows", "columns", "half")


def ratios(name: str) -> list[float]:
    return sorted({STRATEGIES[name].nearest(ratio) for ratio in (0.1, 0.25, 0.5, 0.75, 0.9)})


def many(name, grid, ratio, batch=200, seed=0, **more):
    """Masks; one that looks at images sees noise."""
    more.setdefault("scores", torch.rand(batch, grid[0] * grid[1], generator=stream(seed, "image")))
    generator = stream(seed, "mask")
    return draw(name, batch=batch, grid=grid, ratio=ratio, generator=generator, **more)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_exact_number_is_hidden_in_every_image(name, grid):
    for ratio in ratios(name):
        mask = many(name, grid, ratio)
        assert mask.dtype == torch.bool and mask.shape == (200, grid[0] * grid[1])
        assert set(mask.sum(dim=1).tolist()) == {hidden_count(grid[0] * grid[1], ratio)}


@pytest.mark.parametrize("name", STRATEGIES)
def test_masks_follow_from_their_generator_alone(name):
    ratio = ratios(name)[-1]
    torch.manual_seed(1)
    first = many(name, (8, 8), ratio)
    torch.manual_seed(2)
    again = many(name, (8, 8), ratio)
    assert torch.equal(first, again), f"{name} draws from something else than its generator"
    if STRATEGIES[name].moves and not STRATEGIES[name].looks_at:
        other = many(name, (8, 8), ratio, seed=1)
        assert not torch.equal(first, other), f"{name} does not draw from its generator"


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_moves_if_it_says_so(name):
    masks = many(name, (8, 8), ratios(name)[len(ratios(name)) // 2])
    assert (len(masks.unique(dim=0)) > 1) == STRATEGIES[name].moves


@pytest.mark.parametrize("grid", CORNERS, ids=str)
@pytest.mark.parametrize("name", STRATEGIES)
def test_in_corners_a_strategy_works_or_is_refused_clearly(name, grid):
    tokens = grid[0] * grid[1]
    ratios_there = {0.01, 0.5, 0.75, 0.99, 1 / tokens, 1 - 1 / tokens}
    for ratio in sorted(ratio for ratio in ratios_there if 0 <= ratio < 1):
        try:
            mask = many(name, grid, ratio, batch=20)
        except ValueError as error:
            assert "is defined for" in str(error) or "hides all" in str(error)
        else:
            assert set(mask.sum(dim=1).tolist()) == {hidden_count(tokens, ratio)}


@pytest.mark.parametrize("name", FAIR)
def test_every_place_is_hidden_equally_often(name):
    ratio = STRATEGIES[name].nearest(0.75)
    share = many(name, (4, 4), ratio, batch=4000).float().mean(dim=0)
    assert (share - ratio).abs().max() < 0.05  # six standard errors


@pytest.mark.parametrize("name", ["random", "half", "poisson_disk"])
def test_no_side_is_preferred_on_odd_grids_and_for_a_single_patch(name):
    ratio = STRATEGIES[name].nearest(1 / 63)
    hidden = many(name, (9, 7), ratio, batch=4000).reshape(-1, 9, 7).float().mean(dim=0)
    halves = hidden[:4].sum() / hidden[5:].sum(), hidden[:, :3].sum() / hidden[:, 4:].sum()
    assert all(abs(float(half) - 1) < 0.12 for half in halves)


@pytest.mark.parametrize(("name", "ratio"), [*[(n, 0.75) for n in FREE], ("visible_square", 0.7)])
def test_a_place_is_hidden_as_often_as_its_mirror_images(name, ratio):
    """Also where a line or a rectangle has to be cut, as 7x7 patches have to be."""
    for grid in ((7, 7), (8, 8)):
        share = many(name, grid, ratio, batch=4000).reshape(-1, *grid).float().mean(dim=0)
        for side in (0, 1):
            apart = (share - share.flip(side)).abs().max()
            why = f"{name} prefers a side of {grid}: draw directions by lot, and lots among equals"
            assert apart < 0.06, why  # five standard errors


def examples() -> list[str]:
    """Strategies that are printed for readers to begin with."""
    pages = ROOT / "CONTRIBUTING.md", NOTEBOOKS / "04_masking_strategies.ipynb"
    solution = nbformat.read(pages[1], as_version=4).cells[-1].source
    blocks = re.findall(r"```python\n(.*?)```", pages[0].read_text() + solution, re.DOTALL)
    return [block for block in blocks if "@strategy(" in block]


@pytest.mark.parametrize("source", examples(), ids=["recipe", "exercise"])
def test_a_strategy_that_readers_copy_does_what_every_strategy_does(source, monkeypatch):
    monkeypatch.setattr(STRATEGIES, "entries", dict(STRATEGIES))
    monkeypatch.setattr(STRATEGIES, "files", dict(STRATEGIES.files))
    before = set(STRATEGIES)
    exec(source, {"__name__": "an example"})
    (name,) = set(STRATEGIES) - before
    test_the_exact_number_is_hidden_in_every_image(name, (7, 7))
    test_masks_follow_from_their_generator_alone(name)
    test_a_strategy_moves_if_it_says_so(name)
    test_a_place_is_hidden_as_often_as_its_mirror_images(name, 0.75)


@pytest.mark.parametrize("name", STRATEGIES)
def test_ratio_zero_hides_nothing(name):
    assert not many(name, (4, 4), 0.0).any()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_summary_is_one_sentence(name):
    assert STRATEGIES[name].summary.endswith(".")


def test_half_is_rounded_up_and_never_truncated():
    found = [hidden_count(tokens, 0.75) for tokens in (6, 10, 49)]
    assert found == [5, 8, 37]  # int() gives 4, 7, 36; round() 4, 8, 37
    assert hidden_count(100, 0.9) == 90


@pytest.mark.parametrize(
    ("name", "ratio", "message"),
    [
        ("rnadom", 0.5, "unknown masking strategy 'rnadom'"),
        ("random", 1.0, "outside"),
        ("random", -0.1, "outside"),
        ("random", 0.99, "hides all 16 patches"),
        ("grid", 0.5, "defined for ratios from 0.75 to 0.75"),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, ratio, message):
    with pytest.raises(ValueError, match=message):
        many(name, (4, 4), ratio)


@pytest.mark.parametrize("name", [n for n, one in STRATEGIES.items() if one.looks_at])
def test_a_strategy_that_looks_at_images_asks_for_their_scores(name):
    with pytest.raises(ValueError, match=f"looks at the {STRATEGIES[name].looks_at}"):
        many(name, (4, 4), 0.5, scores=None)
    assert STRATEGIES[name].looks_at in SCORES


@pytest.mark.parametrize("name", [n for n, one in STRATEGIES.items() if one.schedule])
def test_a_schedule_ends_at_the_ratio_and_never_hides_nothing(name):
    for ratio in ratios(name):
        asked = hidden_count(64, ratio)
        counts = [
            set(many(name, (8, 8), ratio, progress=progress).sum(dim=1).tolist())
            for progress in (0.0, 0.3, 0.7, 1.0)
        ]
        assert all(len(found) == 1 and min(found) >= 1 for found in counts)
        assert counts[-1] == {asked}
        assert set(many(name, (8, 8), ratio).sum(dim=1).tolist()) == {asked}, "in tests"
    assert many(name, (8, 8), 0.01, progress=0.0).sum() == 200


def test_a_strategy_without_a_sentence_and_one_that_miscounts_are_refused(monkeypatch):
    monkeypatch.setattr(STRATEGIES, "entries", dict(STRATEGIES))
    monkeypatch.setattr(STRATEGIES, "files", dict(STRATEGIES.files))

    def unsaid(batch, grid, hidden, generator, scores=None, progress=None):
        return torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool)

    with pytest.raises(ValueError, match="'unsaid' has no docstring"):
        strategy()(unsaid)
    unsaid.__doc__ = "Hides nothing."
    strategy()(unsaid)
    with pytest.raises(RuntimeError, match="exactly 8 of 16 patches in every image, but 0 to 0"):
        many("unsaid", (4, 4), 0.5)
