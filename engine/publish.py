"""Published tables from committed records: `python -m engine.publish`. Nothing here trains.

It writes reports/tables/SCALE.csv (a row for each configuration, split and measure; of the sweeps
of masks the models of random masks and of none), masks.csv (a row for each run of these sweeps,
split and measure), what README shows of the former between two markers, and the tables of
docs/speed.md. Whoever adds runs of a larger scale runs it once and commits the result; a test holds
what is committed to what this writes.

Three rules. A mean is taken over seeds and nothing else: two records belong together where
everything but their seed is the same, their data included. Rows that differ in their data or
their length of training say so in columns, and rows that would read alike are told apart by what
differs. A table without a row is not shown.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from lib.evaluate import EVERY, JUDGED_ON
from lib.files import REPORTS, ROOT, write_text
from lib.masks import parse_mask
from lib.models.family import MODELS
from lib.run import records, stale
from lib.run.records import Record
from lib.run.tables import FEATURES
from lib.statistics import t_interval

SCALES = ("standard", "full")
BENCH = REPORTS / "results" / "bench"
README = ROOT / "README.md"
SPEED = ROOT / "docs" / "speed.md"
START, END = "<!-- table: written by make publish -->", "<!-- end of table -->"
NOTHING = "The larger runs are being measured anew."

FAMILIES = "Three families and what they have to beat"
STRATEGIES = "The ViT-MAE under three strategies"
FILLED = {"random@0.75/psnr_hidden": "PSNR hidden [dB]", "random@0.75/ssim_hidden": "SSIM hidden"}
GAPS = {
    "random@0.75/psnr_hidden": "PSNR hidden, random gaps [dB]",
    "block@0.75/psnr_hidden": "PSNR hidden, block gaps [dB]",
    "grid@0.75/psnr_hidden": "PSNR hidden, grid gaps [dB]",
}
USED_BY = {"all": "fine-tuned", "linear": "linear layer", "nearest": "nearest neighbour"}  # labels
HARDEST = "pca"  # of the baselines to beat
USUAL_RATIO = 0.75  # of hidden patches in the larger runs
OF_GAPS = ("psnr_hidden", "ssim_hidden")  # measures that are published of each kind of them
# What identifies a row to a reader, in this order.
ABOUT = ["data", "training", "weights", "epochs", "seeds", "images filled", "images probed"]


def current(scale: str) -> list[Record]:
    """The records of a scale that today's code would make alike; stale ones are not published."""
    found = records.read_all(REPORTS / "results" / scale)
    return [record for record in found if not stale.reasons(record)]


# --- one row for each configuration, split and measure


def summary(found: list[Record]) -> pd.DataFrame:
    """Means over seeds with the half-width of their 95 % interval, seeds and images.

    Of a configuration whose records do not all have a measure, that measure is left out.
    """
    rows = []
    for text, members in sorted(by_configuration(found).items()):
        rows += summary_rows(text, members)
    return told_apart(pd.DataFrame(rows))


def by_configuration(found: Iterable[Record]) -> dict[str, list[Record]]:
    """Records that differ in their seed alone, in its order, by what they share.

    Raises ValueError where one seed was measured twice: intervals would be too narrow.
    """
    groups: dict[str, list[Record]] = {}
    for record in sorted(found, key=lambda one: one.parameters["seed"]):
        group = groups.setdefault(configuration(record), [])
        if group and group[-1].parameters["seed"] == record.parameters["seed"]:
            names = f"{group[-1].name}, {record.name}"
            raise ValueError(f"one seed was measured twice in {names}: remove one of its records")
        group.append(record)
    return groups


def configuration(record: Record) -> str:
    """All that decides the numbers but the seed, as JSON text."""
    same = {name: value for name, value in record.parameters.items() if name != "seed"}
    return json.dumps(same | {"sha256": record.data.sha256}, sort_keys=True)


def summary_rows(text: str, members: list[Record]) -> list[dict[str, Any]]:
    """The rows of one configuration, whose records differ in their seed alone."""
    first = members[0]
    about = {
        "data": data_of(first),
        "model": first.model.family,
        "training": trained_as(first),
        "strategy": first.parameters["strategy"],
        "epochs": first.parameters["recipe"]["epochs"],
        "weights": first.model.parameters,
        "configuration": text,
    }
    rows = []
    for split, measures in first.metrics.items():
        for name, measure in measures.items():
            values = [value_of(record, split, name) for record in members]
            if None in values:
                continue
            mean, half = t_interval(values)
            numbers = {"mean": round(mean, 6), "half_width": round(half, 6)}
            counts = {"seeds": len(values), "n": measure.n}
            rows.append(about | {"split": split, "measure": name} | numbers | counts)
    return rows


def value_of(record: Record, split: str, name: str) -> float | None:
    """One measure of a record, None where it has none."""
    found = record.metrics.get(split, {}).get(name)
    return None if found is None else found.value


def data_of(record: Record) -> str:
    """Which images a record is about: their variant, size and number where it was chosen."""
    words = [record.data.variant]
    if record.parameters["image_size"]:
        words.append(f"{record.parameters['image_size']} px")
    if record.parameters["subset"]:
        words.append(f"{record.parameters['subset']} training images")
    return ", ".join(words)


def trained_as(record: Record) -> str:
    """How a model was trained, in words; a baseline is its label."""
    given, family = record.parameters, MODELS[record.model.family]
    words = [record.model.label]
    if family.trained:
        masked = family.under(given["strategy"], given["mask_ratio"])
        words = [masked] if given["recipe"]["epochs"] else [*words, "untrained"]
        if given["options"].get("normalise_target"):
            words.append("normalised target")
    if given["fine_tune"]:
        words.append(USED_BY[given["fine_tune"]["method"]])
        words += ["longer"] if given["fine_tune"]["extra_steps"] else []
    return ", ".join(words)


def told_apart(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what differs added to labels that two configurations would share."""
    if table.empty:
        return table
    labels = table["training"].copy()
    judged_on = table["configuration"].map(test_masks)  # no table shows two sets of them
    for _, part in table.groupby(["data", "training", "epochs", judged_on]):
        for text, differing in differences(list(part["configuration"].unique())).items():
            labels[part.index[part["configuration"] == text]] += differing
    return table.assign(training=labels)


def test_masks(configuration: str) -> tuple[str, ...]:
    """On which masks a configuration was judged."""
    return tuple(json.loads(configuration)["test_masks"])


def differences(texts: list[str]) -> dict[str, str]:
    """What of each configuration is not the same in all of them, in words."""
    settings = pd.json_normalize([json.loads(text) for text in texts]).map(json.dumps)
    varied = settings.loc[:, settings.nunique() > 1]
    return {
        text: "".join(f", {name} {value[:20]}" for name, value in row.items())
        for text, (_, row) in zip(texts, varied.iterrows(), strict=True)
    }


def table(scale: str) -> str:
    """The published table of a scale as CSV text; empty where there is no record."""
    return as_csv(summary(larger_runs(scale)))


def larger_runs(scale: str) -> list[Record]:
    """The records of the published table."""
    found = current(scale)
    families = [under_usual_masks(record) for record in found if of_a_family(record)]
    return [record for record in found if judged_as_usual(record)] + families


def as_csv(frame: pd.DataFrame) -> str:
    return "" if frame.empty else frame.to_csv(index=False, lineterminator="\n")


def judged_as_usual(record: Record) -> bool:
    """Whether on the masks of the larger runs, and not on those of a sweep of masks or ratios."""
    masks = [parse_mask(name) for name in record.parameters["test_masks"]]
    return {name for name, _ in masks} <= {*JUDGED_ON} and len({ratio for _, ratio in masks}) < 2


def of_a_family(record: Record) -> bool:
    """Whether a sweep of masks trained it on random ones, or as their control with none."""
    given, family = record.parameters, MODELS[record.model.family]
    masked_alike = given["strategy"] == "random" and given["mask_ratio"] in (0, USUAL_RATIO)
    swept = given["test_masks"] == list(EVERY)
    return swept and masked_alike and family.trained and family.module.hides_patches


def under_usual_masks(record: Record) -> Record:
    """A record with the gaps of the larger runs alone, which are the same masks in every list."""
    gaps = [f"{name}@{USUAL_RATIO}" for name in JUDGED_ON]
    kept = {
        split: {
            name: one
            for name, one in measures.items()
            if "/" not in name or name.partition("/")[0] in gaps
        }
        for split, measures in record.metrics.items()
    }
    parameters = record.parameters | {"test_masks": gaps}
    return record.model_copy(update={"metrics": kept, "parameters": parameters})


def masks_table() -> str:
    """What the sweeps of masks and ratios found as CSV text; empty where there is no record."""
    found = [one for one in current("standard") if not judged_as_usual(one)]
    return as_csv(pd.DataFrame([row for record in found for row in masks_rows(record)]))


def masks_rows(record: Record) -> list[dict[str, Any]]:
    """The rows of one run: how it fills each kind of gaps, and what its features are worth."""
    about = {"data": data_of(record), "training": trained_as(record)}
    about |= {name: record.parameters[name] for name in ("strategy", "mask_ratio")}
    about |= {"epochs": record.parameters["recipe"]["epochs"], "seed": record.parameters["seed"]}
    rows = []
    for split, measures in record.metrics.items():
        for name, measure in measures.items():
            gaps, _, what = name.rpartition("/")
            if gaps and what not in OF_GAPS:
                continue
            value = None if measure.value is None else round(measure.value, 4)
            found = {"split": split, "measure": name, "value": value, "n": measure.n}
            rows.append(about | found | {"key": record.key})
    return rows


def read_table() -> pd.DataFrame:
    """The published table of standard runs; empty where none has been published."""
    file = REPORTS / "tables" / "standard.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame()


# --- what is shown of it


def views(briefly: bool = False) -> dict[str, pd.DataFrame]:
    """What the report shows of the published table, by title; none without a row.

    briefly   for README: models that were trained, with controls of as many epochs, and the
        baseline that is hardest to beat
    """
    published = read_table()
    if published.empty:
        return {}
    if briefly:
        published = published[(published["epochs"] > 0) | (published["model"] == HARDEST)]
        control = published["training"].str.contains("not masked")
        trained = published["model"] + published["epochs"].astype(str)
        published = published[~control | trained.isin(trained[~control])]
    shown = {FAMILIES: view(published[published["strategy"] == "random"], FILLED)}
    transformers = published[published["model"] == "mae"]
    if transformers["strategy"].nunique() > 1:
        shown[STRATEGIES] = view(transformers, GAPS)
    return {title: frame for title, frame in shown.items() if not frame.empty}


def view(published: pd.DataFrame, filled: dict[str, str]) -> pd.DataFrame:
    """A row for each configuration, by its text, on test images, the best at the first of
    `filled` first: what it is, its images, means with intervals.

    filled   measures of reconstruction and their titles; what features are worth stands beside them
    """
    rows = {}
    on_test = published[published["split"] == "test"]
    for text, part in on_test.groupby("configuration", sort=False):
        means = part.set_index("measure")
        row = {name: part.iloc[0][name] for name in ("data", "training", "epochs", "seeds")}
        row["weights"] = in_millions(part.iloc[0]["weights"])
        row["best"] = means["mean"].get(next(iter(filled)))
        for column, titles in (("images filled", filled), ("images probed", FEATURES)):
            for name in means.index.intersection(titles):
                row[column] = means.loc[name, "n"]
                row[titles[name]] = with_interval(*means.loc[name, ["mean", "half_width"]])
        if not {"images filled", "images probed"}.isdisjoint(row):
            rows[text] = row
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame.from_dict(rows, orient="index").sort_values(
        ["data", "best", "training", "epochs"], ascending=[True, False, True, True]
    )
    columns = [*ABOUT, *filled.values(), *FEATURES.values()]
    shown = frame.reindex(columns=[name for name in columns if name in frame])
    counts = shown.select_dtypes("number").columns
    shown[counts] = shown[counts].astype("Int64")
    return shown.astype(object).where(shown.notna(), "")


def in_millions(weights: int) -> str:
    """How many numbers a model has learned; nothing for one that learns none."""
    return f"{weights / 1e6:.1f} M" if weights else ""


def with_interval(mean: float, half_width: float) -> str:
    """A mean and, from three seeds on, the half-width of its interval."""
    digits = 2 if abs(mean) >= 2 else 3
    if pd.isna(half_width):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


# --- pages


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def titled(title: str, frame: pd.DataFrame) -> str:
    return f"{title}\n\n{markdown(frame)}\n"


def readme(text: str) -> str:
    """README with its tables brought up to date."""
    parts = []
    for title, frame in views(briefly=True).items():
        same, rest = folded(frame)
        parts.append(titled(f"**{title}** ({same})" if same else f"**{title}**", rest))
    return between_markers(text, "\n".join(parts) or f"{NOTHING}\n")


def folded(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What all rows share that have it, in words, and the frame without it."""
    about = frame[[name for name in ABOUT if name in frame]].astype(str)
    same = shared({name: list(about[name]) for name in about})
    return in_words(same), frame.drop(columns=[*same])


def shared(columns: Mapping[str, list[str]]) -> dict[str, str]:
    """Of each column that says one thing only, what it says; a single row shares nothing."""
    told = {name: set(texts) - {""} for name, texts in columns.items() if len(texts) > 1}
    return {name: texts.pop() for name, texts in told.items() if len(texts) == 1}


def in_words(same: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in same.items())


def speed(text: str) -> str:
    """docs/speed.md with the tables of the committed benchmarks brought up to date."""
    files = sorted(BENCH.glob("*.json"))
    parts = [speed_table(file.stem, json.loads(file.read_text())) for file in files]
    threads = REPORTS / "tables" / "threads.json"
    if threads.exists():
        parts.append(threads_table(json.loads(threads.read_text())))
    return between_markers(text, "\n".join(parts) or f"{NOTHING}\n")


def between_markers(text: str, shown: str) -> str:
    """A page with what stands between its two markers replaced. Raises ValueError without them."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no place for tables: it needs {START} and then {END}")
    return f"{before}{start}\n\n{shown}\n{end}{after}"


def speed_table(name: str, found: dict[str, Any]) -> str:
    """One benchmark: what ran where, and a row for each entrant of each group of rounds."""
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    rows = [speed_row(row) for row in found["rows"]]
    return titled(f"**{name}**: {machine}", pd.DataFrame(rows))


def speed_row(row: dict[str, Any]) -> dict[str, Any]:
    low, middle, high = row["against"]
    return {
        "size, batch": f"{row['size']}, {row['batch']}",
        "entrant": row["entrant"],
        "images/s": f"{row['images_per_second']:.4g}",
        "against the fastest peer": f"{middle:.2f} ({low:.2f} to {high:.2f})",
        "GFLOP an image": f"{row['flops_per_image'] / 1e9:.2f}",
        "share of peak": f"{row['share_of_peak']:.1%}",
        "MB": row["memory_mb"],
    }


def threads_table(found: dict[str, Any]) -> str:
    """Trainings beside other work: speeds relative to torch's own way on the idle machine."""
    rows = []
    for name, loads in found["trainings"].items():
        for load, ways in loads.items():
            if isinstance(ways, Mapping):  # the rest is the rate that these are relative to
                row = {"training": name, "other processes": load}
                rows.append(row | {way: f"{ratio:.2f}" for way, ratio in ways.items()})
    about = found["machine"]
    machine = f"{about['processor']}, {about['cores']} cores, median of {found['rounds']} rounds"
    title = "**Small trainings beside other work**, relative to torch's own way on the idle machine"
    return titled(f"{title} ({machine})", pd.DataFrame(rows))


def publish_table(name: str, text: str) -> list[str]:
    """Write a table, or remove one of records that are no more; what was written."""
    file = REPORTS / "tables" / f"{name}.csv"
    if not text:
        file.unlink(missing_ok=True)
        return []
    write_text(file, text)
    return [f"reports/tables/{name}.csv"]


def main() -> None:
    """Write the tables and bring the pages up to date; say what was left out."""
    wrote = []
    for scale in SCALES:
        left = len(records.read_all(REPORTS / "results" / scale)) - len(current(scale))
        if left:
            print(f"{left} stale records of scale {scale} are left out: make stale says why")
        wrote += publish_table(scale, table(scale))
    wrote += publish_table("masks", masks_table())
    write_text(README, readme(README.read_text()))
    write_text(SPEED, speed(SPEED.read_text()))
    print("wrote", ", ".join(wrote) or "no table: there is no record to publish")


if __name__ == "__main__":
    main()
