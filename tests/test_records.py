import io

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from lib.run import provenance, records
from lib.run.settings import Experiment
from lib.training import Recipe

METRICS = {
    "test": {
        "random@0.75/psnr_hidden": {"value": 12.5, "n": 10},
        "random@0.75/psnr_visible": {"value": None, "n": 10},
    }
}


def record(seed=0, value=12.5, **changes):
    metrics = {"test": METRICS["test"] | {"random@0.75/psnr_hidden": {"value": value, "n": 10}}}
    recipe = Recipe(epochs=3, precision="bf16")
    asked = Experiment(dataset="digits", image_size=32, model="mae", recipe=recipe, seed=seed)
    plain = {
        "key": records.key_of({"seed": seed}),
        "scale": "standard",
        "notebook": "03_vit_mae",
        "parameters": asked.parameters(),
        "components": {"training": 1},
        "data": {
            "name": "digits",
            "variant": "digits",
            "sha256": {},
            "counts": {},
            "classes": 10,
            "skipped": 0,
        },
        "model": {"family": "mae", "label": "ViT-MAE", "parameters": 5, "flops": 7},
        "metrics": metrics,
        "history": [],
        "provenance": {
            "commit": None,
            "dirty": None,
            "versions": {},
            "machine": {},
            "seconds": {},
            "started": "2026-01-01T00:00:00",
        },
    }
    return records.Record.model_validate(plain | changes)


def test_a_record_is_read_back_as_written(tmp_path):
    rows = pd.DataFrame({"image": [0, 1], "mse_hidden": [0.1, 0.2]})
    written = records.write(record(), rows, tmp_path)
    file = tmp_path / f"digits_mae_{record().key}.json"
    assert (
        records.read(file) == written
        and written.model_copy(update={"sha256": None, "images_sha256": None}) == record()
    )
    assert records.read_images(file, written)["mse_hidden"].tolist() == [0.1, 0.2]
    assert records.find(tmp_path, record().key) == file and records.find(tmp_path, "0" * 16) is None


def test_measures_of_images_are_rounded_a_little_and_take_half_of_the_bytes():
    values = np.random.default_rng(0).lognormal(size=(3000, 4)).astype(np.float32)
    rows = pd.DataFrame(values, columns=list("abcd")).assign(split="test", image=range(3000))
    rows.iloc[5, 0], rows.iloc[6, 0] = np.nan, 0.0
    kept = records.rounded(rows)
    assert list(kept.columns) == list(rows.columns) and (kept.dtypes == rows.dtypes).all()
    numbers, exact = kept[list("abcd")].to_numpy(), rows[list("abcd")].to_numpy()
    np.testing.assert_allclose(numbers, exact, rtol=2**-12)
    assert (numbers != exact).mean() > 0.9 and numbers[6, 0] == 0
    pd.testing.assert_frame_equal(records.rounded(kept), kept)
    small, plain = records.packed_images(kept), rows.to_parquet(None, compression="zstd")
    assert len(small) < 0.6 * len(plain)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(small)), kept)


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
    with pytest.raises(
        records.DamagedRecord,
        match=rf"(?s){file.name} (is not a valid record|does not match its own sha256).*delete it",
    ):
        records.read(file)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-5], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], None]
)
def test_damaged_per_image_errors_are_named(tmp_path, damage):
    written = records.write(
        record(), pd.DataFrame({"image": [0, 1], "mse_hidden": [0.1, 0.2]}), tmp_path
    )
    beside = tmp_path / f"{written.name}.parquet"
    beside.write_bytes(damage(beside.read_bytes())) if damage else beside.unlink()
    with pytest.raises(records.DamagedRecord, match=r"parquet is missing or damaged"):
        records.read_images(beside.with_suffix(".json"), written)


def test_rows_of_images_are_numbered_anew(tmp_path):
    """Whatever number they had in the table that they were cut from."""
    rows = pd.DataFrame({"image": [0, 1], "mse_hidden": [0.1, 0.2]}, index=[7, 3])
    written = records.write(record(), rows, tmp_path)
    again = records.read_images(tmp_path / f"{written.name}.json", written)
    assert again.index.tolist() == [0, 1] and list(again) == list(rows)


@pytest.mark.parametrize("field", ["parameters", "flops"])
def test_a_model_has_no_negative_size(field):
    model = {"family": "mae", "label": "ViT-MAE", "parameters": 5, "flops": 7}
    with pytest.raises(ValidationError, match=rf"model\.{field}\n.*greater than or equal to 0"):
        record(model=model | {field: -1})


def test_a_measure_is_of_no_negative_number_of_images():
    with pytest.raises(ValidationError, match=r"\.n\n.*greater than or equal to 0"):
        record(metrics={"test": {"probe_accuracy": {"value": 0.5, "n": -1}}})


def test_a_key_knows_what_was_asked_and_not_in_which_order():
    assert records.key_of({"a": 1, "b": 2}) == records.key_of({"b": 2, "a": 1})
    assert records.key_of({"a": 1, "b": 2}) != records.key_of({"a": 2, "b": 1})


def test_a_half_written_record_is_never_found(tmp_path, monkeypatch):
    def dies(self, text, **how):
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


def test_the_tidy_table_has_a_row_per_measure():
    table = records.tidy([record()])
    assert len(table) == 2
    assert table["option.loss_on"].tolist() == ["hidden"] * 2
    assert table["seed"].tolist() == [0, 0]
    assert table["value"].isna().tolist() == [False, True], "what is not defined is there, empty"


@pytest.mark.parametrize("other", ["another_name", "digits_mae_0123456789abcdef"])
def test_a_record_under_another_name_is_refused(tmp_path, other):
    written = records.write(record(), pd.DataFrame(), tmp_path)
    file = tmp_path / f"{written.name}.json"
    copy = file.rename(tmp_path / f"{other}.json")
    with pytest.raises(records.DamagedRecord, match=f"is the record of {written.name}"):
        records.read(copy)


def test_provenance_knows_this_checkout():
    head, dirty = provenance.commit()
    assert head is None or (len(head) == 40 and dirty in (True, False))
    assert set(provenance.versions()) == set(provenance.PACKAGES)
