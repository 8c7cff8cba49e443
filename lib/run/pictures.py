"""Rows of pictures from runs: the same images under the same mask, and what each run made of them.

Every run answers with its sheet (lib/run/sheets.py), made now or kept with its record, so a
notebook draws the same figure of a run that it has just done and of one from another machine.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from lib.data.embedded import photograph
from lib.figures import veil
from lib.pixels import unit_range
from lib.run.sheets import SIDE, Sheet
from lib.shapes import Pixels

if TYPE_CHECKING:
    from lib.run.experiment import Run


def reconstructions(runs: dict[str, "Run"], mask: str, count: int = 8) -> dict[str, Pixels]:
    """The first `count` test images, what is seen of them, and each run's completed ones.

    mask   a test mask under which all runs were measured; `none` hides nothing
    """
    first = next(iter(runs.values()))
    rows = {"original": unit_range(first.sheet.originals[:count])}
    if mask != "none":
        hidden = first.sheet.gone(mask)[:count]
        rows["what is seen"] = veil(rows["original"], hidden)
    for label, run in runs.items():
        rows[label] = unit_range(run.sheet.completed[mask][:count])
    return rows


def photographs(runs: dict[str, "Run"], name: str) -> dict[str, Tensor]:
    """One photograph [3, height, width], and what each run made of it that knows photographs.

    Empty where none does.
    """
    sheets: dict[str, Sheet] = {label: run.sheet for label, run in runs.items()}
    known = {label: sheet.photographs for label, sheet in sheets.items()}
    found = {label: shown[name] / 255 for label, shown in known.items() if name in shown}
    return {"original": photograph(name, SIDE)} | found if found else {}
