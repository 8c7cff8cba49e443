"""What is published is what the committed records say, and a mean is taken over seeds alone."""

import io
import json
import math
import re

import pandas as pd
import pytest

from engine import publish
from lib.evaluate import EVERY
from lib.files import REPORTS, ROOT, write_text
from lib.models.family import MODELS
from lib.run import records
from lib.run.experiment import run
from lib.run.settings import Execution, Experiment
from lib.training import Recipe

PAGE = f"# A title\n\n{publish.START}\n\nold\n\n{publish.END}\n\nmore\n"


# --- what is committed


@pytest.mark.parametrize("scale", publish.SCALES)
def test_published_tables_are_those_of_the_committed_records(scale):
    file = REPORTS / "tables" / f"{scale}.csv"
    assert (file.read_text() if file.exists() else "") == publish.table(scale)


def test_the_table_of_the_sweeps_of_masks_is_that_of_the_committed_records():
    file = REPORTS / "tables" / "masks.csv"
    assert (file.read_text() if file.exists() else "") == publish.masks_table()


def test_the_readme_shows_the_published_tables():
    text = publish.README.read_text()
    assert text == publish.readme(text)
    (table,) = re.findall(r"(?s)\| --- .*?\n(.*)\n\n" + publish.END, text)
    rows = [line.split(" | ")[0].lstrip("| ") for line in table.splitlines()]
    assert len(rows) <= 8, "a screen holds no more"
    assert MODELS["pca"].label in rows and MODELS["raw_pixels"].label not in rows
    assert {"ViT-MAE, random 75%", "ViT-MAE, not masked"} <= set(rows)


def test_what_the_readme_says_below_its_table_is_what_the_records_say():
    shown = publish.views(briefly=True)[publish.FAMILIES].index
    seeds = publish.by_configuration(publish.larger_runs("standard"))

    def apart(name):
        values = [[publish.value_of(one, "test", name) for one in seeds[text]] for text in shown]
        return [max(of_one) - min(of_one) for of_one in values]

    decibels = apart("random@0.75/psnr_hidden")
    points = sorted(apart("probe_accuracy") + apart("knn_accuracy"))
    assert 0.145 < max(decibels) < 0.155 and 0.03 < points[-1] < 0.04 and points[-2] < 0.025
    table = publish.read_table().query("split == 'test'").set_index(["training", "measure"])["mean"]
    said = " ".join((ROOT / "README.md").read_text().split())
    for words, training, measure in (
        ("has an SSIM of", "Biharmonic inpainting", "random@0.75/ssim_hidden"),
        ("raw pixels are probed at", "Raw pixels", "probe_accuracy"),
        ("an untrained ViT-MAE at", "ViT-MAE, untrained", "probe_accuracy"),
    ):
        assert f"{words} {table[training, measure]:.3f}".replace(" 0.", " .") in said


def test_the_page_on_speed_shows_the_committed_benchmarks():
    text = publish.SPEED.read_text()
    assert text == publish.speed(text)


def test_committed_records_are_whole_and_hold_no_path():
    for scale in publish.SCALES:
        for file in sorted((REPORTS / "results" / scale).glob("*.json")):
            record = records.read(file)
            assert record.scale == scale
            assert file.stem == record.name
            assert '"/' not in record.model_dump_json(), "no value is an absolute path"
            records.read_images(file, record)


# --- what is made of records

SMALL = {"dataset": "digits", "subset": 60, "evaluate_images": 10, "probe_images": 40}
MASKS = ("random@0.75", "block@0.75", "grid@0.75")
VIT = {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}


def vit(seed: int, epochs: int = 1, **changes) -> Experiment:
    given = {"options": VIT, "recipe": Recipe(epochs=epochs), "test_masks": MASKS} | changes
    return Experiment(model="mae", patch_size=2, seed=seed, **SMALL, **given)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A folder of real records: three seeds of a ViT-MAE, others that must not join them."""
    place = tmp_path_factory.mktemp("reports")
    asked = [vit(seed) for seed in (0, 1, 2)]
    asked += [vit(0, epochs=2), vit(3, recipe=Recipe(epochs=1, learning_rate=0.01))]
    asked += [Experiment(model=name, **SMALL) for name in ("mean_fill", "raw_pixels")]
    how = Execution(output=str(place), scale="standard", threads=1, progress=False)
    for one in asked:
        run(one, how, need_model=False)
    return place


@pytest.fixture
def published(reports, monkeypatch):
    """The table of these records, as a reader of the file gets it."""
    monkeypatch.setattr(publish, "REPORTS", reports)
    write_text(reports / "tables" / "standard.csv", publish.table("standard"))
    return publish.read_table()


def of_vit(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["training"].str.startswith("ViT-MAE")]


def test_a_mean_is_over_seeds_and_nothing_else(published, reports):
    """Another learning rate with a seed that nobody else has would pass for a fourth seed."""
    found = published[(published["split"] == "test") & (published["measure"] == "probe_accuracy")]
    assert of_vit(found)["seeds"].tolist() == [3, 1, 1]
    three = of_vit(found).iloc[0]
    values = [
        record.value("probe_accuracy")
        for record in records.read_all(reports / "results" / "standard")
        if record.parameters["recipe"] == vit(0).recipe.model_dump(mode="json")
        and record.model.family == "mae"
    ]
    assert len(values) == 3
    assert three["mean"] == pytest.approx(sum(values) / 3, abs=1e-4)
    spread = math.sqrt(sum((value - three["mean"]) ** 2 for value in values) / 2)
    assert three["half_width"] == pytest.approx(4.3027 * spread / math.sqrt(3), abs=1e-3)


def test_rows_that_would_read_alike_say_what_differs(published):
    labels = of_vit(published).drop_duplicates("configuration").set_index("epochs")["training"]
    assert labels[2] == "ViT-MAE, random 75%", "told from the others by its epochs"
    one, other = sorted(labels[1])
    assert one.endswith(", recipe.learning_rate 0.0015")
    assert other.endswith(", recipe.learning_rate 0.01")


def test_other_images_under_the_same_name_are_another_configuration(reports):
    first, second, *_ = records.read_all(reports / "results" / "standard")
    moved = second.data.model_copy(update={"sha256": second.data.sha256 | {"test": "others"}})
    same = first.model_copy(update={"parameters": first.parameters | {"seed": 7}})
    other = same.model_copy(update={"data": first.data.model_copy(update={"sha256": moved.sha256})})
    assert set(publish.summary([first, same])["seeds"]) == {2}
    assert set(publish.summary([first, other])["seeds"]) == {1}


def test_one_seed_measured_twice_is_refused(reports):
    (first, *_) = records.read_all(reports / "results" / "standard")
    with pytest.raises(ValueError, match="one seed was measured twice"):
        publish.summary([first, first])


def test_a_measure_that_one_seed_lacks_is_left_out(reports):
    (first, *_) = records.read_all(reports / "results" / "standard")
    name = next(iter(first.metrics["test"]))
    gone = {split: dict(measures) for split, measures in first.metrics.items()}
    gone["test"][name] = records.Measure(value=None, n=3)
    parameters = first.parameters | {"seed": 7}
    other = first.model_copy(update={"metrics": gone, "parameters": parameters})
    frame = publish.summary([first, other])
    assert name not in set(frame[frame["split"] == "test"]["measure"])
    assert name in set(frame[frame["split"] == "validation"]["measure"])


@pytest.mark.usefixtures("published")
def test_every_row_shows_its_data_its_epochs_its_seeds_and_its_images():
    shown = publish.views()
    assert list(shown) == [publish.FAMILIES]
    for frame in shown.values():
        assert list(frame.columns)[: len(publish.ABOUT)] == publish.ABOUT
        assert (frame["data"] == "digits, 60 training images").all()
        assert not frame.duplicated(publish.ABOUT).any()
    families = shown[publish.FAMILIES].set_index("training")
    fills = families.loc[MODELS["mean_fill"].label]
    knows = families.loc[MODELS["raw_pixels"].label]
    assert (fills["images filled"], fills["images probed"], fills["linear probe"]) == (10, "", "")
    assert knows["images filled"] == ""
    assert knows["images probed"] > 10, "features are tested on all images"
    assert set(families.index[families["epochs"] > 0].str[:7]) == {"ViT-MAE"}
    assert knows["weights"] == "" and publish.in_millions(1_335_616) == "1.3 M"
    best = list(families["PSNR hidden [dB]"].str.split().str[0].replace("", "-1").astype(float))
    assert best == sorted(best, reverse=True), "the best first, what fills nothing last"


def test_strategies_are_compared_where_there_are_several(published, monkeypatch):
    assert publish.STRATEGIES not in publish.views(), "all of these are random"
    other = published[published["model"] == "mae"].assign(strategy="block")
    random, block = '"strategy": "random"', '"strategy": "block"'
    other["configuration"] = other["configuration"].str.replace(random, block)
    monkeypatch.setattr(publish, "read_table", lambda: pd.concat([published, other]))
    shown = publish.views()[publish.STRATEGIES]
    assert set(shown["epochs"]) == {1, 2} and shown["training"].str.startswith("ViT-MAE").all()


@pytest.mark.parametrize("mask", ["rows@0.75", "random@0.5"])
def test_sweeps_of_masks_and_ratios_have_a_table_of_their_own(reports, monkeypatch, mask):
    """Their records are judged on other masks: a table must not mix two sets of them."""
    every = records.read_all(reports / "results" / "standard")
    first = next(record for record in every if record.model.family == "mae")
    judged = {"test_masks": [*first.parameters["test_masks"], mask]}
    other = first.model_copy(update={"parameters": first.parameters | judged, "key": "f" * 16})
    monkeypatch.setattr(publish, "current", lambda scale: every)
    alone = publish.table("standard")
    assert publish.masks_table() == ""
    monkeypatch.setattr(publish, "current", lambda scale: [*every, other])
    assert publish.table("standard") == alone
    found = pd.read_csv(io.StringIO(publish.masks_table()), index_col="measure")
    assert set(found["key"]) == {other.key} and set(found["split"]) == {"validation", "test"}
    on_test = found[found["split"] == "test"]
    assert {"block@0.75/ssim_hidden", "probe_accuracy"} <= set(on_test.index)
    assert on_test.index.is_unique and "random@0.75/psnr_all" not in on_test.index
    told = on_test.loc["random@0.75/psnr_hidden"]
    assert told["value"] == pytest.approx(other.value("random@0.75/psnr_hidden"), abs=1e-4)


def test_models_of_random_masks_and_of_none_stand_beside_the_larger_runs(reports, monkeypatch):
    """From a sweep of masks: not its other strategies, nor their gaps, nor baselines once more."""
    found = {one.model.family: one for one in records.read_all(reports / "results" / "standard")}
    rows = found["mae"].metrics["test"]["random@0.75/psnr_hidden"]
    measured = {"test": found["mae"].metrics["test"] | {"rows@0.75/psnr_hidden": rows}}

    def swept(family, **changes):
        given = found[family].parameters | {"test_masks": list(EVERY)} | changes
        return found[family].model_copy(update={"parameters": given, "metrics": measured})

    masked, control = swept("mae"), swept("mae", mask_ratio=0.0)
    others = [swept("mae", strategy="block"), swept("mae", mask_ratio=0.5), swept("mean_fill")]
    monkeypatch.setattr(publish, "current", lambda scale: [masked, control, *others])
    table = pd.read_csv(io.StringIO(publish.table("standard")))
    assert set(table["training"]) == {"ViT-MAE, random 75%", "ViT-MAE, not masked"}
    gaps = {name.partition("/")[0] for name in table["measure"] if "/" in name}
    assert gaps == set(MASKS)


@pytest.mark.usefixtures("published")
def test_pages_show_the_tables_between_their_markers():
    text = publish.readme(PAGE)
    assert text == publish.readme(text)
    assert text.startswith(PAGE[: PAGE.index("old")])
    assert text.endswith("more\n")
    assert "old" not in text
    assert f"**{publish.FAMILIES}** (data: " in text
    assert "| data |" not in text, "what all rows share is said once"
    assert " ± " in text


def test_what_all_rows_share_that_have_it_is_said_once():
    frame = pd.DataFrame({"data": "digits", "training": ["a", "b"], "images probed": ["", 500]})
    same, rest = publish.folded(frame)
    assert same == "data: digits; images probed: 500"
    assert list(rest) == ["training"]
    assert list(publish.folded(frame[:1])[1]) == list(frame)  # one row shares with none


def test_a_page_without_a_place_for_tables_is_refused():
    with pytest.raises(ValueError, match="no place for tables"):
        publish.readme("# A title\n")


def test_where_nothing_is_published_a_line_says_so_and_no_table_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "REPORTS", tmp_path)
    monkeypatch.setattr(publish, "BENCH", tmp_path)
    assert publish.views() == {}
    for page in (publish.readme(PAGE), publish.speed(PAGE)):
        assert publish.NOTHING in page
        assert "|" not in page


def test_a_view_without_a_row_is_not_shown(published, monkeypatch):
    monkeypatch.setattr(
        publish, "read_table", lambda: published[published["model"] == "raw_pixels"]
    )
    assert list(publish.views()) == [publish.FAMILIES]


def test_stale_records_are_left_out_and_named(published, reports, monkeypatch, capsys, tmp_path):
    assert "mae" in set(published["model"])
    newer = MODELS["mae"].__class__(**vars(MODELS["mae"]) | {"version": 99})
    monkeypatch.setitem(MODELS.entries, "mae", newer)
    monkeypatch.setattr(publish, "README", tmp_path / "README.md")
    monkeypatch.setattr(publish, "SPEED", tmp_path / "speed.md")
    for file in (publish.README, publish.SPEED):
        file.write_text(PAGE)
    publish.main()
    said = capsys.readouterr().out
    assert "5 stale records of scale standard are left out" in said
    assert set(publish.read_table()["model"]) == {"mean_fill", "raw_pixels"}
    assert "ViT-MAE, random" not in publish.README.read_text()


def test_a_table_of_records_that_are_gone_goes_too(tmp_path, monkeypatch, capsys):
    for name in ("README", "SPEED"):
        (tmp_path / name).write_text(PAGE)
        monkeypatch.setattr(publish, name, tmp_path / name)
    monkeypatch.setattr(publish, "REPORTS", tmp_path)
    write_text(tmp_path / "tables" / "standard.csv", "data\n")
    publish.main()
    assert not (tmp_path / "tables" / "standard.csv").exists()
    assert "there is no record to publish" in capsys.readouterr().out
    assert publish.NOTHING in (tmp_path / "README").read_text()


def test_benchmarks_are_shown_with_their_machine():
    found = json.loads((ROOT / "reports" / "results" / "bench" / "cpu.json").read_text())
    text = publish.speed_table("cpu", found)
    assert text.count("\n| ") == len(found["rows"]) + 2
    assert found["machine"]["processor"] in text
