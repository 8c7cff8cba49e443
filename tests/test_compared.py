"""The strategies side by side on the page."""

import base64
import io
import re

import numpy as np
from PIL import Image

from engine import compared
from engine.publish import current
from lib.evaluate import EVERY, own_mask
from lib.figures import VEIL
from lib.masking import STRATEGIES
from lib.run.sheets import COUNT


def test_each_strategy_is_shown_once_with_the_numbers_of_its_first_seed():
    swept = [record for record in current("standard") if compared.belongs(record)]
    shown = compared.compared()
    assert {tab["name"] for tab in shown} == {one.parameters["strategy"] for one in swept}
    assert len(shown) == len({tab["name"] for tab in shown}) >= 2
    for tab in shown:
        own = [one for one in swept if one.parameters["strategy"] == tab["name"]]
        first = min(own, key=lambda one: one.parameters["seed"])
        measured = first.metrics["test"]
        gaps = measured[f"{own_mask(tab['name'], 0.75, EVERY)}/psnr_hidden"].value
        assert f"its own gaps {gaps:.2f} dB" in tab["caption"]
        assert f"linear probe {measured['probe_accuracy'].value:.3f}" in tab["caption"]
        assert tab["caption"].startswith(STRATEGIES[tab["name"]].summary)


def test_the_best_probe_comes_first():
    probes = [
        float(re.search(r"linear probe ([\d.]+)\.", tab["caption"])[1])
        for tab in compared.compared()
    ]
    assert probes == sorted(probes, reverse=True)


def test_a_picture_has_three_rows_and_hides_three_quarters_in_the_second():
    (tab, *_) = [one for one in compared.compared() if one["name"] == "block"]
    head, data = tab["source"].split(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (64 * COUNT, 64 * 3)
        seen = np.asarray(picture.convert("RGB"))[64:128].reshape(-1, 3).astype(int)
    pale = (abs(seen - 255 * np.array(VEIL)) < 16).all(axis=1)
    assert 0.7 < pale.mean() < 0.8
