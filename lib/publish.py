"""Published tables, README's table and its figure, from committed records: `python -m lib.publish`.

Whoever adds runs of a larger scale runs this once and commits the result; a test
holds what is committed to what this writes. Nothing here trains.
"""

import json
import re

import pandas as pd

from lib import records, tables
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
FEW_LABELS = "Accuracy after fine-tuning, when labels are few"
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
    """The published views in Markdown."""
    parts = []
    for title, view in VIEWS.items():
        frame = tables.published_view(**view)
        if not frame.empty:
            parts.append(f"**{title}**\n\n{markdown(frame)}\n")
    frame = tables.few_labels()
    if not frame.empty:
        parts.append(f"**{FEW_LABELS}**\n\n{markdown(frame)}\n")
    return "\n".join(parts)


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
    """docs/speed.md with the tables of the committed benchmarks brought up to date."""
    parts = [speed_table(file.stem, json.loads(file.read_text())) for file in sorted(BENCH.glob("*.json"))]
    return between_markers(text, "\n".join(parts))


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
