import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lib import parameters
from lib.claims import Claims
from lib.parameters import ParameterError, check
from lib.paths import NOTEBOOKS
from lib.schemas import SCHEMAS


def parameters_cell(name: str) -> str:
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    return next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_parameters_cell_declares_what_the_schema_declares(name):
    statements = ast.parse(parameters_cell(name)).body
    assert all(isinstance(statement, ast.AnnAssign) for statement in statements), "each parameter has its type"
    given = {statement.target.id: ast.literal_eval(statement.value) for statement in statements}
    assert list(given) and set(given) == set(SCHEMAS[name].model_fields)
    assert check(name, given).declared


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_problem_is_named_at_once(name):
    with pytest.raises(ParameterError) as error:
        check(name, {"sead": 1, "epochs": "abc", "mask_ratio": 1.5, "batch_size": True})
    for part in ("sead: unknown parameter", "epochs = 'abc'", "mask_ratio = 1.5", "batch_size = True"):
        assert part in str(error.value)


def test_a_close_name_is_suggested_and_unregistered_names_are_refused():
    with pytest.raises(ParameterError, match="learningrate: unknown parameter, did you mean learning_rate"):
        check("03_vit_mae", {"learningrate": 1.0})
    with pytest.raises(ParameterError, match="unknown data set 'digitz'"):
        check("03_vit_mae", {"dataset": "digitz"})
    with pytest.raises(ParameterError, match="'spiral' is unknown"):
        check("04_masking_strategies", {"strategies": ["random", "spiral"]})


def test_claims_are_about_declared_parameters(capsys):
    declared, other = Claims(check("03_vit_mae", {"data_root": "elsewhere"})), Claims(check("03_vit_mae", {"seed": 7}))
    declared.check("two is two", True)
    other.check("two is three", False)
    assert capsys.readouterr().out == "1 holds: two is two\n1 not claimed under these parameters: two is three\n"
    with pytest.raises(AssertionError, match=r"claim 2 does not hold: two is three \(measured: 2\)"):
        declared.check("two is three", False, 2)


def test_only_cells_of_literals_are_taken_for_parameters():
    names = {"In": ["", "epochs: int = 3\nsead = 4", "import os\nx = os.getcwd()", "print(1)"], "epochs": 3, "sead": 4, "x": "/", "np": 1}
    assert parameters.assigned(names) == {"epochs": 3, "sead": 4}


def test_a_corrected_parameters_cell_is_forgiven():
    wrong, right = (
        "dataset: str = 'x'\nscale: str = 'quick'\nrerun: bool = False\nsead: int = 1",
        "dataset: str = 'y'\nscale: str = 'quick'\nrerun: bool = False",
    )
    names = {"In": ["", wrong, "check()", right], "dataset": "y", "scale": "quick", "rerun": False, "sead": 1}
    assert "sead" not in parameters.assigned(names)


@pytest.mark.parametrize(
    ("notebook", "given", "message"),
    [
        ("02_adversarial_autoencoder", {"priors": ["cauchy"]}, r"priors.0 = 'cauchy'"),
        ("03_vit_mae", {"heads": 5}, "width of 96 cannot be shared by 5 heads"),
        ("01_vanilla_autoencoder", {"latents": [0]}, r"latents.0 = 0"),
        ("04_masking_strategies", {"strategies": ["grid"], "mask_ratio": 0.5}, r"none of them is defined at mask_ratio = 0.5"),
        ("04_masking_strategies", {"ratios": [1.0]}, r"ratios.0 = 1.0"),
    ],
)
def test_values_that_would_fail_later_are_refused_now(notebook, given, message):
    with pytest.raises(ParameterError, match=message):
        check(notebook, given)


def test_a_patch_of_a_quarter_fits_every_square():
    assert check("03_vit_mae", {}).experiment("mae").patch_size == 8
    assert check("03_vit_mae", {"dataset": "digits"}).experiment("mae").patch_size == 2


def test_papermill_with_a_wrong_parameter_fails_fast_from_another_directory(tmp_path):
    """Within 15 seconds on an idle machine; papermill itself takes 3 of them."""
    papermill = str(Path(sys.executable).with_name("papermill"))
    command = [papermill, str(NOTEBOOKS / "03_vit_mae.ipynb"), "out.ipynb", "-p", "sead", "3", "-p", "epochs", "many", "--no-progress-bar"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "sead: unknown parameter, did you mean seed" in done.stderr and "epochs = 'many'" in done.stderr
