"""The strategies of the published sweep of masks, side by side on the page: one picture of each.

A record keeps small pictures of its run (lib/run/sheets.py). Of each strategy's first seed these
become one picture: the first test images, what its own mask leaves of them, and what the model
that was trained with such masks makes of it; with a sentence of the strategy and its numbers.
"""

import torch

from engine.publish import current
from lib.evaluate import EVERY, own_mask
from lib.figures import data_address, encoded, mosaic, veil
from lib.files import REPORTS
from lib.masking import STRATEGIES
from lib.pixels import unit_range
from lib.run.records import Record
from lib.run.sheets import Sheet, read_sheet

RATIO = 0.75
SHOWN = 8  # test images
QUALITY = 75  # of WebP


def compared() -> list[dict[str, str]]:
    """A picture, its name, alternative text and caption for each strategy; best probe first."""
    first: dict[str, Record] = {}
    for record in sorted(current("standard"), key=lambda one: one.parameters["seed"]):
        if belongs(record):
            first.setdefault(record.parameters["strategy"], record)
    ranked = sorted(first.items(), key=lambda item: -probe_of(item[1]))
    return [tab(name, record) for name, record in ranked]


def belongs(record: Record) -> bool:
    """Whether a record is of a ViT-MAE of the sweep of masks, pre-trained at the usual ratio."""
    given = record.parameters
    pretrained = record.model.family == "mae" and not given["fine_tune"]
    of_the_sweep = given["mask_ratio"] == RATIO and tuple(given["test_masks"]) == EVERY
    return pretrained and of_the_sweep


def probe_of(record: Record) -> float:
    """The accuracy of its linear probe on test images."""
    return record.metrics["test"]["probe_accuracy"].value


def tab(name: str, record: Record) -> dict[str, str]:
    """What the page shows of one strategy: its own gaps, filled, and its numbers."""
    measured = record.metrics["test"]
    shown = own_mask(name, RATIO, record.sheet.masks)
    gaps = {"its own gaps": shown, "random gaps": f"random@{RATIO:g}"}
    told = [f"{what} {measured[f'{mask}/psnr_hidden'].value:.2f} dB" for what, mask in gaps.items()]
    numbers = ", ".join([*told, f"linear probe {probe_of(record):.3f}"])
    sheet = read_sheet(REPORTS / "results" / "standard" / f"{record.name}.json", record)
    return {
        "name": name,
        "key": record.key,
        "source": drawn(sheet, shown),
        "alt": f"Test images, {shown} hidden, and completed by a model trained on {name}.",
        "caption": f"{STRATEGIES[name].summary} Seed {record.parameters['seed']}: {numbers}.",
    }


def drawn(sheet: Sheet, mask: str) -> str:
    """Originals, what a mask leaves of them, and the completed ones, as a data address."""
    truth = unit_range(sheet.originals[:SHOWN])
    seen = veil(truth, sheet.gone(mask)[:SHOWN])
    made = unit_range(sheet.completed[mask][:SHOWN])
    whole = mosaic(torch.cat([truth, seen, made]), SHOWN)
    return data_address(encoded(whole, "webp", quality=QUALITY), "webp")
