"""Published tables, README's table and its figure, from committed records: `python -m lib.publish`.

Whoever adds runs of a larger scale runs this once and commits the result; a test
holds what is committed to what this writes. Nothing here trains.
"""

import itertools
import json
import re

import pandas as pd

from lib import records, tables
from lib.intervals import t_interval
from lib.paths import REPORTS, ROOT

SCALES = ("standard", "full")
BENCH, SPEED = REPORTS / "results" / "bench", ROOT / "docs" / "speed.md"
FEW = {"random@0.75/psnr_hidden": "PSNR hidden [dB]", "random@0.75/ssim_hidden": "SSIM hidden"} | tables.FEATURES
GAPS = {f"{name}@0.75/psnr_hidden": f"PSNR hidden, {name} gaps [dB]" for name in ("random", "block", "grid")} | tables.FEATURES
MAIN = {"data": "imagenette-128", "epochs": [0, 15]}  # the runs of the first two views; others differ in data or length
VIEWS = {
    "Three families and what they have to beat": {"measures": FEW, "strategy": "random"} | MAIN,
    "The ViT-MAE under three strategies": {"measures": GAPS, "model": "mae"} | MAIN,
}
OTHERS = "Other data: what the ViT-MAE learned without labels, and what it has to beat"
FEW_LABELS = "Accuracy after fine-tuning, when labels are few"
GAINS = "What masked pre-training gains: the differences of these accuracies, paired by seed"
START, END = "<!-- table: written by make publish -->", "<!-- end of table -->"


def current(scale: str) -> list[records.Record]:
    """The records of a scale that today's code would make alike; stale ones are not published (see `make stale`)."""
    from lib import stale

    return [record for record in records.read_all(REPORTS / "results" / scale) if not stale.reasons(record)]


def table(scale: str) -> str:
    """The published table of a scale as CSV text; empty where there is no record."""
    found = tables.published(current(scale))
    return "" if found.empty else found.to_csv(index=False, lineterminator="\n")


def readme_tables() -> str:
    """The published views in Markdown; the longest one is folded."""
    found = views()
    parts = [f"**{title}**\n\n{markdown(frame)}\n" for title, frame in found.items() if title != OTHERS]
    if OTHERS in found:
        parts.append(f"<details><summary><b>{OTHERS}</b></summary>\n\n{markdown(found[OTHERS])}\n\n</details>\n")
    return "\n".join(parts)


def views() -> dict[str, pd.DataFrame]:
    """What README and the report show of the published table, by title; without those that are still empty."""
    found = {title: tables.published_view(**view) for title, view in VIEWS.items()}
    found |= {OTHERS: others(), FEW_LABELS: tables.few_labels(), GAINS: gains()}
    return {title: frame for title, frame in found.items() if not frame.empty}


def others() -> pd.DataFrame:
    """What was learned without labels on other data, and for longer, than in the first views."""
    frame = tables.by_data(FEW, strategy="random")
    if frame.empty:
        return frame
    main = (frame["data"] == MAIN["data"]) & frame["epochs"].isin([str(epochs or "") for epochs in MAIN["epochs"]])
    return frame[~main & ~frame["training"].str.contains("normalised|float32")]


def gains(scale: str = "standard") -> pd.DataFrame:
    """Accuracy after masked pre-training minus after each other start, with the interval of the paired differences, from three seeds on."""
    held: dict[tuple[str, str, str], dict[int, records.Record]] = {}  # data, start, configuration -> seed -> record
    for record in current(scale):
        if record.parameters.get("fine_tune"):
            found = tables.configuration(record)
            start = (found["data"], found["training"], found["configuration"])
            held.setdefault(start, {})[record.parameters["seed"]] = record
    rows = []
    for ((data, first, _), masked), ((same, second, _), other) in itertools.permutations(sorted(held.items()), 2):
        seeds = sorted(masked.keys() & other.keys())
        if same == data and len(seeds) > 2 and opposed(masked[seeds[0]].parameters, other[seeds[0]].parameters):
            rows.append({"data": data, "training": first, "minus": second, "seeds": len(seeds)})
            for share in masked[seeds[0]].parameters["fine_tune"]["shares"]:
                name = f"finetune_accuracy@{share:g}"
                mean, half = t_interval([masked[seed].value(name) - other[seed].value(name) for seed in seeds])
                rows[-1][f"{100 * share:g} % of labels"] = f"{mean:+.3f} ± {half:.3f}"
    return pd.DataFrame(rows)


def opposed(masked: dict, other: dict) -> bool:
    """Whether the first is masked pre-training and the second a start to compare with: of the same length, or of no pre-training."""
    epochs, tuned = masked["recipe"]["epochs"], masked["fine_tune"]["epochs"]
    if not epochs or not masked["mask_ratio"]:
        return False
    if other["recipe"]["epochs"]:
        return other["recipe"]["epochs"] == epochs and not other["mask_ratio"]
    return other["model"] != masked["model"] or other["fine_tune"]["epochs"] in (tuned, tuned + epochs)


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def readme(text: str) -> str:
    """README with its tables between the two markers brought up to date."""
    return between_markers(text, readme_tables())


def between_markers(text: str, tables_text: str) -> str:
    return re.sub(f"{START}.*{END}", lambda _: f"{START}\n\n{tables_text}\n{END}", text, flags=re.DOTALL)


def speed(text: str) -> str:
    """docs/speed.md with the tables of the committed benchmarks, and of bf16 beside float32, brought up to date."""
    parts = [speed_table(file.stem, json.loads(file.read_text())) for file in sorted(BENCH.glob("*.json"))]
    pairs = precisions()
    if not pairs.empty:
        parts.append(f"**The same training in bf16 and in float32**, lowest validation loss\n\n{markdown(pairs)}\n")
    parts.append(threads_table(json.loads((REPORTS / "tables" / "threads.json").read_text())))
    return between_markers(text, "\n".join(parts))


def threads_table(found: dict) -> str:
    """The benchmark of trainings beside other work in Markdown: speeds relative to torch's own way on the idle machine."""
    rows = [
        {"training": name, "other processes": load} | {way: f"{ratio:.2f}" for way, ratio in loads[load].items()}
        for name, loads in found["trainings"].items()
        for load in list(loads)[1:]  # the first is no load: the rate that the others are relative to
    ]
    machine = f"{found['machine']['processor']}, {found['machine']['cores']} cores, median of {found['rounds']} rounds"
    title = f"**Small trainings beside other work**, relative to torch's own way on the idle machine ({machine})"
    return f"{title}\n\n{markdown(pd.DataFrame(rows))}\n"


def speed_table(name: str, found: dict) -> str:
    """One benchmark in Markdown: what ran where, and a row for each entrant of each group of rounds."""
    machine = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    rows = [
        {
            "size, batch": f"{row['size']}, {row['batch']}",
            "entrant": row["entrant"],
            "images/s": f"{row['images_per_second']:.4g}",
            "against the fastest peer": f"{row['against'][1]:.2f} ({row['against'][0]:.2f} to {row['against'][2]:.2f})",
            "GFLOP an image": f"{row['flops_per_image'] / 1e9:.2f}",
            "share of peak": f"{row['share_of_peak']:.1%}",
            "MB": row["memory_mb"],
        }
        for row in found["rows"]
    ]
    return f"**{name}**: {machine}\n\n{markdown(pd.DataFrame(rows))}\n"


def precisions(scale: str = "standard") -> pd.DataFrame:
    """Runs that differ in nothing but their precision, pairwise: the loss on validation images that they end with."""
    pairs: dict[str, dict[str, records.Record]] = {}
    for record in current(scale):
        recipe, tuned = record.parameters["recipe"], record.parameters.get("fine_tune")
        if recipe["epochs"] and not tuned:
            rest = record.parameters | {"recipe": recipe | {"precision": ""}}
            pairs.setdefault(json.dumps(rest, sort_keys=True), {})[recipe["precision"]] = record
    rows = []
    for pair in (pair for pair in pairs.values() if len(pair) == 2):
        low, exact = (min(row["validation_loss"] for row in pair[precision].history) for precision in ("bf16", "float32"))
        given = pair["bf16"].parameters
        about = {"data": pair["bf16"].data.variant, "training": tables.trained_as(pair["bf16"].model.label, given), "seed": given["seed"]}
        rows.append(about | {"bf16": f"{low:.4f}", "float32": f"{exact:.4f}", "difference": f"{low / exact - 1:+.2%}"})
    return pd.DataFrame(rows).sort_values(["data", "training", "seed"]) if rows else pd.DataFrame()


def figure():
    """README's figure: filling gaps and knowing what is seen, side by side."""
    from lib import figures

    chosen = tables.read_published()
    chosen = chosen[(chosen["split"] == "test") & (chosen["strategy"] == "random") & (chosen["data"] == MAIN["data"])]
    chosen = chosen[chosen["epochs"].isin(MAIN["epochs"]) & ~chosen["measure"].str.startswith("finetune")]
    tints = dict(zip(chosen["training"], chosen["model"], strict=True))
    panels = {}
    for measure, title in (("random@0.75/psnr_hidden", "Filling the gaps"), ("probe_accuracy", "Knowing what is seen")):
        rows = chosen[chosen["measure"] == measure]
        panels[title] = dict(zip(rows["training"], zip(rows["mean"], rows["half_width"], strict=True), strict=True))
    known = panels["Knowing what is seen"]
    order = sorted(tints, key=lambda label: -known.get(label, (0, 0))[0])
    panels = {title: {label: values.get(label, (float("nan"), 0.0)) for label in order} for title, values in panels.items()}
    return figures.bars(panels, tints, ["PSNR on hidden test pixels [dB]", "accuracy of a linear probe"])


def main() -> None:
    for scale in SCALES:
        left = len(records.read_all(REPORTS / "results" / scale)) - len(current(scale))
        if left:
            print(f"{left} stale records of scale {scale} are left out: make stale says why")
        text = table(scale)
        if text:
            (REPORTS / "tables").mkdir(parents=True, exist_ok=True)
            (REPORTS / "tables" / f"{scale}.csv").write_text(text)
    page = ROOT / "README.md"
    page.write_text(readme(page.read_text()))
    SPEED.write_text(speed(SPEED.read_text()))
    if not tables.read_published().empty:
        from matplotlib import pyplot as plt

        from lib import figures

        drawn = figure()
        (REPORTS / "figures").mkdir(parents=True, exist_ok=True)
        with plt.rc_context(figures.STYLE):
            drawn.savefig(REPORTS / "figures" / "published.svg", metadata={"Date": None})
    print("wrote", ", ".join(f"reports/tables/{scale}.csv" for scale in SCALES if table(scale)) or "nothing: there is no record to publish")


if __name__ == "__main__":
    main()
