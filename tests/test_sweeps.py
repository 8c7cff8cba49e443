"""Sweeps: what is refused before anything runs, what is run, and what is run again."""

import json
import os
import shutil

import checkout
import pandas as pd
import pytest

from lib import stamps, sweep_tables, sweeps
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


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A checkout after its first sweep of four runs."""
    place = checkout.make(tmp_path_factory.mktemp("sweep"))
    checkout.write_tiny_notebook(place)
    return place, checkout.command(place, "-m", "lib.sweeps", "tiny")


def test_a_sweep_says_how_much_it_is_runs_it_and_makes_one_table(swept):
    place, done = swept
    assert (
        "4 runs of 01_vanilla_autoencoder (2 latent x 2 seeds), 0 done, 4 to do" in checkout.succeeded(place, done)
        and "about 0 minutes" in done.stdout
    )
    assert len(checkout.stamps(place)) == 4 and len(checkout.results(place)) == 5, "four autoencoders and the baseline they share"
    folder = place / "reports" / "sweeps" / "tiny"
    table = pd.read_parquet(folder / "table.parquet")
    assert table["key"].nunique() == 5 and set(table["seed"]) == {0, 1} and {"option.latent", "measure", "value"} <= set(table)
    assert len(pd.read_csv(folder / "table.csv")) == len(table)
    rows = sweep_tables.means(table[table["model"] == "autoencoder"], "random@0.75/psnr_hidden", ["option.latent"])
    assert rows["seeds"].tolist() == [2, 2] and rows["half_width"].gt(0).all()


def test_a_second_call_runs_nothing_and_prose_or_dates_make_nothing_stale(swept):
    place, _ = swept
    before = checkout.stamps(place)
    book = checkout.write_tiny_notebook(place, "remark = 'another sentence'")
    os.utime(book, (4e9, 4e9))  # a clock that jumps
    (place / "lib" / "progress.py").write_text((place / "lib" / "progress.py").read_text() + "\n# a refactoring\n")
    done = checkout.command(place, "-m", "lib.sweeps", "tiny")
    assert "4 done, 0 to do" in checkout.succeeded(place, done) and checkout.stamps(place) == before


def test_data_that_changed_under_a_finished_sweep_stops_it(swept):
    place, _ = swept
    before = checkout.stamps(place)
    reader = place / "lib" / "data" / "embedded.py"
    code = reader.read_text()
    reader.write_text(code.replace("sha256(source.images.tobytes() + ", "sha256(b'other bytes' + source.images.tobytes() + "))
    done = checkout.command(place, "-m", "lib.sweeps", "tiny")
    reader.write_text(code)
    assert done.returncode == 2 and "the data of 'digits' has changed since" in done.stderr and checkout.stamps(place) == before


def test_one_value_more_and_one_lost_record_run_only_their_cells(swept):
    place, _ = swept
    before, kept = checkout.stamps(place), checkout.results(place)
    lost = next(name for name in before.values())["records"]
    own = next(name for name in lost if "autoencoder" in name)
    (place / "reports" / "sweeps" / "tiny" / "results" / own).unlink()
    checkout.write_sweep(place, checkout.SWEEP | {"axes": {"latent": [2, 3, 4]}})
    done = checkout.command(place, "-m", "lib.sweeps", "tiny")
    said = checkout.succeeded(place, done)
    assert "6 runs" in said and "3 done, 3 to do" in said and f"{own.split('/')[1]} is gone" in said
    after = checkout.results(place)
    assert len(after) == 7 and kept.items() <= after.items(), "the record that was lost is made again with the same numbers"


def test_papermill_alone_makes_the_same_records(swept, tmp_path):
    place, _ = swept
    cell = next(iter(json.loads((place / "reports" / "sweeps" / "tiny" / "plan.json").read_text())["cells"].values()))
    shutil.copytree(place / "reports" / "sweeps" / "tiny" / "results", tmp_path / "results")
    words = [w for k, v in (cell["parameters"] | {"output": str(tmp_path / "alone")}).items() for w in ("-y", f"{k}: {json.dumps(v)}")]
    done = checkout.command(place, "-m", "papermill", "notebooks/01_vanilla_autoencoder.ipynb", str(tmp_path / "out.ipynb"), *words)
    checkout.succeeded(place, done)
    both = checkout.results(place)
    for file in (tmp_path / "alone" / "results" / "standard").glob("*.json"):
        record = json.loads(file.read_text())
        assert both[file.stem] == json.dumps({k: v for k, v in record.items() if k not in ("provenance", "sha256")}, sort_keys=True)
