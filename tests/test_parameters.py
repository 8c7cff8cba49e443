"""What notebooks accept: described once, refused by name, before anything is loaded."""

import ast
import functools
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from lib.files import NOTEBOOKS
from lib.models.family import MODELS
from lib.run import parameters
from lib.run.parameters import DICTIONARIES, ParameterError, check, defaults, notebooks
from lib.run.settings import Execution, Experiment, Showing
from lib.training import Recipe

NAMES = notebooks()


@functools.cache
def code(name: str) -> list:
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def models_of(name: str) -> list[str]:
    return list(defaults(name).get("options", {}))


def fields(name: str) -> set[str]:
    models = [MODELS[model].config for model in models_of(name)]
    configs = [Experiment, Recipe, Execution, Showing, *models]
    return {field for config in configs for field in config.model_fields}


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_is_a_field_that_says_its_range(name):
    known = fields(name)
    plurals = {f"{field}s" for field in known} | {f"{field[:-1]}ies" for field in known}
    models = models_of(name)
    own = {f"{model}_{field}" for model in models for field in Recipe.model_fields}
    extra = defaults(name).keys() - known - plurals - own - set(DICTIONARIES)
    assert not extra, f"{extra}: no fields of a configuration, nor plurals of one"


@pytest.mark.parametrize("name", NAMES)
def test_the_cell_is_typed_and_every_line_says_what_it_is(name):
    cell = code(name)[0].source
    statements = ast.parse(cell).body
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements)
    assert {statement.target.id for statement in statements} == set(defaults(name))
    assert all(len(line) <= 100 for line in cell.splitlines())
    for statement in statements:
        line = cell.splitlines()[statement.end_lineno - 1]
        assert re.search(r"  # \S", line), f"{line}: what is it?"
        value = defaults(name)[statement.target.id]
        assert value is None or type(value).__name__ == statement.annotation.id, line


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_gives_a_parameters_name_to_something_else(name):
    """Else the check, run again, would take it for a parameter."""
    own = defaults(name).keys()
    for cell in code(name)[1:]:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assert node.id not in own, f"{node.id} in {cell.id}"


@pytest.mark.parametrize("name", NAMES)
def test_claims_are_made_for_the_parameters_that_are_declared(name):
    (digest,) = re.findall(r'Claims\(p, "(\w+)"\)', "\n".join(c.source for c in code(name)))
    wanted = check(name, {}).digest
    assert digest == wanted, (
        f'{name}: write Claims(p, "{wanted}") in the cell of claims, once they are seen to hold'
    )


def test_a_list_of_values_of_a_recipe_is_checked_item_by_item(monkeypatch):
    declared = defaults("04_masking_strategies") | {"warmups": [0.1, "x"]}
    monkeypatch.setattr(parameters, "defaults", lambda name: declared)
    with pytest.raises(ParameterError, match=r"warmups\.1 = 'x': .*number"):
        check("04_masking_strategies", {})


def test_a_models_own_part_of_the_recipe_is_checked_by_its_field(monkeypatch):
    declared = defaults("03_vit_mae") | {"autoencoder_epochs": -1, "mae_epochs": 3}
    monkeypatch.setattr(parameters, "defaults", lambda name: declared)
    with pytest.raises(ParameterError, match=r"autoencoder_epochs = -1: .*equal to 0") as error:
        check("03_vit_mae", {})
    assert "mae_epochs" not in str(error.value)


def test_the_digest_knows_what_decides_the_numbers_and_no_more(tmp_path):
    own = check("03_vit_mae", {}).digest
    assert check("03_vit_mae", {"execution": {"output": str(tmp_path)}}).digest == own
    for given in ({"seed": 2}, {"recipe": {"clip": 1.0}}, {"options": {"mae": {"depth": 5}}}):
        assert check("03_vit_mae", given).digest != own


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_is_named_at_once(name):
    with pytest.raises(ParameterError) as error:
        check(name, {"sead": 1, "epochz": 2})
    assert "unknown parameter 'sead'" in str(error.value)
    assert "unknown parameter 'epochz', did you mean epochs?" in str(error.value)
    other = next(field for field in Recipe.model_fields if field not in defaults(name))
    several = "mask_ratio" not in defaults(name)
    ratio = {"mask_ratios": [3.0]} if several else {"mask_ratio": 3.0}
    wrong = {"epochs": "abc", "recipe": {other: []}} | ratio
    with pytest.raises(ParameterError) as error:
        check(name, wrong | {"execution": {"save_every": -1.0}})
    said = str(error.value)
    for part in ("epochs = 'abc'", f"recipe.{other} = []", "execution.save_every = -1.0"):
        assert f"  {part}" in said
    assert f"  mask_ratio{'s.0' if several else ''} = 3.0" in said


WRONG = [
    ({"dataset": "digitz"}, "unknown data set 'digitz', did you mean digits"),
    ({"mask_ratio": 1.5}, "mask_ratio = 1.5: .*less than 1"),
    ({"seed": 2**63}, "seed = 9223372036854775808"),
    ({"epochs": 10**7}, "epochs = 10000000: .*1000000"),
    ({"recipe": {"augment": "flop"}}, "unknown augmentation 'flop', did you mean flip"),
    ({"patch_size": 0}, "patch_size = 0: .*greater than or equal to 1"),
    ({"patch_size": "4"}, "patch_size = '4': Input should be a valid integer"),
    ({"image_size": 2}, "image_size = 2: .*greater than or equal to 3"),
    ({"dataset": 3}, "dataset = 3: .*string"),
    ({"mask_ratio": None}, "mask_ratio = None: .*number"),
    ({"recipe": {"epoch": 3}}, "recipe: unknown parameter 'epoch', did you mean epochs"),
    ({"recipe": {"epochs": 3}}, r"recipe\.epochs: it is a parameter of its own"),
    ({"recipe": {1: 2}}, "recipe: 1 is no name"),
    ({"recipe": 3}, r'recipe = 3: a dictionary is needed: pass it as -y "recipe: \{\.\.\.\}"'),
    ({"options": {"mae": {"dmi": 3}}}, r"options\.mae: unknown parameter 'dmi', did you mean dim"),
    ({"options": {"mae": {"depth": 0}}}, r"options\.mae\.depth = 0: .*equal to 1"),
    ({"options": {"mae": 3}}, r"options\.mae = 3: a dictionary is needed"),
    ({"options": {"mea": {}}}, "unknown model 'mea', did you mean mae"),
    ({"options": {"mae": {"heads": 5}}}, "width of 96 cannot be shared by 5 heads"),
    ({"execution": {"device": "gpu"}}, "execution.device = 'gpu'"),
    ({"execution": {"threads": 100_000}}, "execution.threads = 100000"),
    ({"execution": {"processes": 100_000}}, "execution.processes = 100000"),
    ({"recipe": {"weight_decay": float("inf")}}, "recipe.weight_decay = inf: .*finite"),
    ({"options": {"mae": {"mlp_ratio": float("inf")}}}, "options.mae.mlp_ratio = inf: .*finite"),
    ({"execution": {"device": 3}, "recipe": {"precision": "auto"}}, "execution.device = 3"),
    (
        {"execution": {"dataroot": "x"}},
        "execution: unknown parameter 'dataroot', did you mean data_root",
    ),
    ({"execution": {"scale": "full"}}, r"execution\.scale: it is a parameter of its own"),
    ({"execution": {"notebook": "x"}}, r"execution\.notebook: "),
    ({"experiment": {"model": "mae"}}, r"experiment\.model: the notebook says that itself"),
    ({"experiment": {"seed": 3}}, r"experiment\.seed: it is a parameter of its own"),
    ({"experiment": {"strategies": "x"}}, "experiment: .*'strategies', did you mean strategy"),
    ({"experiment": {"strategy": "blok"}}, "unknown masking strategy 'blok', did you mean block"),
    ({"experiment": {"test_masks": 3}}, r"experiment\.test_masks = 3"),
    ({"experiment": {"test_masks": []}}, r"experiment\.test_masks = \[\]: .*at least 1"),
    ({"execution": {"output": "x" * 300}}, r"execution\.output = 'x+\.\.\.: cannot be written"),
    ({"execution": {"output": "a\0b"}}, r"execution\.output = 'a\\x00b': cannot be written"),
    ({"execution": {"output": "~nobody at all/x"}}, r"execution\.output = .*cannot be written"),
    ({"execution": {"data_root": "x" * 300}}, r"execution\.data_root = .*no folder"),
    (
        {"options": {"autoencoder": {"hidden": "64"}}},
        r'options\.autoencoder\.hidden = .64.*-y "options: \{autoencoder: \{hidden: \[64\]\}\}"',
    ),
    ({"dataset": "x" * 10_000}, "'x{200}'"),
    ({"recipe": {"augment": "x" * 10_000}}, "'x{200}'"),
    ({"recipe": {"x" * 10_000: 1}}, "unknown parameter 'x{200}'"),
    ({"options": {"x" * 10_000: 1}}, "'x{200}'"),
    ({"recipe": {"precision": "x" * 10_000}}, r"recipe\.precision = 'x{199}\.\.\.: "),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_refused_by_name(given, message):
    with pytest.raises(ParameterError, match=message) as error:
        check("03_vit_mae", given)
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(
    ("notebook", "given", "message"),
    [
        ("01_vanilla_autoencoder", {"latents": [0]}, "latents.0 = 0"),
        ("01_vanilla_autoencoder", {"latents": 4}, 'latents = 4: a list .*-y "latents: '),
        ("02_adversarial_autoencoder", {"priors": ["cauchy"]}, "priors.0 = 'cauchy'"),
        ("04_masking_strategies", {"mask_ratios": [1.0]}, "mask_ratios.0 = 1.0"),
        ("02_adversarial_autoencoder", {"priors": "ring"}, "priors = 'ring': .*-y \"priors: "),
        ("04_masking_strategies", {"model": "vae"}, "unknown model 'vae'"),
        ("04_masking_strategies", {"model": 3}, "model = 3: .*string"),
        ("04_masking_strategies", {"strategies": "random"}, "strategies = 'random': a list"),
        ("04_masking_strategies", {"seeds": []}, "seeds = .*at least one"),
        ("04_masking_strategies", {"strategies": ["spiral"]}, "strategy 'spiral'"),
        ("07_masks_compared", {"seeds": [0, 1, 0]}, "seeds.2 = 0: stands twice"),
        ("05_few_labels", {"fine_tune": {"shares": [1, 10]}}, "shares.1 = 10"),
        (
            "04_masking_strategies",
            {"strategies": ["grid"], "mask_ratio": 0.5},
            "none of them is defined at mask_ratio = 0.5",
        ),
    ],
)
def test_lists_are_checked_item_by_item(notebook, given, message):
    with pytest.raises(ParameterError, match=message):
        check(notebook, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "photos"}, r'images = .photos.: .*-y "images: \[photos\]"'),
        ({"images": ["README.md", "nowhere/at all"]}, r"images.1 = 'nowhere/at all': there is no "),
        ({"images": ["a\0b"]}, r"images.0 = 'a\\x00b': there is no such file"),
        ({"images": ["x" * 5000]}, r"images.0 = 'x+\.\.\.: there is no such file"),
        ({"at_most": 0}, "at_most = 0: .*equal to 1"),
        ({"strategies": ["spiral"]}, "strategy 'spiral'"),
        ({"strategies": ["half"]}, r"defined at mask_ratio = 0\.75\n.*mask_ratio = 0\.9"),
    ],
)
def test_what_is_asked_of_ones_own_pictures_is_checked(given, message):
    with pytest.raises(ParameterError, match=message):
        check("08_your_images", given)


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match=r"execution.output.*cannot be written"):
        check("01_vanilla_autoencoder", {"execution": {"output": str(tmp_path / "file")}})


def test_the_check_makes_no_folder(tmp_path):
    check("01_vanilla_autoencoder", {"execution": {"output": str(tmp_path / "new")}})
    assert not list(tmp_path.iterdir())


def test_parameters_with_one_value_otherwise_are_another_experiment():
    p = check("06_larger_data", {})
    assert p.but(epochs=9).experiment("mae").recipe.epochs == 9 and p.epochs == 30
    assert p.but().experiment("mae") == p.experiment("mae")


def test_an_unknown_notebook_is_refused():
    with pytest.raises(ParameterError, match="did you mean 03_vit_mae"):
        check("03_vit_mea", {})


def test_values_reach_the_configurations_of_their_name():
    given = {"epochs": 3, "recipe": {"clip": 1.0}, "options": {"mae": {"depth": 2}}}
    p = check("03_vit_mae", given | {"image_size": 16, "seed": 5})
    asked = p.experiment("mae", patch_size=4)
    assert (asked.recipe.epochs, asked.recipe.clip, asked.recipe.batch_size) == (3, 1.0, 128)
    assert (asked.options["depth"], asked.options["dim"]) == (2, 96), "the rest is as declared"
    assert (asked.image_size, asked.seed) == (16, 5)
    more = check("03_vit_mae", {"experiment": {"strategy": "block", "test_masks": ["none"]}})
    assert more.experiment("mae", patch_size=4).strategy == "block"
    assert more.experiment("mae", patch_size=4).test_masks == ("none",)
    changed = p.experiment("mae", {"dim": 48}, recipe={"epochs": 0}, seed=7, patch_size=[4, 2])
    assert (changed.options["dim"], changed.recipe.epochs, changed.seed) == (48, 0, 7)
    assert changed.patch == (4, 2)
    assert p.baseline("pca", patch_size=4).seed == 0
    assert p.baseline("pca", patch_size=4).recipe == Recipe(epochs=0)
    hidden = {"test_masks": ["random@0.5"]}  # at other ratios of training, judged alike
    half, most = (check("03_vit_mae", {"mask_ratio": r, "experiment": hidden}) for r in (0.5, 0.9))
    keys = {one.baseline("pca", patch_size=4).key for one in (half, most)}
    assert len(keys) == 1, "what is not trained is the same under any mask of training"


def test_a_model_that_is_given_as_nothing_is_left_out():
    p = check("03_vit_mae", {"options": {"autoencoder": None}})
    assert "autoencoder" not in p.models and "mae" in p.models
    with pytest.raises(ParameterError, match=r"options\.mae = 3: a dictionary"):
        check("03_vit_mae", {"options": {"autoencoder": None, "mae": 3}})


def test_a_patch_of_a_quarter_fits_every_square():
    given = {"patch_size": None}
    assert check("03_vit_mae", given).experiment("mae").patch_size == 7
    assert check("03_vit_mae", given | {"dataset": "digits"}).experiment("mae").patch_size == 2
    with pytest.raises(ValueError, match=r"patch_size: None is a quarter .*30x30 pixels have none"):
        check("03_vit_mae", given | {"image_size": 30}).experiment("mae")


def test_larger_scales_judge_on_three_kinds_of_masks():
    assert check("03_vit_mae", {}).test_masks == ("random@0.75",)
    names = ("random@0.75", "block@0.75", "grid@0.75")
    assert check("03_vit_mae", {"scale": "standard"}).test_masks == names
    half = check("03_vit_mae", {"scale": "standard", "mask_ratio": 0.5})
    assert half.test_masks == ("random@0.5", "block@0.5")


CELL = "a: int = 1\nb: str = 'x'"


def test_only_cells_of_literals_are_taken_for_parameters():
    sources = ["", CELL, "a: int = 3\nsead = 4", "import os\nb = os.getcwd()", "print(1)"]
    names = {"In": sources, "a": 3, "sead": 4, "b": "x", "np": 1}
    found = parameters.assigned(names, {"a": 1, "b": "x"})
    assert found == {"a": 3, "sead": 4, "b": "x"}


def test_a_corrected_parameters_cell_is_forgiven():
    names = {"In": ["", f"{CELL}\nsead: int = 1", "check()", CELL], "a": 1, "b": "x", "sead": 1}
    assert "sead" not in parameters.assigned(names, {"a": 1, "b": "x"})


def test_papermill_with_wrong_parameters_names_them_and_runs_no_code_of_theirs(tmp_path):
    """From another directory, and soon: papermill and the kernel need most of the time."""
    text = "\"; import os; os.system('touch MARK')\n$(touch MARK) `touch MARK` '''"
    command = [str(Path(sys.executable).with_name("papermill"))]
    command += [str(NOTEBOOKS / "03_vit_mae.ipynb"), "out.ipynb", "--no-progress-bar"]
    command += ["--start-timeout", "600", "-p", "epochs", "many", "-r", "dataset", text]
    began = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode != 0 and "epochs = 'many'" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["out.ipynb"]
    print(f"{time.monotonic() - began:.0f} s")


def test_a_notebook_is_told_that_its_prose_is_about_other_parameters(capsys):
    declared = parameters.defaults("03_vit_mae")
    source = "\n".join(f"{name} = {value!r}" for name, value in declared.items())
    own = {"output": "elsewhere"}
    check("03_vit_mae", declared | {"In": ["", source, f"execution = {own}"], "execution": own})
    assert capsys.readouterr().out == ""
    check("03_vit_mae", declared | {"In": ["", source, "seed = 7"], "seed": 7})
    assert "(seed)" in capsys.readouterr().out
    check("03_vit_mae", {"seed": 7})
    assert capsys.readouterr().out == "", "a sweep checks its cells, which nobody reads"
