"""One tidy table of everything that a sweep has found, for pandas.

A row for each record, split and measure, with the parameters beside it, as `records.tidy`
makes it. Read it with `pandas.read_parquet("reports/sweeps/NAME/table.parquet")` or `load`.
"""

import json
from typing import TYPE_CHECKING

import pandas as pd

from lib import records
from lib.stamps import folder_of, made_by, stamp_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def collect(name: str) -> pd.DataFrame:
    """The table of all finished cells, from their records. Raises DamagedRecord, FileNotFoundError without a plan."""
    cells = json.loads((folder_of(name) / "plan.json").read_text())["cells"].values()
    done = [cell for cell in cells if stamp_of(name, cell["key"]).exists()]
    files = sorted({file for cell in done for file in made_by(name, cell)})
    return records.tidy([records.read(file) for file in files])


def load(name: str) -> pd.DataFrame:
    """The table that the last run of a sweep has written."""
    return pd.read_parquet(folder_of(name) / "table.parquet")


def means(table: pd.DataFrame, measure: str, by: list[str], split: str = "test") -> pd.DataFrame:
    """Mean over seeds and half-width of its 95 % interval, a row for each combination of the columns `by`."""
    from lib.intervals import t_interval

    chosen = table[(table["measure"] == measure) & (table["split"] == split)]
    rows = []
    for group, part in chosen.groupby(by, sort=True):
        mean, half_width = t_interval(part["value"].to_numpy())
        rows.append(dict(zip(by, group, strict=True)) | {"mean": mean, "half_width": half_width, "seeds": len(part)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame, measure: str, x: str, by: str, split: str = "test") -> "Figure":
    """A measure against the column `x`, a curve for each value of `by`: means over seeds with 95 % intervals."""
    from lib import figures

    rows = means(table, measure, [by, x], split)
    figure, axis = figures.canvas()
    apart = (rows[x].max() - rows[x].min()) / 60  # beside each other where they share an x
    for number, (name, part) in enumerate(rows.groupby(by, sort=False)):
        tint = figures.colour(str(name))
        how = {"marker": "osD^vP"[number % 6], "color": tint, "label": f"{by} {name}"}
        axis.errorbar(part[x] + number * apart, part["mean"], part["half_width"], capsize=3, **how)
    axis.set(xlabel=x, ylabel=f"{measure} on {split} images")
    axis.legend(frameon=False)
    return figure
