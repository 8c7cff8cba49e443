"""What a notebook shows of its runs: completed images, and of how many."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_records import record

from lib.run import tables
from lib.run.experiment import Run


def run_of(value: float, epochs: int = 3, **measures):
    """What stands for a run: its record and its values."""
    found = {"random@0.75/psnr_hidden": {"value": value, "n": 10}} | measures
    given = record().parameters | {"recipe": {"epochs": epochs}}
    made = record(metrics={"test": found}, parameters=given)
    return SimpleNamespace(record=made, value=made.value)


def replaceable(run):
    """The same as a true run."""
    return Run(run.record, None, pd.DataFrame(), None)


def test_a_row_says_its_epochs_and_of_how_many_images_it_is():
    probe = {"value": 0.5, "n": 300}
    row = tables.row(run_of(12.5, probe_accuracy=probe).record, "random@0.75")
    assert row == {"epochs": 3, "n": 10, "PSNR hidden [dB]": 12.5, "linear probe": 0.5}


def test_a_comparison_names_data_and_mask_and_leaves_out_what_nobody_has():
    table = tables.comparison({"a": run_of(12.5), "b": run_of(13.0, epochs=0)}, "random@0.75")
    assert table.index.name == "digits, random@0.75"
    assert table["epochs"].tolist() == [3, 0] and table["n"].tolist() == [10, 10]
    assert table["PSNR hidden [dB]"].tolist() == [12.5, 13.0]
    assert set(table) == {"epochs", "n", "PSNR hidden [dB]"}


def test_what_is_defined_for_no_run_is_no_column():
    """As the PSNR of visible pixels that are copied exactly."""
    exact = {"random@0.75/psnr_visible": {"value": None, "n": 10}}
    runs = {"a": run_of(12.5, **exact), "b": run_of(13.0, **exact)}
    assert "PSNR visible, raw [dB]" not in tables.comparison(runs, "random@0.75")
    runs["c"] = run_of(14.0, **{"random@0.75/psnr_visible": {"value": 30.0, "n": 10}})
    table = tables.comparison(runs, "random@0.75")
    assert table["PSNR visible, raw [dB]"].isna().tolist() == [True, True, False]


def test_another_mask_is_another_table():
    assert tables.row(run_of(12.5).record, "block@0.75") == {"epochs": 3, "n": 0}


def test_over_seeds_gives_an_interval_from_three_runs_on():
    name = "random@0.75/psnr_hidden"
    mean, half = tables.over_seeds([run_of(value) for value in (12.0, 13.0, 14.0)], name)
    assert mean == 13.0 and half == pytest.approx(4.30265 / 3**0.5, abs=1e-3)
    mean, half = tables.over_seeds([run_of(12.0), run_of(13.0)], name)
    assert mean == 12.5 and pd.isna(half)


def test_shares_have_an_interval_over_images_and_only_runs_that_have_them():
    found = {"a": {"value": 0.5, "n": 400}, "without labels": {"value": None, "n": 0}}
    runs = {name: run_of(12.5, probe_accuracy=one) for name, one in found.items()}
    shares = tables.shares(runs | {"b": run_of(13.0)}, "probe_accuracy")
    assert shares.pop("a") == (0.5, pytest.approx(1.96 * 0.5 / 20, abs=1e-3))
    assert shares == {"without labels": (None, pytest.approx(np.nan, nan_ok=True))}


def test_means_over_seeds_stand_where_the_measures_of_one_run_stood():
    """Of what all runs have; of an exact copy no PSNR is defined."""
    exact = {"random@0.75/psnr_visible": {"value": None, "n": 10}}
    first = replaceable(run_of(12.0, probe_accuracy={"value": 0.5, "n": 400}, **exact))
    second = replaceable(run_of(13.0, **exact))
    mean = tables.averaged([first, second])
    found = {name: one.value for name, one in mean.record.metrics["test"].items()}
    assert found == {"random@0.75/psnr_hidden": 12.5, "random@0.75/psnr_visible": None}
    assert mean.record.metrics["test"]["random@0.75/psnr_hidden"].n == 10
    assert mean.splits == first.splits and tables.averaged([first]).record == first.record
