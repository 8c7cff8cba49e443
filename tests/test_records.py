import pandas as pd
import pytest

from lib import records, tables

METRICS = {"test": {"random@0.75/psnr_hidden": {"value": 12.5, "n": 10}, "random@0.75/psnr_visible": {"value": None, "n": 10}}}


def record(seed=0, value=12.5, **changes):
    metrics = {"test": METRICS["test"] | {"random@0.75/psnr_hidden": {"value": value, "n": 10}}}
    plain = {
        "key": records.key_of({"seed": seed}),
        "scale": "standard",
        "notebook": "03_vit_mae",
        "parameters": {
            "seed": seed, "image_size": 32, "patch_size": 4, "strategy": "random", "mask_ratio": 0.75,
            "options": {"loss_on": "hidden"}, "recipe": {"epochs": 3, "precision": "bf16"},
        },
        "components": {"training": 1},
        "data": {"name": "digits", "variant": "digits", "sha256": {}, "counts": {}, "classes": 10, "skipped": 0},
        "model": {"family": "mae", "label": "ViT-MAE", "parameters": 5, "flops": 7},
        "metrics": metrics,
        "history": [],
        "provenance": {"commit": None, "dirty": None, "versions": {}, "machine": {}, "seconds": {}, "started": "2026-01-01T00:00:00"},
    }  # fmt: skip
    return records.Record.model_validate(plain | changes)


def test_a_record_is_read_back_as_written(tmp_path):
    rows = pd.DataFrame({"image": [0, 1], "mse_hidden": [0.1, 0.2]})
    written = records.write(record(), rows, tmp_path)
    file = tmp_path / f"digits_mae_{record().key}.json"
    assert records.read(file) == written and written.model_copy(update={"sha256": None, "images_sha256": None}) == record()
    assert records.read_images(file, written)["mse_hidden"].tolist() == [0.1, 0.2]
    assert records.find(tmp_path, record().key) == file and records.find(tmp_path, "0" * 16) is None


@pytest.mark.parametrize("damage", ["truncated", "field", "type", "empty", "digit", "byte"])
def test_a_damaged_record_is_named(tmp_path, damage):
    file = tmp_path / f"{records.write(record(), pd.DataFrame(), tmp_path).name}.json"
    text = file.read_text()
    changed = {
        "truncated": text[:-20],
        "field": text.replace('"notebook"', '"notebok"'),
        "type": text.replace("12.5", '"high"'),
        "empty": "",
        "digit": text.replace("12.5", "12.4"),
        "byte": text.replace("ViT-MAE", "ViU-MAE"),
    }
    assert changed[damage] != text
    file.write_text(changed[damage])
    with pytest.raises(records.DamagedRecord, match=rf"(?s){file.name} (is not a valid record|does not match its own sha256).*delete it"):
        records.read(file)


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], None])
def test_damaged_per_image_errors_are_named(tmp_path, damage):
    written = records.write(record(), pd.DataFrame({"image": [0, 1], "mse_hidden": [0.1, 0.2]}), tmp_path)
    beside = tmp_path / f"{written.name}.parquet"
    beside.write_bytes(damage(beside.read_bytes())) if damage else beside.unlink()
    with pytest.raises(records.DamagedRecord, match=r"parquet is missing or damaged"):
        records.read_images(beside.with_suffix(".json"), written)


def test_a_half_written_record_is_never_found(tmp_path, monkeypatch):
    def dies(self, text):
        with self.open("w") as stream:
            stream.write(text[:40])
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_text", dies)
    with pytest.raises(OSError, match="disk full"):
        records.write(record(), pd.DataFrame(), tmp_path)
    assert records.find(tmp_path, record().key) is None and not list(tmp_path.iterdir())


def test_an_absent_measure_names_those_there_are():
    assert record().value("random@0.75/psnr_hidden") == 12.5
    with pytest.raises(KeyError, match="psnr_hidden"):
        record().value("psnr")


def test_published_rows_are_means_over_seeds_with_intervals():
    table = tables.published([record(0, 12.0), record(1, 13.0), record(2, 14.0)])
    assert len(table) == 1, "an undefined measure is not published"
    assert table.iloc[0][["mean", "seeds", "n"]].tolist() == [13.0, 3, 10]
    assert table.iloc[0]["half_width"] == pytest.approx(4.30265 / 3**0.5, abs=1e-3)


def test_the_tidy_table_has_a_row_per_measure():
    table = records.tidy([record()])
    assert len(table) == 2 and table["option.loss_on"].tolist() == ["hidden"] * 2 and table["seed"].tolist() == [0, 0]


def test_provenance_knows_this_checkout():
    head, dirty = records.commit()
    assert head is None or (len(head) == 40 and dirty in (True, False))
    assert set(records.versions()) == set(records.PACKAGES)


def test_a_seed_that_counts_twice_and_two_rows_of_one_name_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="measured twice"):
        tables.published([record(0, 12.0), record(0, 13.0)])
    other = record(0, 9.0).model_dump() | {"parameters": record(0).parameters | {"patch_size": 8}}
    table = tables.published([record(0, 12.0), records.Record.model_validate(other)])
    assert len(table) == 2, "another patch size is another row"
    monkeypatch.setattr(tables, "read_published", lambda scale: table)
    with pytest.raises(ValueError, match="same name"):
        tables.published_view({"random@0.75/psnr_hidden": "PSNR"})


def test_untrained_and_normalised_models_have_names_of_their_own():

    def trained(ratio: float, options: dict, epochs: int) -> dict:
        return {"strategy": "random", "mask_ratio": ratio, "options": options, "recipe": {"epochs": epochs}}

    names = {
        tables.trained_as("ViT-MAE", trained(ratio, {"loss_on": "hidden", "normalise_target": target}, epochs))
        for ratio in (0.0, 0.75)
        for target in (True, False)
        for epochs in (0, 5)
    }
    assert len(names) == 8 and tables.trained_as("PCA", trained(0.75, {}, 0)) == "PCA"
