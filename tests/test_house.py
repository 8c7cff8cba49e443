"""The house: who may import whom, without circles, and every library declared (docs/map.md)."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.files import ROOT

LEAVES = {
    "lib.config",
    "lib.files",
    "lib.machine",
    "lib.mapped",
    "lib.register",
    "lib.shapes",
    "lib.streams",
}
# Whose files may import which of ours; the longest name that fits a file decides.
ARROWS = {
    **dict.fromkeys(LEAVES, LEAVES),
    "lib.patches": LEAVES,
    "lib.pixels": LEAVES | {"lib.patches"},
    "lib.masking": LEAVES | {"lib.masking"},
    "lib.judge": LEAVES | {"lib.masking", "lib.patches", "lib.models.published"},
    "lib.scores": LEAVES | {"lib.judge", "lib.masking", "lib.patches", "lib.pixels"},
    "lib.teacher": LEAVES | {"lib.judge"},
    "lib.adversary": LEAVES
    | {
        "lib.feed",
        "lib.judge",
        "lib.models.layers",
        "lib.models.transformer",
        "lib.patches",
        "lib.pixels",
        "lib.training",
    },
    "lib.masks": LEAVES
    | {
        "lib.adversary",
        "lib.feed",
        "lib.judge",
        "lib.masking",
        "lib.patches",
        "lib.scores",
        "lib.teacher",
    },
    "lib.augment": LEAVES,
    "lib.geometry": LEAVES | {"lib.patches"},
    "lib.codes": LEAVES | {"lib.patches"},
    "lib.measures": LEAVES,
    "lib.statistics": LEAVES,
    "lib.figures": LEAVES | {"lib.pixels", "lib.statistics"},
    "lib.models": LEAVES | {"lib.patches", "lib.pixels", "lib.models"},
    "lib.data": LEAVES | {"lib.data"},
    "lib.feed": LEAVES | {"lib.augment", "lib.pixels", "lib.models.family"},
    "lib.training": LEAVES | {"lib.augment", "lib.pixels", "lib.feed", "lib.models.family"},
    "lib.evaluate": LEAVES
    | {
        "lib.data.registry",
        "lib.masking",
        "lib.masks",
        "lib.measures",
        "lib.patches",
        "lib.pixels",
    },
    "lib.glances": LEAVES | {"lib.patches", "lib.windows"},
    "lib.windows": LEAVES
    | {
        "lib.evaluate",
        "lib.masking",
        "lib.measures",
        "lib.models.baselines",
        "lib.patches",
        "lib.scores",
    },
    "lib.frozen": LEAVES | {"lib.data.registry", "lib.evaluate", "lib.measures"},
    "lib.finetune": LEAVES
    | {
        "lib.augment",
        "lib.data.registry",
        "lib.evaluate",
        "lib.feed",
        "lib.frozen",
        "lib.models.family",
        "lib.models.layers",
        "lib.models.transformer",
        "lib.pixels",
        "lib.training",
    },
    "lib.run.guard": set(),  # run by its path
    "lib.run": {"lib"},
    "engine": {"lib", "engine"},
    "notebooks": {"lib"},
}
LIBRARY_OF = {  # name that is imported -> name that is installed, where they differ
    "IPython": "ipython",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    """Every imported module with its line; `from lib import x` counts as lib.x."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages = node.module in ("lib", "lib.run", "engine", "lib.models", "lib.data")
            for alias in node.names:
                name = f"{node.module}.{alias.name}" if packages else node.module
                found.append((name, node.lineno))
    return found


FILES = {
    name_of(file): imports(ast.parse(file.read_text()))
    for folder in ("lib", "engine")
    for file in sorted((ROOT / folder).rglob("*.py"))
}


def within(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def is_ours(name: str) -> bool:
    return within(name, {"lib", "engine"})


def allowed(name: str) -> set[str]:
    room = max((room for room in ARROWS if within(name, {room})), key=len)
    return ARROWS[room]


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("lib", "engine")])
def test_nobody_imports_what_its_room_must_not_know(name):
    wrong = [
        f"{name}, line {line}, imports {other}"
        for other, line in FILES[name]
        if is_ours(other) and not within(other, allowed(name))
    ]
    assert not wrong


def test_the_storeys_have_no_stairs_upwards():
    """Said once more, apart from the table: the study knows no run, a run no engine."""
    for name, found in FILES.items():
        above = {"engine"} if within(name, {"lib.run"}) else {"engine", "lib.run"}
        if not within(name, {"engine"}):
            assert not [other for other, _ in found if within(other, above)], name


def test_imports_make_no_circle():
    graph = {
        name: {other for other, _ in found if other in FILES and other != name}
        for name, found in FILES.items()
    }
    while free := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph, f"a circle among {sorted(graph)}"


def test_the_model_brings_in_no_more_than_it_needs():
    """Neither the libraries of measures and data, nor other rooms of ours."""
    code = "import sys, lib.models.mae; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"torch", "pydantic", "jaxtyping"} <= loaded
    heavy = {"sklearn", "skimage", "pandas", "scipy", "matplotlib", "torchvision", "papermill"}
    assert not heavy & loaded
    ours = {name for name in loaded if is_ours(name)} - {"lib"}
    assert not {name for name in ours if not within(name, ARROWS["lib.models"])}


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    listed += project["optional-dependencies"]["peers"]
    return {canonicalize_name(Requirement(text).name) for text in listed}


def test_every_library_that_is_imported_is_declared():
    undeclared = {}
    own = {"lib", "engine", "benchmarks", "setup"}
    for folder in ("lib", "engine", "tests", "benchmarks", ".ci"):
        files = sorted((ROOT / folder).rglob("*.py"))
        own |= {file.stem for file in files if folder == "tests"}
        for file in files:
            for name, line in imports(ast.parse(file.read_text())):
                top = name.split(".")[0]
                package = canonicalize_name(LIBRARY_OF.get(top, top))
                if top not in own | sys.stdlib_module_names and package not in declared():
                    undeclared[top] = f"{file.relative_to(ROOT)}, line {line}"
    assert not undeclared


def test_what_is_declared_is_imported_or_run_or_read():
    """Tools that are run and not imported, and packages that bring data, are listed here."""
    run = {"jupyterlab", "ipykernel", "pytest-xdist", "nbval", "ruff", "nbstripout", "pre-commit"}
    run |= {"snakemake", "snakemake-executor-plugin-slurm", "pyarrow", "papermill", "beartype"}
    run |= {"snakemake-executor-plugin-cluster-generic", "pdoc"}
    run |= {"mlxtend"}
    used = set()
    for file in ROOT.rglob("*.py"):
        if ".venv" not in file.parts:
            for name, _ in imports(ast.parse(file.read_text())):
                top = name.split(".")[0]
                used.add(canonicalize_name(LIBRARY_OF.get(top, top)))
    assert not declared() - used - run
    assert all(importlib.metadata.version(name) for name in declared() & run)


def test_a_wheel_holds_every_package():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in ("lib", "engine")
        for file in (ROOT / top).rglob("__init__.py")
    }
    assert set(about["tool"]["setuptools"]["packages"]) == there
