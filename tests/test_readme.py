"""The pieces of Python in README and docs run as they stand, each copied into an empty file."""

import itertools
import re
import subprocess
import sys

import pandas as pd
import pytest

from lib.files import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs" / "usage.md", ROOT / "docs" / "scale.md")
PIECES = [
    piece
    for page in PAGES
    for piece in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]
SAVED, DRAWN = "reports/my-model", "reports/completed.png"  # what they write,
SWEPT = "reports/sweeps/masking/table.parquet"  # and read
FULL = '"scale": "full",'  # whose jobs lie beside all results


def swept() -> pd.DataFrame:
    """A table as `make sweep SWEEP=masking` makes it, in small."""
    grid = itertools.product(("random", "block"), (8, 32), (0, 1))
    same = {"model": "autoencoder", "mask_ratio": 0.75, "split": "test", "key": "k"}
    measured = {"measure": "random@0.75/psnr_hidden", "value": 12.5}
    return pd.DataFrame(
        {"strategy": strategy, "option.latent": latent, "seed": seed} | same | measured
        for strategy, latent, seed in grid
    )


def test_there_are_pieces():
    assert len(PIECES) >= 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_to_files_that_exist(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert links
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
def test_a_piece_runs_in_an_empty_file(piece, tmp_path):
    swept().to_parquet(tmp_path / "table.parquet")
    for said, here in ((SAVED, "model"), (DRAWN, "completed.png"), (SWEPT, "table.parquet")):
        piece = piece.replace(said, str(tmp_path / here))
    piece = piece.replace("folder:/data/imagenet", "digits")  # which lies on nobody's machine
    piece = piece.replace(FULL, f'{FULL} "execution": {{"output": {str(tmp_path)!r}}},')
    assert "reports/" not in piece, "a test leaves the tree as it was"
    (tmp_path / "piece.py").write_text(piece)
    done = subprocess.run(
        [sys.executable, "piece.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
