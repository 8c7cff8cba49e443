"""The parts that can be lifted out: where to hide, patches, the transformer and the ViT-MAE.

Copied into an empty folder with the few files of ours that they need, they run with nothing but
torch, pydantic and jaxtyping.
"""

import shutil
import subprocess
import sys

import pytest
from test_house import FILES, name_of

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


def needed_by(files: list[str]) -> set[str]:
    """These files and all of ours that they import, whenever they do, as modules."""
    found: set[str] = set()
    waiting = {name_of(ROOT / file) for file in files}
    while waiting:
        name = waiting.pop()
        found.add(name)
        packages = {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
        imported = {other for other, _ in FILES[name] if other in FILES}
        waiting |= (packages | imported) - found
    return found


@pytest.mark.parametrize("part", LIFTED)
def test_a_part_runs_elsewhere(part, tmp_path):
    needed = needed_by(LIFTED[part])
    for file in (ROOT / "lib").rglob("*.py"):
        if name_of(file) in needed:
            copy = tmp_path / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    (tmp_path / "use.py").write_text(ALONE + USED[part])
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", LIFTED)
def test_a_part_needs_three_libraries(part):
    known = {*NEEDED, "lib", *sys.stdlib_module_names}
    asked = {(name, other) for name in needed_by(LIFTED[part]) for other, _ in FILES[name]}
    assert not [pair for pair in asked if pair[1].partition(".")[0] not in known]


def test_few_files_are_needed():
    assert len(needed_by(LIFTED["masking"])) < 16
    assert len(needed_by(LIFTED["patches and mae"])) < 18
