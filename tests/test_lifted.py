"""The parts that can be lifted out: where to hide, patches, the transformer and the ViT-MAE.

Copied into an empty folder with the few files of ours that they need, they run with nothing but
torch, pydantic and jaxtyping.
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.files import ROOT

LIFTED = {
    "masking": [
        "lib/streams.py",
        *(f"lib/masking/{file.name}" for file in (ROOT / "lib" / "masking").glob("*.py")),
    ],
    "patches and mae": ["lib/patches.py", "lib/models/transformer.py", "lib/models/mae.py"],
}
NEEDED = {"torch", "pydantic", "jaxtyping"}

USED = {
    "masking": """
from lib.masking import STRATEGIES, draw
from lib.streams import stream

for name in ("random", "block", "red_noise", "growing"):
    mask = draw(name, batch=2, grid=(4, 4), ratio=0.75, generator=stream(0, name), progress=1.0)
    assert mask.sum(dim=1).tolist() == [12, 12], name
assert len(STRATEGIES) > 20
""",
    "patches and mae": """
import torch
from lib.models.mae import MAEConfig, MaskedAutoencoder
from lib.patches import patchify, unpatchify
from lib.pixels import PixelSpace, Shape

space = PixelSpace(Shape(3, 16, 16, (4, 4)), torch.full((3,), 0.5), torch.full((3,), 0.2))
config = MAEConfig(dim=32, depth=1, heads=2, decoder_dim=16, decoder_depth=1, decoder_heads=2)
model = MaskedAutoencoder(config, space, torch.Generator().manual_seed(0))
images = torch.rand(2, 3, 16, 16)
assert torch.equal(unpatchify(patchify(images, (4, 4)), (4, 4), (4, 4)), images)
mask = torch.arange(16).expand(2, 16) < 12
model.loss(images, mask).backward()
assert model.reconstruct(images, mask).shape == images.shape
""",
}
# The checkout is installed, too, and must not help out.
ALONE = """
import sys

sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
"""


def of_ours(file: str) -> set[str]:
    """The files of ours that a file imports, whenever it does."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            path = name.replace(".", "/")
            found |= {f for f in (f"{path}.py", f"{path}/__init__.py") if (ROOT / f).exists()}
    return {file for file in found if file.startswith("lib/")}


def needed_by(files: list[str]) -> set[str]:
    """These files and all of ours that they need, with the folders' own."""
    found: set[str] = set()
    waiting = set(files)
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= of_ours(file) - found
    folders = {parent for file in found for parent in Path(file).parents if parent.name}
    return found | {f"{place}/__init__.py" for place in folders}


@pytest.mark.parametrize("part", LIFTED)
def test_a_part_runs_elsewhere(part, tmp_path):
    for file in needed_by(LIFTED[part]):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "use.py").write_text(ALONE + USED[part])
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", LIFTED)
def test_a_part_needs_three_libraries(part):
    """When it is imported; a map of a file into memory asks for numpy when it is made."""
    for file in needed_by(LIFTED[part]):
        statements = ast.parse((ROOT / file).read_text()).body
        for node in statements:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for top in {name.partition(".")[0] for name in names}:
                assert top in {*NEEDED, "lib", *sys.stdlib_module_names}, f"{file} imports {top}"


def test_few_files_are_needed():
    assert len(needed_by(LIFTED["masking"])) < 16
    assert len(needed_by(LIFTED["patches and mae"])) < 18
