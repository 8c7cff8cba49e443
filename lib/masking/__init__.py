"""Where to hide: strategies that draw boolean masks, True = hidden.

A strategy knows a grid of patches, how many of them to hide and a generator; it never sees an
image or a model. Informed ones get a score per patch from their caller (`scores`, lib/masks.py),
scheduled ones the share of training done (`progress`, 0 to 1). The folder is the register: a
function with `@strategy(...)` in a file here is found by the tests, the gallery, the parameter
check and notebook 04.

    registry    what a strategy is, and `draw`
    scattered   patch by patch, near or apart: random, uniform, grid, poisson_disk ...
    regions     connected regions: blocks, squares, stripes, halves, centre and border
    noise       the colours of ColorMAE: filtered noise, ranked
    informed    by what is in the patches, or by what a model attends to or cannot fill
    schedules   what changes over training, or from image to image
"""

from lib.masking.registry import (
    STRATEGIES,
    Grid,
    Strategy,
    draw,
    hidden_count,
    hide_highest,
    hide_in_order,
    rows_and_columns,
    strategy,
    uniform_noise,
)

__all__ = [
    "STRATEGIES",
    "Grid",
    "Strategy",
    "draw",
    "hidden_count",
    "hide_highest",
    "hide_in_order",
    "rows_and_columns",
    "strategy",
    "uniform_noise",
]
