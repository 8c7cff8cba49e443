"""A finished run's model becomes one that comes with the code: `python -m engine.weights`.

    python -m engine.weights imagenette-mae 0123456789abcdef --data FOLDER

writes lib/weights/NAME from the record of that key, whose weights must still lie on this
machine: the model in bf16 in the Hugging Face layout, what was measured of it once more after the
rounding (metrics.json), and its card, which says nothing that is not in these two. Then
`load_pretrained(NAME)` finds it, in a clone and in a wheel alike.
"""

import argparse
from typing import Any

import jinja2
import pandas as pd
import torch
from torch import nn

from engine.publish import GAPS, markdown
from lib.files import REPORTS, WEIGHTS, write_json, write_text
from lib.models.published import load_pretrained, save_pretrained
from lib.run import records
from lib.run.experiment import Found, measure, run
from lib.run.records import Record
from lib.run.settings import Execution, Experiment
from lib.run.sheets import SIDE, hidden_photograph
from lib.run.tables import FEATURES
from lib.windows import compare

SHOWN = ("astronaut", "coffee", "cat", "rocket")  # photographs; lettering and a face among them
RATIOS = (0.5, 0.75, 0.9)
MEASURED = GAPS | {"random@0.75/ssim_hidden": "SSIM hidden, random gaps"} | FEATURES


def publish(name: str, key: str, data_root: str) -> None:
    """Write the folder of a model. Raises ValueError where its run is not finished here."""
    file = records.find(REPORTS / "results" / "standard", key)
    if file is None:
        raise ValueError(
            f"no finished run of key {key} lies in reports/results/standard: run it first"
        )
    record = records.read(file)
    experiment = Experiment(**record.parameters)
    execution = Execution(data_root=data_root, scale="standard", notebook=record.notebook)
    done = run(experiment, execution, need_model=False)
    if done.model is None or done.splits is None:
        raise ValueError("the run's weights or its data are not on this machine: run it here again")
    folder = WEIGHTS / name
    save_pretrained(done.model, folder, dtype=torch.bfloat16)
    rounded = load_pretrained(folder).eval()
    again = Found()
    measure(rounded, experiment, done.splits, torch.device("cpu"), again)
    found = {
        "key": key,
        "licence": done.splits["train"].licence,
        "test": again.metrics["test"],
        "photographs": photographs(rounded),
    }
    write_json(folder / "metrics.json", found)
    write_text(folder / "README.md", card(name, record, found))


def photographs(model: nn.Module) -> list[dict[str, Any]]:
    """PSNR on hidden pixels of photographs, by the model and by inpainting, a row each."""
    rows = []
    for label in SHOWN:
        for ratio in RATIOS:
            found = compare(model, *hidden_photograph(model, label, ratio))
            rows.append({"photograph": label, "hidden": ratio} | found.decibels)
    return rows


def card(name: str, record: Record, found: dict[str, Any]) -> str:
    """The card of a model, from its record and what was measured after rounding."""
    given = record.parameters
    options = given["options"]
    seconds = record.provenance.seconds["training"]
    hours = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
    rows = record.history
    some = [rows[round(i * (len(rows) - 1) / 4)] for i in range(5)]
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("engine"), autoescape=False, undefined=jinja2.StrictUndefined
    ).get_template("card.md.j2")
    text = template.render(
        name=name,
        record=record,
        given=given,
        recipe=given["recipe"],
        found=found,
        side=SIDE,
        size="encoder {dim} x {depth}, decoder {decoder_dim} x {decoder_depth}".format(**options),
        hours=hours,
        curve=", ".join(f"{row['validation_loss']:.3f} (step {row['step']:g})" for row in some),
        measured=markdown(measured(record, found)),
        photographs=markdown(shown_photographs(found)),
    )
    return text + "\n"


def measured(record: Record, found: dict[str, Any]) -> pd.DataFrame:
    """Measures on test images, as trained and after rounding."""
    rows = []
    for name, title in MEASURED.items():
        trained = record.metrics["test"][name]
        rounded = found["test"][name]["value"]
        digits = 2 if "dB" in title else 3
        rows.append(
            {
                "": title,
                "n": trained.n,
                "as trained": f"{trained.value:.{digits}f}",
                "rounded to bf16": f"{rounded:.{digits}f}",
            }
        )
    return pd.DataFrame(rows)


def shown_photographs(found: dict[str, Any]) -> pd.DataFrame:
    """Photographs in rows, ratios in columns: the model's decibels, and inpainting's."""
    rows: dict[str, dict[str, str]] = {}
    for row in found["photographs"]:
        column = f"{row['hidden']:.0%} hidden: model / inpainting"
        rows.setdefault(row["photograph"], {"": row["photograph"]})
        rows[row["photograph"]][column] = f"{row['model']:.1f} / {row['inpainting']:.1f}"
    return pd.DataFrame(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the model, such as imagenette-mae")
    parser.add_argument("key", help="of its run: the last part of its record's name")
    parser.add_argument("--data", default="data", help="folder that holds the data set")
    given = parser.parse_args()
    try:
        publish(given.name, given.key, given.data)
    except ValueError as error:
        parser.exit(1, f"weights: {error}\n")
    print(f"wrote lib/weights/{given.name}")


if __name__ == "__main__":
    main()
