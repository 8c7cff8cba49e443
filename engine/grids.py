"""The tables of the report page: a row for each configuration that was run, its seeds together.

A mean stands with the half-width of its 95 % interval where there are three seeds or more. What
all rows share is said once, above the table, instead of in each. Every row leads to its records,
which are on the page, so that every number can be traced to the run that it is from.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine import publish
from lib.run.records import Measure, Record
from lib.run.tables import FEATURES, RECONSTRUCTION
from lib.statistics import t_interval

ABOUT = ("data", "epochs", "images", "images filled", "images probed")  # said once where shared
MANY = 6  # test masks
Measured = Callable[[Record], dict[str, Measure]]  # what a table tells of a record, by column


@dataclass(frozen=True)
class Entry:
    """What stands in a table, and by what its column is ordered."""

    text: str
    value: float | str

    @property
    def falling(self) -> float:
        """By which the greatest stands first, and what is missing last."""
        return math.inf if self.value == "" else -float(self.value)


MISSING = Entry("", "")


@dataclass(frozen=True)
class Row:
    """A configuration: what it is, the keys of its records by seed, what was measured."""

    name: str
    keys: dict[str, str]
    cells: dict[str, Entry]  # by the title of their column


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    same: str  # what all of its rows share, in words
    columns: list[str]  # those that are shown
    rows: list[Row]


def tables_of(found: list[Record]) -> list[Table]:
    """What was run: with few labels, under each kind of gaps, features. None of them is empty."""
    made = [grid("Accuracy with few labels", found, with_few_labels)]
    for mask in shown_masks({mask for record in found for mask in masks_of(record)}):
        made.append(grid(titled(mask), found, under(mask)))
    made.append(grid("What features are worth", found, of_features))
    return [table for table in made if table.rows]


def shown_masks(masks: set[str]) -> list[str]:
    """Of which a table is shown: all where they are few, else those of the published tables."""
    usual = {name.partition("/")[0] for name in publish.GAPS}
    return sorted(masks if len(masks) <= MANY else masks & usual)


def masks_of(record: Record) -> set[str]:
    """The test masks that a record was judged on."""
    return {name.split("/")[0] for name in record.metrics.get("test", {}) if "/" in name}


def titled(mask: str) -> str:
    """A test mask as the title of a table."""
    if mask == "none":
        return "Whole test images, nothing hidden"
    return f"Test images under {mask.replace('@', ' masks, ratio ')}"


# --- what a table tells of a record


def with_few_labels(record: Record) -> dict[str, Measure]:
    """Accuracies by the share of labels that was used."""
    found = {}
    for name, measure in record.metrics.get("test", {}).items():
        what, _, share = name.partition("@")
        if what == "accuracy":
            found[f"{100 * float(share):.3g}% of the labels"] = measure
    return found


def under(mask: str) -> Measured:
    """How well is filled what a mask hides."""
    return lambda record: chosen(record, {f"{mask}/{n}": t for n, t in RECONSTRUCTION.items()})


def of_features(record: Record) -> dict[str, Measure]:
    """What others can read from a model's features."""
    return chosen(record, FEATURES)


def chosen(record: Record, titles: dict[str, str]) -> dict[str, Measure]:
    """Some measures on test images, by title; those that have no value left out."""
    found = record.metrics.get("test", {})
    named = {title: found[name] for name, title in titles.items() if name in found}
    return {title: measure for title, measure in named.items() if measure.value is not None}


# --- rows


def grid(title: str, found: list[Record], measured: Measured) -> Table:
    """A row for each configuration that has what the table is about, the best first."""
    groups = publish.by_configuration(record for record in found if measured(record))
    means = {text: values(group, measured) for text, group in groups.items()}
    titles = list(dict.fromkeys(title for row in means.values() for title in row))
    best = sorted(groups, key=lambda text: means[text].get(titles[0], MISSING).falling)
    facts = {text: about(groups[text][0], measured) for text in best}
    rows = [
        Row(describe(groups[text][0]), keys_of(groups[text]), facts[text] | means[text])
        for text in best
    ]
    return folded(title, rows, [*ABOUT[:3], *titles])


def folded(title: str, rows: list[Row], columns: list[str]) -> Table:
    """A table that says what all of its rows share above them."""
    told = {n: [row.cells.get(n, MISSING).text for row in rows] for n in columns if n in ABOUT}
    same = publish.shared(told)
    return Table(title, publish.in_words(same), [n for n in columns if n not in same], rows)


def keys_of(group: list[Record]) -> dict[str, str]:
    """The records of a configuration, which differ in their seed, by it."""
    return {str(record.parameters["seed"]): record.key for record in group}


def about(record: Record, measured: Measured) -> dict[str, Entry]:
    """Data, length of training, and of how many images its measures are."""
    images = next(iter(measured(record).values())).n
    epochs = record.parameters["recipe"]["epochs"]
    told = {"data": publish.data_of(record), "epochs": epochs, "images": images}
    return {name: Entry(str(value), value) for name, value in told.items()}


def values(group: list[Record], measured: Measured) -> dict[str, Entry]:
    """Means over the seeds of a configuration; of what all of them have."""
    told = [measured(record) for record in group]
    titles = [title for title in told[0] if all(title in one for one in told)]
    found = {title: t_interval([one[title].value for one in told]) for title in titles}
    return {
        title: Entry(publish.with_interval(mean, half), mean)
        for title, (mean, half) in found.items()
    }


def describe(record: Record) -> str:
    """A run in a few words: what distinguishes it from its neighbours in a table."""
    options = record.parameters["options"]
    words = [publish.trained_as(record)]
    words += [f"{options[name]} numbers" for name in ("latent", "components") if name in options]
    if "prior" in options:
        words.append(str(options["prior"]))
    if options.get("hidden") == []:
        words.append("linear")
    return ", ".join(words)


def published() -> list[Table]:
    """The views of the published table, each row with the records that it is the mean of."""
    groups = publish.by_configuration(publish.larger_runs("standard"))
    made = []
    for title, frame in publish.views().items():
        columns = [name for name in frame if name not in ("training", "seeds")]
        rows = [
            Row(
                told["training"],
                keys_of(groups.get(configuration, [])),
                {
                    name: Entry(str(told[name]), str(told[name]).partition(" ")[0])
                    for name in columns
                },
            )
            for configuration, told in frame.iterrows()
        ]
        made.append(folded(title, rows, columns))
    return made
