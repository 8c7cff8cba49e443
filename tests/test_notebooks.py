"""Rules for the committed notebooks; nbval itself replays them."""

import re

import nbformat
import pytest

from lib.paths import NOTEBOOKS, ROOT
from lib.schemas import SCHEMAS

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
TRAINED_NUMBERS = "nbval-ignore-output"


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def cells(request):
    return nbformat.read(request.param, as_version=4).cells


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def test_every_notebook_has_a_schema_and_every_schema_a_notebook():
    assert {file.stem for file in FILES} == set(SCHEMAS)


def test_outputs_are_stored_for_every_cell_in_order(cells):
    """A stripped notebook would pass nbval without any comparison."""
    assert [cell.execution_count for cell in code(cells)] == list(range(1, len(code(cells)) + 1))
    assert not any(output.output_type == "error" for cell in code(cells) for output in cell.outputs)


def test_the_title_is_a_question_and_the_parameters_are_checked_first(cells):
    assert re.match(r"# [^\n]+\?\n", cells[0].source) and "**In short:**" in cells[0].source
    first, second = code(cells)[:2]
    assert first.metadata["tags"] == ["parameters"] and "import" not in first.source
    assert re.fullmatch(r"from lib import parameters\n\np = parameters\.check\(\"\w+\", globals\(\)\)", second.source)


def test_cells_are_short_and_prose_and_code_alternate(cells):
    long = [cell.source for cell in code(cells) if len(cell.source.splitlines()) > 18 and "parameters" not in cell.metadata.get("tags", [])]
    assert not long and len(cells) <= 40
    assert not any("class " in cell.source or "optimizer" in cell.source for cell in code(cells)), "models and loops live in lib"


def test_claims_are_compared_and_come_last(cells):
    last = code(cells)[-1]
    assert "Claims(p)" in last.source and TRAINED_NUMBERS not in last.metadata.get("tags", [])
    lines = last.outputs[0].text.splitlines()
    assert len(lines) >= 5 and all(re.match(rf"{i + 1} holds: ", line) for i, line in enumerate(lines))
    assert not any(TRAINED_NUMBERS in cell.metadata.get("tags", []) and "Claims" in cell.source for cell in code(cells))


def test_expectations_stand_before_results(cells):
    assert sum("**Expectation.**" in cell.source for cell in cells if cell.cell_type == "markdown") >= 3


def test_every_picture_has_an_alternative_text(cells):
    pictures = [output for cell in code(cells) for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 4 and all(output.metadata["image/png"]["alt"].endswith(".") for output in pictures)


def test_stored_outputs_hold_no_noise(cells):
    assert not any("papermill" in cell.metadata or "execution" in cell.metadata for cell in cells)


def test_citations_lead_to_the_bibliography():
    anchors = set(re.findall(r'<a id="(\w+)"></a>', (ROOT / "REFERENCES.md").read_text()))
    cited = {key for file in [*FILES, ROOT / "README.md"] for key in re.findall(r"REFERENCES\.md#(\w+)", file.read_text())}
    assert cited and cited <= anchors


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_links_between_notebooks_exist(file):
    for link in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", file.read_text()):
        assert (NOTEBOOKS / link).exists()
