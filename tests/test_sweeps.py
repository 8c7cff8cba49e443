"""Sweeps: what is refused before anything runs, what is run, and what is run again."""

import json
from dataclasses import replace

import checkout
import pandas as pd
import pytest

from lib import experiment, stamps, sweep_tables, sweeps
from lib.files import replace_file
from lib.masking import STRATEGIES

COMMITTED = sorted(file.stem for file in sweeps.SWEEPS.glob("*.yaml"))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of sweeps; call it with a sweep's changes to write and plan it."""
    monkeypatch.setattr(sweeps, "SWEEPS", tmp_path / "sweeps")
    (tmp_path / "sweeps").mkdir()

    def planned(**changes):
        checkout.write_sweep(tmp_path, checkout.SWEEP | changes)
        return sweeps.plan("tiny", sweeps.read("tiny"))

    return planned


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_sweeps_can_be_planned(name):
    sweep = sweeps.read(name)
    cells = sweeps.plan(name, sweep)
    assert len(cells) == len(sweeps.combinations(sweep)) == len({cell["key"] for cell in cells})


def test_the_example_is_three_by_three_by_two():
    assert len(sweeps.plan("masking", sweeps.read("masking"))) == 18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"latnt": [2]}}, "latnt: unknown parameter, did you mean latent"),
        ({"axes": {"latent": [2, "many"]}}, "latent = 'many'"),
        ({"axes": {"latent": [2, -1]}}, "latent = -1"),
        ({"parameters": {"dataset": "digitz"}}, "unknown data set 'digitz'"),
        ({"parameters": {"latent": 3}}, "'latent' is an axis and a fixed parameter"),
        ({"axes": {"seed": [1]}}, "seeds have their own entry"),
        ({"axes": {"latent": []}}, "no value"),
        ({"axes": {"latent": [2, 2]}}, "the same run as"),
        ({"parameters": {"_=print('INJECTED')#": 1}}, r"_=print\('INJECTED'\)#: unknown parameter"),
        ({"axes": {"_x": [1]}}, "_x: unknown parameter"),
        ({"parameters": {"device": "cuda:99", "precision": "auto"}}, "'cuda:99' is not available here"),
        ({"notebook": "05_none"}, "no notebook '05_none'"),
        ({"sead": 1}, "sead: Extra inputs"),
        ({"threads": "two"}, "threads: Input should be a valid integer"),
        ({"minutes": 0}, "minutes: Input should be greater than 0"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(own, changes, message):
    with pytest.raises(sweeps.SweepError, match=message):
        own(**changes)


def test_every_wrong_cell_is_named_at_once(own):
    with pytest.raises(sweeps.SweepError) as error:
        own(axes={"latent": [0, 2, -1]})
    assert str(error.value).count("latent=") == 4 and "latent=2" not in str(error.value)


def test_a_sweep_that_is_not_yaml_or_builds_objects_is_refused(own):
    own()
    for text in ("a: [", "notebook: !!python/object/apply:os.system ['touch MARK']", "- 1"):
        (sweeps.SWEEPS / "tiny.yaml").write_text(text)
        with pytest.raises(sweeps.SweepError, match=r"tiny\.yaml"):
            sweeps.read("tiny")
    with pytest.raises(sweeps.SweepError, match="choose one of tiny"):
        sweeps.read("missing")


def test_keys_follow_what_decides_the_numbers(own, monkeypatch):
    first = {cell["label"]: cell["key"] for cell in own()}
    more = {cell["label"]: cell["key"] for cell in own(axes={"latent": [2, 3, 4]})}
    assert len(more) == 6 and first.items() <= more.items(), "a value more leaves the cells that there were"
    assert {cell["key"] for cell in own(parameters=checkout.TINY | {"threads": 2, "data_root": "elsewhere"})} == set(first.values())
    assert {cell["key"] for cell in own(parameters=checkout.TINY | {"epochs": 4})}.isdisjoint(first.values())
    quick = {cell["key"] for cell in own(parameters=checkout.TINY | {"scale": "quick"})}
    monkeypatch.setitem(STRATEGIES, "block", STRATEGIES["block"].__class__(**vars(STRATEGIES["block"]) | {"version": 9}))
    assert {cell["label"]: cell["key"] for cell in own()}.items().isdisjoint(first.items()), "judged on block masks at this scale"
    assert {cell["key"] for cell in own(parameters=checkout.TINY | {"scale": "quick"})} == quick, "and not at the quick one"


def test_awkward_values_are_written_as_data_in_a_file(own, tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "FOLDER", tmp_path / "made")
    monkeypatch.setattr(sweeps, "ROOT", tmp_path)
    nasty = 'folder:a b\'; $(touch MARK)\n"{params}"'
    cells = own(parameters=checkout.TINY | {"dataset": nasty}, axes={"latent": [2]}, seeds=[0])
    sweeps.write_plan("tiny", sweeps.read("tiny"), cells)
    import yaml

    assert yaml.safe_load((tmp_path / "made" / "tiny" / "cells" / f"{cells[0]['key']}.yaml").read_text())["dataset"] == nasty
    assert "/" not in cells[0]["name"] and " " not in cells[0]["name"]


@pytest.fixture
def swept(own, tmp_path, monkeypatch):
    """A sweep of four cells that are done, as the engine leaves it, and the command: its exit status, or "engine" where that takes over."""
    monkeypatch.setattr(stamps, "FOLDER", tmp_path / "made")
    for module in (stamps, sweeps):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    parameters = checkout.TINY | {"output": str(tmp_path / "made" / "tiny"), "threads": 1}
    for cell in own(parameters=parameters):
        stamp = {"label": cell["label"], "seconds": 6.0, "records": checkout.run_cell(cell["parameters"])}
        replace_file(stamps.stamp_of("tiny", cell["key"]), lambda aside, stamp=stamp: aside.write_text(json.dumps(stamp)))

    class Started(Exception):
        pass

    def start(*arguments):
        raise Started

    monkeypatch.setattr(sweeps.engine, "start", start)

    def command(**changes):
        checkout.write_sweep(tmp_path, checkout.SWEEP | {"parameters": parameters} | changes)
        try:
            return sweeps.main(["tiny"])
        except Started:
            return "engine"

    return command


def done() -> set[str]:
    return {file.name for file in (stamps.folder_of("tiny") / "done").iterdir()}


def test_a_finished_sweep_is_not_started_again_and_makes_one_table(swept, capsys):
    before = done()
    assert swept() == 0 and done() == before and len(before) == 4
    said = capsys.readouterr().out
    assert "4 runs of 01_vanilla_autoencoder (2 latent x 2 seeds), 4 done, 0 to do" in said and "5 records in" in said
    table = sweep_tables.load("tiny")
    assert table["key"].nunique() == 5 and set(table["seed"]) == {0, 1}, "four autoencoders and the baseline they share"
    assert {"option.latent", "measure", "value"} <= set(table)
    assert len(pd.read_csv(stamps.folder_of("tiny") / "table.csv")) == len(table)
    rows = sweep_tables.means(table[table["model"] == "autoencoder"], "random@0.75/psnr_hidden", ["option.latent"])
    assert rows["seeds"].tolist() == [2, 2] and rows["half_width"].gt(0).all()


def test_data_that_changed_under_a_finished_sweep_stops_it(swept, capsys, monkeypatch):
    before, load = done(), experiment.load_splits

    def changed(*arguments):
        return {split: replace(images, sha256="other bytes") for split, images in load(*arguments).items()}

    monkeypatch.setattr(experiment, "load_splits", changed)
    assert swept() == 2 and done() == before
    assert "the data of 'digits' has changed since" in capsys.readouterr().err


def test_one_value_more_and_one_lost_record_leave_only_their_cells_to_do(swept, capsys):
    before = done()
    lost = sorted(stamps.folder_of("tiny").glob("results/standard/*_autoencoder_*.json"))[0]
    lost.unlink()
    assert swept(axes={"latent": [2, 3, 4]}) == "engine"
    said = capsys.readouterr().out
    assert "6 runs" in said and "3 done, 3 to do" in said and f"{lost.name} is gone" in said
    assert "about 0 minutes: 0.1 a run (measured)" in said
    assert len(done()) == 3 and done() < before, "a cell without a stamp is what the engine runs"


def test_a_damaged_record_or_stamp_is_done_again(swept, capsys):
    first, second = sorted((stamps.folder_of("tiny") / "done").iterdir())[:2]
    first.write_text("{")
    record = (
        stamps.folder_of("tiny") / "results" / next(name for name in json.loads(second.read_text())["records"] if "_autoencoder_" in name)
    )
    record.write_text(record.read_text().replace("0.", "1.", 1))
    assert swept() == "engine" and len(done()) == 2
    said = capsys.readouterr().out
    assert "its stamp is damaged" in said and f"{record.name} is damaged" in said


def test_reports_that_cannot_be_written_are_refused_before_anything_runs(swept, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(stamps, "FOLDER", tmp_path / "file")
    assert swept() == 2 and "cannot be written" in capsys.readouterr().err
