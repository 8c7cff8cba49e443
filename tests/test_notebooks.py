"""Rules for the committed notebooks; nbval itself replays them."""

import ast
import base64
import functools
import itertools
import re
import shlex

import nbformat
import pytest
import yaml
from papermill.cli import _resolve_type

from lib.data.registry import DataError
from lib.files import NOTEBOOKS, ROOT
from lib.run import arms, experiment, parameters, records

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
LARGEST = 1_500_000  # bytes of a notebook with its outputs
TRAINED_NUMBERS = "nbval-ignore-output"


@functools.cache
def cells_of(file):
    """Read once: nobody changes them."""
    return nbformat.read(file, as_version=4).cells


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def cells(request):
    return cells_of(request.param)


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


def test_outputs_are_stored_for_every_cell_in_order(cells):
    """A stripped notebook would pass nbval without any comparison."""
    assert [cell.execution_count for cell in code(cells)] == list(range(1, len(code(cells)) + 1))
    assert not any(output.output_type == "error" for cell in code(cells) for output in cell.outputs)


def calls_in(cell) -> list[ast.Call]:
    """In their order."""
    found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return sorted(found, key=lambda call: call.lineno)


def test_stored_claims_are_those_of_the_source(cells):
    """nbval would tell, after minutes of training; prose speaks of them by their numbers."""
    for cell in code(cells):
        calls = [one.args[0] for one in calls_in(cell) if getattr(one.func, "id", "") == "say"]
        said = [one.value for one in calls if isinstance(one, ast.Constant)]
        lines = cell.outputs[0].text.splitlines() if calls else []
        stored = [line.partition(": ")[2] for line in lines]
        if len(said) < len(calls):  # some are put together in a loop
            stored = [statement for statement in stored if statement in said]
        assert stored == said


def test_stored_figures_have_the_alternative_texts_of_the_source(cells):
    """What nbval does not compare."""
    for cell in code(cells):
        words = [word for one in calls_in(cell) for word in one.keywords if word.arg == "alt"]
        given = {getattr(word.value, "value", None) for word in words}  # None: put together
        about = [kind for output in cell.outputs for kind in output.get("metadata", {}).values()]
        stored = {kind["alt"] for kind in about if "alt" in kind}
        assert None in given or stored <= given


def test_the_answer_is_short(cells):
    _, _, answer = cells[0].source.partition("**In short:**")
    assert len(answer.partition("\n\n")[0].split()) <= 120


def test_the_title_is_a_question_and_the_parameters_are_checked_first(cells):
    assert re.match(r"# [^\n]+\?\n", cells[0].source) and "**In short:**" in cells[0].source
    first, second = code(cells)[:2]
    assert first.metadata["tags"] == ["parameters"] and "import" not in first.source
    assert re.fullmatch(
        r"from lib.run import parameters\n\np = parameters\.check\(\"\w+\", globals\(\)\)",
        second.source,
    )


def is_parameters(cell) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def test_cells_are_short_and_hold_no_models_or_loops(cells):
    long = [cell.source for cell in code(cells) if len(cell.source.splitlines()) > 26]
    assert not long
    assert len(cells) <= 40
    for cell in code(cells):
        made = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.ClassDef)]
        assert not made and "optimizer" not in cell.source, "that lives in lib"


def test_claims_are_compared_and_their_room_is_not(cells):
    [claims] = [cell for cell in code(cells) if "claims = Claims(p, " in cell.source]
    room = code(cells)[code(cells).index(claims) + 1]
    assert TRAINED_NUMBERS not in claims.metadata.get("tags", [])
    lines = claims.outputs[0].text.splitlines()
    assert len(lines) >= 5
    assert all(re.match(rf"{i + 1} holds: ", line) for i, line in enumerate(lines))
    assert room.source == "claims.room()" and room.metadata["tags"] == [TRAINED_NUMBERS]
    others = [cell for cell in code(cells) if cell is not claims]
    assert not any("claims.check" in cell.source for cell in others)


def test_expectations_stand_before_results(cells):
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert sum("**Expectation.**" in text for text in prose) >= 3


def test_every_picture_has_an_alternative_text(cells):
    alts = [
        output.metadata[kind]["alt"]
        for cell in code(cells)
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]
    assert len(alts) >= 4
    assert all(alt.endswith(".") for alt in alts)


def test_the_picture_on_the_first_screen_is_one_that_the_notebook_drew(cells):
    """What `make rerun` copies to docs/pictures; a stale one shows an older result."""
    drawn = {
        base64.b64decode(output.data[kind])
        for cell in code(cells)
        for output in cell.outputs
        for kind in output.get("data", {})
        if kind in ("image/png", "image/jpeg")
    }
    shown = re.findall(r"\]\(\.\./(docs/pictures/[^)]+)", cells[0].source)
    assert all((ROOT / picture).read_bytes() in drawn for picture in shown)


def test_stored_outputs_hold_no_noise(cells):
    assert not any("papermill" in cell.metadata or "execution" in cell.metadata for cell in cells)
    kinds = {kind for cell in code(cells) for o in cell.outputs for kind in o.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds, "of a run in JupyterLab"


def test_citations_lead_to_the_bibliography():
    anchors = set(re.findall(r'<a id="(\w+)"></a>', (ROOT / "REFERENCES.md").read_text()))
    cited = {
        key
        for file in [*FILES, ROOT / "README.md"]
        for key in re.findall(r"REFERENCES\.md#(\w+)", file.read_text())
    }
    assert cited and cited <= anchors


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_is_light(file):
    assert file.stat().st_size < LARGEST, "smaller figures, or fewer"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_links_lead_to_files_that_exist(file):
    """As they stand, from the notebook's own folder: in JupyterLab and on GitHub."""
    cells = cells_of(file)
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#\s]+)", prose)
    assert links
    for link in links:
        assert link.startswith("https://") or (NOTEBOOKS / link).exists(), link


def test_each_notebook_leads_to_the_one_before_and_the_one_after():
    for one, other in itertools.pairwise(FILES):
        before, after = (cells_of(file)[0].source for file in (other, one))
        assert f"Previous: [{one.stem[:2]}" in before and f"({one.name})" in before
        assert f"Next: [{other.stem[:2]}" in after and f"({other.name})" in after


def test_headings_make_a_table_of_contents(cells):
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1 and len(levels) > 3
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_outputs_hold_no_path_of_a_machine_no_time_and_no_bar(cells):
    texts = [output.get("text", "") for cell in code(cells) for output in cell.outputs]
    texts += [
        text
        for cell in code(cells)
        for output in cell.outputs
        for kind, text in output.get("data", {}).items()
        if kind.startswith("text/")
    ]
    for noise in (
        r"/(home|tmp|root|Users|work|usr)/",
        r"\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b",
        r"\d+ of \d+ steps|it/s\]",
    ):
        assert not [text for text in texts if re.search(noise, text)]


# --- exercises


def solutions(file) -> tuple[str, str]:
    """The exercises of a notebook, and what is folded below them."""
    last = cells_of(file)[-1].source.partition("**Exercises.**")[2]
    asked, _, told = last.partition("<details>")
    return asked, told


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_an_exercise_changes_are_parameters_of_its_notebook(file):
    """As papermill reads them: -p a value, -y YAML."""
    asked, _ = solutions(file)
    assert asked.count("(a)") == 1
    for flags in re.findall(r"`(-[py] [^`]+)`", asked):
        if "PATH" in flags or "my/" in flags:
            continue  # the reader's own
        words, given = shlex.split(flags), {}
        while words:
            kind, *words = words
            if kind == "-p":
                name, value, *words = words
                given[name] = _resolve_type(value)
            else:
                text, *words = words
                given |= yaml.safe_load(text)
        parameters.check(file.stem, given)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_exercise_that_is_a_run_of_embedded_images_has_a_solution(file):
    asked, told = solutions(file)
    if not told:
        assert file.stem[:2] in ("06", "07"), "read from records: another run needs images and time"
        return
    assert told.startswith("<summary>Solutions</summary>\n\n") and told.endswith("\n\n</details>")
    for letter, exercise in re.findall(r"\((\w)\) (.*?)(?= \(\w\) |$)", asked.strip()):
        if re.search(r"`-[py] ", exercise) and not re.search(r"my/|facebook/", exercise):
            assert f"\n({letter}) " in told


REHEARSAL = {
    "seeds": [0],
    "dataset": "mnist-5k",
    "image_size": None,
    "patch_size": 4,
    "epochs": 2,
    "autoencoder_epochs": 1,
    "adversarial_epochs": 1,
    "scale": "standard",
    "experiment": {"subset": 300, "evaluate_images": 10, "test_masks": ["random@0.75"]},
    "recipe": {"batch_size": 32},
    "options": {
        "mae": {"dim": 16, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_depth": 1},
        "autoencoder": {"hidden": [32], "latent": 8},
        "adversarial": {"hidden": [32], "latent": 8, "discriminator": [32]},
    },
    "fine_tune": {"shares": [0.1, 1.0], "epochs": 1, "least_steps": 2, "augment": "none"},
}


def executed(name, given) -> None:
    """A notebook's code with other parameters, in this process: a kernel costs ten seconds."""
    names = {"In": []}
    for cell in code(cells_of(NOTEBOOKS / f"{name}.ipynb")):
        exec(compile(cell.source, f"{name}, {cell.id}", "exec"), names)
        if is_parameters(cell):
            names["In"].append(cell.source)
            names.update(given)


def nothing_is_claimed(said) -> bool:
    return "Nothing is claimed under these parameters" in said and " holds: " not in said


def test_the_notebook_of_the_larger_runs_trains_every_arm_and_keeps_its_record(tmp_path, capsys):
    """Every sweep of it does; with its own parameters it reads what came with the code."""
    executed(
        "06_larger_data",
        REHEARSAL | {"execution": {"output": str(tmp_path), "progress": False}},
    )
    assert nothing_is_claimed(capsys.readouterr().out)
    kept = records.read_all(tmp_path / "results" / "standard")
    trained = [one for one in kept if one.history and not one.parameters["fine_tune"]]
    assert sorted((one.model.family, one.parameters["recipe"]["epochs"]) for one in trained) == [
        ("adversarial", 1),
        ("adversarial", 1),
        ("autoencoder", 1),
        ("autoencoder", 1),
        ("mae", 1),
        ("mae", 2),
        ("mae", 2),
    ], "masked and not, and a control of as many operations as the masked ViT-MAE"
    used = [one for one in kept if one.parameters["fine_tune"]]
    assert len(used) == len(arms.WAYS) + 1


def test_the_comparison_trains_the_strategies_of_a_reader(tmp_path, capsys):
    """README's command gives a new one, as blocks are here: no test mask is its own."""
    given = {name: REHEARSAL[name] for name in REHEARSAL if not name.startswith("a")}
    given |= {"options": {"mae": REHEARSAL["options"]["mae"]}, "strategies": ["block"]}
    given["experiment"] = REHEARSAL["experiment"] | {"test_masks": ["random@0.75", "grid@0.75"]}
    executed(
        "07_masks_compared", given | {"execution": {"output": str(tmp_path), "progress": False}}
    )
    assert nothing_is_claimed(capsys.readouterr().out)
    kept = records.read_all(tmp_path / "results" / "standard")
    trained = [one.parameters for one in kept if one.history and not one.parameters["fine_tune"]]
    assert {given["strategy"] for given in trained} == {"block", "random"}, "random always"


def test_the_comparison_refuses_what_it_cannot_train_before_it_trains(tmp_path, monkeypatch):
    given = {"strategies": ["random", "half"], "execution": {"output": str(tmp_path)}}
    monkeypatch.setattr(experiment, "start", lambda *asked: pytest.fail("trained in vain"))
    with pytest.raises(ValueError, match=r"'half' is not defined at ratio 0\.75"):
        executed("07_masks_compared", given)


@pytest.mark.parametrize("name", ["06_larger_data", "07_masks_compared"])
def test_a_sweep_reads_no_record_that_came_with_the_code(name, tmp_path):
    """They are not in its folder, where it looks for what its cells have made."""
    how = {"output": str(tmp_path), "data_root": str(tmp_path)}
    with pytest.raises(DataError, match="imagenette"):
        executed(name, {"scale": "standard", "execution": how})
