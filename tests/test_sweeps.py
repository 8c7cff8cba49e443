"""Sweeps: what is refused before anything runs, what is run, and what is run again."""

import json
import shutil
from dataclasses import replace

import checkout
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from engine import cells, sweep
from lib.data import registry
from lib.evaluate import EVERY
from lib.files import replace_file
from lib.masking import STRATEGIES
from lib.run import arms, experiment, parameters
from lib.statistics import means

COMMITTED = sorted(file.stem for file in sweep.SWEEPS.glob("*.yaml"))
HIDDEN = "random@0.75/psnr_hidden"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of sweeps and notebooks; call it with a sweep's changes to write and plan it."""
    return planner(tmp_path, monkeypatch)


def planner(place, patch):
    patch.setattr(sweep, "SWEEPS", place / "sweeps")
    patch.setattr(parameters, "NOTEBOOKS", place / "notebooks")
    patch.setattr(cells, "FOLDER", place / "made")
    for module in (cells, sweep):
        patch.setattr(module, "ROOT", place)
    checkout.write_tiny_notebook(place)

    def planned(**changes):
        given = {"execution": {"output": str(place / "made" / "tiny"), "threads": 1}}
        asked = {"parameters": checkout.TINY} | changes
        asked["parameters"] = given | asked["parameters"]
        checkout.write_sweep(place, checkout.SWEEP | asked)
        return sweep.plan("tiny", sweep.read("tiny"))

    return planned


def keys(planned) -> set[str]:
    return {cell.key for cell in planned}


def test_all_of_one_seed_come_first_in_the_order_of_the_file(own):
    planned = own(axes={"latent": [3, 2]}, seeds=[5, 1])
    assert [cell.label for cell in planned] == [
        f"latent={latent} seed={seed}" for seed in (5, 1) for latent in (3, 2)
    ]


# --- what is refused


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_sweeps_can_be_planned(name):
    asked = sweep.read(name)
    planned = sweep.plan(name, asked)
    assert len(planned) == len(sweep.combinations(asked)) == len(keys(planned))


def test_the_sweeps_of_masks_differ_in_what_is_hidden_alone():
    """So that their rows belong in one table."""
    arms = ("mask_ratio", "mask_ratios")
    asked = {name: sweep.read(name) for name in ("masks", "masks-half", "masks-control")}
    same = [
        {name: value for name, value in one.parameters.items() if name not in arms}
        for one in asked.values()
    ]
    assert all(one == same[0] for one in same) and len({str(a.seeds) for a in asked.values()}) == 1
    assert same[0]["experiment"]["test_masks"] == "every"
    assert same[0]["epochs"] == 30
    trained = {name for one in asked.values() for (name,) in one.axes.get("strategies", [])}
    strangers = trained - {mask.split("@")[0] for mask in EVERY}
    assert strangers == {"growing", "adversarial"}, "whose test masks are random, and hardest"


def test_the_other_families_are_trained_for_as_long_and_judged_alike():
    transformers, others = (sweep.read(name) for name in ("masks", "masks-families"))
    for name in ("dataset", "image_size", "patch_size", "experiment", "recipe"):
        assert others.parameters[name] == transformers.parameters[name]
    epochs = {others.parameters[f"{family}_epochs"] for family in ("autoencoder", "adversarial")}
    assert epochs == {transformers.parameters["epochs"]} and others.seeds == transformers.seeds
    assert all(kind in transformers.axes["strategies"] for kind in others.axes["strategies"])


def test_notebook_07_compares_the_runs_that_the_sweep_of_masks_makes():
    """It has the budget in its own parameters, where a reader finds it."""
    compared = parameters.check("07_masks_compared", {})
    asked = sweep.read("masks")
    assert set(compared.strategies) <= {name for (name,) in asked.axes["strategies"]}
    assert set(compared.seeds) <= set(asked.seeds)
    given = asked.parameters | {"dataset": "imagenette-128", "strategies": ["block"]}
    swept = parameters.check(asked.notebook, given)
    (made,) = arms.families(swept, 1).values()
    assert compared.experiment(compared.model, strategy="block", seed=1).key == made.key
    few = [arms.few_labels(p, "mae", 1, 0, "block", ["masked"]) for p in (swept, compared)]
    assert few[0]["masked"].key == few[1]["masked"].key
    both = zip(arms.baselines(swept).values(), arms.baselines(compared).values(), strict=True)
    assert all(one.key == other.key for one, other in both)


def test_notebook_06_compares_the_runs_of_three_sweeps():
    """The transformer under random masks, its control, and the other families, with few labels."""
    read = parameters.check("06_larger_data", {})
    compared = {one.key for seed in read.seeds for one in arms.families(read, seed).values()}
    use = {seed: arms.few_labels(read, "mae", seed, steps=7) for seed in read.seeds}
    swept = set()
    for name in ("masks", "masks-control", "masks-families"):
        asked = sweep.read(name)
        assert set(read.seeds) <= set(asked.seeds)
        given = asked.parameters | {"dataset": "imagenette-128", "strategies": ["random"]}
        p = parameters.check(asked.notebook, given)
        for seed in read.seeds:
            swept |= {one.key for one in arms.families(p, seed).values()}
            again = arms.few_labels(p, "mae", seed, steps=7) if p.fine_tune else {}
            assert all(one.key == use[seed][way].key for way, one in again.items())
        both = zip(arms.baselines(p).values(), arms.baselines(read).values(), strict=True)
        assert all(one.key == other.key for one, other in both)
    assert swept == compared


def test_the_example_is_three_by_three_by_two():
    assert len(sweep.plan("masking", sweep.read("masking"))) == 18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"latnt": [2]}}, "unknown parameter 'latnt', did you mean latent"),
        ({"axes": {"latent": [2, "many"]}}, "latent = 'many'"),
        ({"axes": {"latent": [2, -1]}}, "latent = -1"),
        ({"parameters": {"dataset": "digitz"}}, "unknown data set 'digitz'"),
        ({"parameters": {"latent": 3}}, "'latent' is an axis and a fixed parameter"),
        ({"parameters": {"execution": 3}}, "execution = 3: a dictionary is needed"),
        ({"parameters": {"execution": {"devise": "cpu"}}}, "devise"),
        ({"axes": {"epochs.x": [3]}}, "epochs.x: a dot leads into a dictionary"),
        (
            {"axes": {"opsions.autoencoder.latent": [3]}},
            "unknown parameter 'opsions', did you mean",
        ),
        ({"axes": {"options.autoencoder.latnt": [3]}}, "latnt"),
        ({"axes": {"seed": [1]}}, "seeds have their own entry"),
        ({"axes": {"latent": []}}, "no value"),
        ({"axes": {"latent": [2, 2]}}, "the same run as"),
        ({"parameters": {"_=print('INJECTED')#": 1}}, r"unknown parameter .*INJECTED"),
        ({"axes": {"_x": [1]}}, "unknown parameter '_x'"),
        ({"parameters": {"execution": {"device": "cuda:99"}}}, "'cuda:99' is not available here"),
        ({"parameters": {"execution": {"published": True}}}, "execution.published: a sweep makes"),
        ({"notebook": "05_none"}, "unknown notebook '05_none'"),
        ({"sead": 1}, "sead: Extra inputs"),
        ({"threads": "two"}, "threads: Input should be a valid integer"),
        ({"minutes": 0}, "minutes: Input should be greater than 0"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(own, changes, message):
    with pytest.raises(sweep.SweepError, match=message):
        own(**changes)


def test_every_wrong_cell_is_named_at_once(own):
    with pytest.raises(sweep.SweepError) as error:
        own(axes={"latent": [0, 2, -1]})
    named = [line.split(" ")[0] for line in str(error.value).replace("  ", "").splitlines()]
    assert [name for name in named if "=" in name] == ["latent=0", "latent=-1"] * 2


def test_a_sweep_that_is_not_yaml_or_builds_objects_is_refused(own):
    own()
    for text in ("a: [", "notebook: !!python/object/apply:os.system ['touch MARK']", "- 1"):
        (sweep.SWEEPS / "tiny.yaml").write_text(text)
        with pytest.raises(sweep.SweepError, match=r"tiny\.yaml"):
            sweep.read("tiny")
    with pytest.raises(sweep.SweepError, match="choose one of tiny"):
        sweep.read("missing")
    with pytest.raises(sweep.SweepError, match="unknown sweep"):
        sweep.read("../sweeps/tiny")


# --- what is planned


def test_keys_follow_what_decides_the_numbers(own):
    first = {cell.label: cell.key for cell in own()}
    more = {cell.label: cell.key for cell in own(axes={"latent": [2, 3, 4]})}
    assert len(more) == 6
    assert first.items() <= more.items(), "a value more leaves the cells that there were"
    elsewhere = {"execution": {"threads": 2, "data_root": "elsewhere"}}
    assert keys(own(parameters=checkout.TINY | elsewhere)) == set(first.values())
    for change in ({"epochs": 4}, {"scale": "quick"}, {"recipe": {"weight_decay": 0.1}}):
        assert keys(own(parameters=checkout.TINY | change)).isdisjoint(first.values())


def test_a_dotted_name_changes_one_entry_of_a_dictionary(own, tmp_path):
    cell = checkout.PARAMETERS.replace('{"autoencoder": {}}', '{"autoencoder": {"latent": 7}}')
    checkout.write_notebook(tmp_path, checkout.NOTEBOOK, cell)
    axes = {"options.autoencoder.loss_on": ["all", "hidden"], "options.mae.depth": [1]}
    one, other = own(axes=axes, seeds=[0])
    assert one.key != other.key
    options = {"autoencoder": {"latent": 7, "loss_on": "all"}, "mae": {"depth": 1}}
    assert one.parameters["options"] == options, "and the rest is as the notebook declares it"
    given = {"options": {"autoencoder": {"latent": 5}}}
    (one, _) = own(axes=axes, seeds=[0], parameters=checkout.TINY | given)
    assert one.parameters["options"]["autoencoder"] == {"latent": 5, "loss_on": "all"}


def test_records_are_kept_in_the_sweeps_own_folder_unless_it_says_where(own):
    own()
    asked = sweep.Sweep(**checkout.SWEEP)
    (first, *_) = sweep.plan("tiny", asked, data_root="images")
    assert first.output == "made/tiny"
    assert first.parameters["execution"] == {"output": "made/tiny", "data_root": "images"}
    assert first.parameters["scale"] == "standard"
    elsewhere = checkout.TINY | {"execution": {"output": "reports"}}
    asked = sweep.Sweep(**checkout.SWEEP | {"parameters": elsewhere})
    assert sweep.plan("tiny", asked)[0].output == "reports"


def test_awkward_values_are_written_as_data_in_a_file(own, tmp_path):
    nasty = 'folder:a b\'; $(touch MARK)\n"{params}"'
    planned = own(parameters=checkout.TINY | {"dataset": nasty}, axes={"latent": [2]}, seeds=[0])
    sweep.write_plan("tiny", sweep.read("tiny"), planned)
    written = tmp_path / "made" / "tiny" / "cells" / f"{planned[0].key}.yaml"
    assert yaml.safe_load(written.read_text())["dataset"] == nasty
    awkward = sweep.slug(f'strategies=["{nasty}"]')
    assert not {"/", " ", "'", '"', "$", "\n"} & set(awkward)


# --- what is run, and run again


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What the engine leaves of a sweep whose cells are done, for others to copy."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        finish(planner(place, patch), place)
    return place / "made"


@pytest.fixture
def swept(own, finished, monkeypatch, tmp_path):
    """A sweep whose cells are done, and its command.

    The command gives its exit status, or "engine" where that takes over.
    """
    shutil.copytree(finished, tmp_path / "made")
    return command_of(own, monkeypatch)


def finish(own, place, **changes):
    for cell in own(**changes):
        made = checkout.run_cell(cell.parameters, place)
        stamp = json.dumps({"label": cell.label, "seconds": 6.0, "records": made})
        replace_file(
            cells.stamp_of("tiny", cell.key), lambda aside, stamp=stamp: aside.write_text(stamp)
        )


def command_of(own, monkeypatch, **changes):
    class Started(Exception):
        pass

    def start(*arguments):
        raise Started

    monkeypatch.setattr(sweep.snakemake, "start", start)

    def command(*more, **others):
        own(**changes | others)
        try:
            return sweep.main(["tiny", *more])
        except Started:
            return "engine"

    return command


def swept_over(own, monkeypatch, tmp_path, **changes):
    """The same of another sweep."""
    finish(own, tmp_path, **changes)
    return command_of(own, monkeypatch, **changes)


def done() -> set[str]:
    return {file.name for file in (cells.folder_of("tiny") / "done").iterdir()}


def test_a_finished_sweep_is_not_started_again_and_makes_one_table(swept, capsys):
    before = done()
    assert swept() == 0
    assert done() == before
    assert len(before) == 4
    said = capsys.readouterr().out
    assert f"4 runs of {checkout.NOTEBOOK} (2 latent x 2 seeds), 4 done, 0 to do" in said
    assert "5 records in" in said, "four autoencoders and the baseline they share"
    table = pd.read_parquet(cells.folder_of("tiny") / "table.parquet")
    assert table["key"].nunique() == 5
    assert {"option.latent", "measure", "value", "n"} <= set(table)
    assert len(pd.read_csv(cells.folder_of("tiny") / "table.csv")) == len(table)


def test_means_of_a_sweep_are_over_seeds_and_never_over_configurations(swept):
    assert swept() == 0
    table = pd.read_parquet(cells.folder_of("tiny") / "table.parquet")
    trained = table[table["model"] == "autoencoder"]
    rows = means(trained, HIDDEN, ["option.latent"])
    assert rows["seeds"].tolist() == [2, 2]
    of_two = trained[(trained["measure"] == HIDDEN) & (trained["split"] == "test")]
    expected = of_two.groupby("option.latent")["value"].mean()
    assert rows["mean"].tolist() == pytest.approx(expected.tolist())
    with pytest.raises(ValueError, match="one seed stands twice"):
        means(trained, HIDDEN, ["model"])


def test_a_sweep_of_which_nothing_is_done_has_no_table(swept, capsys):
    assert swept() == 0
    for stamp in (cells.folder_of("tiny") / "done").iterdir():
        stamp.unlink()
    assert sweep.main(["tiny", "--table"]) == 0
    assert "no run of tiny is done" in capsys.readouterr().out
    assert not list(cells.folder_of("tiny").glob("table.*")), "an old one would be taken for new"


@pytest.mark.parametrize("split", registry.SPLITS)
def test_any_split_that_changed_under_a_finished_sweep_stops_it(swept, capsys, monkeypatch, split):
    before = done()
    load = experiment.load_splits

    def changed(*arguments):
        splits = load(*arguments)
        return splits | {split: replace(splits[split], sha256="other bytes")}

    monkeypatch.setattr(cells, "load_splits", changed)
    assert swept() == 2
    assert done() == before
    assert "the data of 'digits' has changed since" in capsys.readouterr().err


def test_data_that_is_not_at_hand_leaves_what_is_done_readable(swept, monkeypatch):
    def absent(*arguments):
        raise registry.DataError("it is elsewhere")

    monkeypatch.setattr(cells, "load_splits", absent)
    assert swept() == 0


def pictures(place):
    """Twenty pictures in two classes."""
    chance = np.random.default_rng(0)
    for number in range(20):
        file = place / ("dogs" if number % 2 else "cats") / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)


def test_pictures_moved_between_classes_stop_a_finished_sweep(own, tmp_path, monkeypatch, capsys):
    """The last cat becomes the first dog: the same bytes in the same order, under another label."""
    place = tmp_path / "pictures"
    pictures(place)
    given = {"dataset": f"folder:{place}", "subset": None}
    changes = {"parameters": checkout.TINY | given, "axes": {"latent": [2]}, "seeds": [0]}
    command = swept_over(own, monkeypatch, tmp_path, **changes)
    registry.read_once.cache_clear()  # as in another process
    assert command() == 0
    (place / "cats" / "18.png").rename(place / "dogs" / "00.png")
    registry.read_once.cache_clear()
    assert command() == 2
    assert "pictures' has changed since" in capsys.readouterr().err


def test_one_value_more_and_one_lost_record_leave_only_their_cells_to_do(swept, capsys):
    before = done()
    kept = cells.folder_of("tiny") / "results" / "standard"
    lost = sorted(kept.glob("*_autoencoder_*.json"))[0]
    lost.unlink()
    assert swept(axes={"latent": [2, 3, 4]}) == "engine"
    said = capsys.readouterr().out
    assert "6 runs" in said
    assert "3 done, 3 to do" in said
    assert f"{lost.name} is gone" in said
    assert "about 0 minutes: 0.1 a run (measured)" in said
    assert len(done()) == 3
    assert done() < before, "a cell without a stamp is what the engine runs"


def test_a_change_of_the_code_that_numbers_come_from_makes_cells_open_again(
    swept, capsys, monkeypatch
):
    newer = replace(STRATEGIES["grid"], version=STRATEGIES["grid"].version + 1)
    monkeypatch.setitem(STRATEGIES.entries, "grid", newer)
    assert swept("--", "--dry-run") == "engine"
    assert len(done()) == 4, "who only looks changes nothing"
    assert swept() == "engine"
    assert done() == set(), "all are judged on grid masks at this scale"
    assert (
        f"masking.grid: version {newer.version - 1} -> {newer.version}" in capsys.readouterr().out
    )


def test_a_damaged_record_or_stamp_is_done_again(swept, capsys):
    first, second = sorted((cells.folder_of("tiny") / "done").iterdir())[:2]
    first.write_text("{")
    made = json.loads(second.read_text())["records"]
    (name,) = [name for name in made if "_autoencoder_" in name]
    record = cells.folder_of("tiny") / "results" / name
    record.write_text(record.read_text().replace("0.", "1.", 1))
    assert swept() == "engine"
    assert len(done()) == 2
    said = capsys.readouterr().out
    assert "its stamp is damaged" in said
    assert f"{record.name} is damaged" in said


def test_a_record_whose_errors_of_images_are_lost_is_done_again(swept, capsys):
    kept = cells.folder_of("tiny") / "results" / "standard"
    lost = sorted(kept.glob("*_autoencoder_*.parquet"))[0]
    lost.unlink()
    assert swept() == "engine"
    assert len(done()) == 3
    assert f"{lost.stem}.json is damaged" in capsys.readouterr().out


def test_a_record_whose_pictures_are_damaged_is_done_again(swept, capsys):
    kept = cells.folder_of("tiny") / "results" / "standard"
    damaged = sorted(kept.glob("*_autoencoder_*.webp"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert swept() == "engine"
    assert len(done()) == 3
    assert f"{damaged.stem}.json is damaged" in capsys.readouterr().out


def test_reports_that_cannot_be_written_are_refused_before_anything_runs(
    swept, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cells, "FOLDER", tmp_path / "file")
    assert swept() == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(("cores", "told"), [(2, "about 4 minutes"), (None, "about 8 minutes")])
def test_the_time_is_told_before_anything_runs(own, capsys, cores, told):
    """Four runs of two minutes each, one or two at a time; of a queue nobody knows how many."""
    planned = own(minutes=2)
    sweep.announce("tiny", sweep.read("tiny"), planned, cores)
    assert told in capsys.readouterr().out


def test_a_sweep_in_a_precision_that_is_imitated_here_says_so_first(own, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "crawls", lambda precision, device: precision == "bf16")
    for precision in ("float32", "bf16"):
        planned = own(parameters=checkout.TINY | {"precision": precision})
        sweep.announce("tiny", sweep.read("tiny"), planned, cores=2)
        told = "beware: this processor does not multiply bf16" in capsys.readouterr().out
        assert told == (precision == "bf16")
