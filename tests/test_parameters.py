import ast
import json
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
    declared.check("two is above one", 2, above=1)
    other.check("two is above three", 2, above=3)
    assert capsys.readouterr().out == "1 holds: two is above one\n1 not claimed under these parameters: two is above three\n"
    with pytest.raises(AssertionError, match=r"claim 2 does not hold: two is about three \(measured 2, claimed above 2.5 and below 3.5\)"):
        declared.check("two is about three", 2, above=2.5, below=3.5)


@pytest.mark.parametrize(
    ("value", "bounds"), [(1, {"above": 1}), (1, {"below": 1}), (float("nan"), {"above": 0}), (3, {"above": 0, "below": 2})]
)
def test_a_claim_on_its_bound_or_without_a_value_does_not_hold(value, bounds):
    with pytest.raises(AssertionError, match="does not hold"):
        Claims(check("03_vit_mae", {})).check("it holds", value, **bounds)


def test_a_claim_without_a_bound_is_none():
    with pytest.raises(ValueError, match="claims nothing"):
        Claims(check("03_vit_mae", {})).check("two", 2)


def test_measured_for_its_room_a_claim_is_noted_and_nothing_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLAIMS_LEDGER", str(tmp_path / "ledger"))
    claims = Claims(check("03_vit_mae", {}))
    claims.check("two is above three", 2, above=3)
    claims.check("two is below three", 2, below=3)
    first, second = map(json.loads, (tmp_path / "ledger").read_text().splitlines())
    assert first == {"claim": 1, "statement": "two is above three", "value": 2.0, "above": 3, "below": None} and second["claim"] == 2
    assert "1 does NOT hold: two is above three" in capsys.readouterr().out


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


def test_papermill_with_wrong_parameters_names_them_and_runs_no_code_of_theirs(tmp_path):
    """From another directory; within 15 seconds on an idle machine, of which papermill itself takes 3."""
    code = "\"; import os; os.system('touch MARK')\n$(touch MARK) `touch MARK` '''"
    papermill = str(Path(sys.executable).with_name("papermill"))
    command = [papermill, str(NOTEBOOKS / "03_vit_mae.ipynb"), "out.ipynb", "--no-progress-bar", "--start-timeout", "600"]
    command += ["-p", "sead", "3", "-p", "epochs", "many", "-r", "dataset", code, "-r", "device", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode != 0 and "sead: unknown parameter, did you mean seed" in done.stderr and "epochs = 'many'" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["out.ipynb"]
