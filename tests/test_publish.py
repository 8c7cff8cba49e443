"""What is published is what the committed records say."""

import pytest

from lib import publish, records
from lib.paths import REPORTS, ROOT


@pytest.mark.parametrize("scale", publish.SCALES)
def test_published_tables_are_those_of_the_committed_records(scale):
    file = REPORTS / "tables" / f"{scale}.csv"
    assert (file.read_text() if file.exists() else "") == publish.table(scale)


def test_the_readme_shows_the_published_tables():
    text = (ROOT / "README.md").read_text()
    assert publish.START in text and publish.END in text
    assert text == publish.readme(text)


def test_the_page_on_speed_shows_the_committed_benchmarks():
    text = publish.SPEED.read_text()
    assert publish.START in text and publish.END in text and text == publish.speed(text)


def test_committed_records_are_whole_and_hold_no_path():
    for scale in publish.SCALES:
        for file in sorted((REPORTS / "results" / scale).glob("*.json")):
            record = records.read(file)
            assert record.scale == scale and file.stem == record.name
            assert '"/' not in record.model_dump_json(), "no value is an absolute path"
            if any("/" in name for name in record.metrics["test"]):
                rows = records.read_images(file, record)
                name = next(name for name in record.metrics["test"] if name.endswith("psnr_hidden"))
                chosen = rows[(rows["split"] == "test") & (rows["mask"] == name.split("/")[0])]
                assert len(chosen) == record.metrics["test"][name].n


def published(measure):
    from lib import tables

    table = tables.read_published()
    table = table[(table["split"] == "test") & (table["measure"] == measure) & (table["data"] == publish.MAIN["data"])]
    table = table[table["epochs"].isin(publish.MAIN["epochs"])]
    return table.set_index("training")["mean"]


def test_the_sentences_of_the_readme_hold_in_the_published_table():
    probe, psnr, ssim = (published(name) for name in ("probe_accuracy", "random@0.75/psnr_hidden", "random@0.75/ssim_hidden"))
    masked, plain, raw = "ViT-MAE, random 75%", "ViT-MAE, not masked", "Raw pixels"
    assert probe[plain] <= probe["ViT-MAE, random 75%, untrained"] + 0.01 and probe[masked] > probe[plain] + 0.05
    assert psnr[masked] - psnr["Autoencoder (MLP), random 75%"] < 0.6 and probe["Autoencoder (MLP), random 75%"] - probe[raw] < 0.05
    assert psnr[masked] > psnr["Biharmonic inpainting"] and ssim.idxmax() == "Biharmonic inpainting"
    strategies = {name: f"ViT-MAE, {name} 75%" for name in ("random", "block", "grid")}
    for name, row in strategies.items():
        gaps = published(f"{name}@0.75/psnr_hidden")
        assert max(strategies.values(), key=lambda other: gaps[other]) == row
    worth = [probe[row] for row in strategies.values()]
    assert max(worth) - min(worth) < 0.02
