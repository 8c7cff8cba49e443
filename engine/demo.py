"""One's own picture, completed by the model that comes with the code: `make demo IMAGE=my.jpg`.

Hides half, three quarters and nine tenths of the picture's patches and writes a PNG: what is
seen, what the model makes of it, and what biharmonic inpainting does, with the PSNR of both on
the hidden pixels. Any size and shape that Pillow reads; the picture is brought to a shorter side
of 256 pixels first, and of a very long one the middle is taken. What completes it is
`lib.windows.complete`.
"""

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lib import figures
from lib.data.pictures import open_rgb, within
from lib.files import REPORTS, replace_file
from lib.models.published import load_pretrained
from lib.pixels import unit_range
from lib.streams import stream
from lib.windows import compare, mask_of, trimmed

MODEL = "imagenette-mae"
RATIOS = (0.5, 0.75, 0.9)
SHORTER, LONGEST = 256, 512  # sides of what is completed, in pixels


def read_picture(file: Path, patch: tuple[int, int]) -> Tensor:
    """A picture file as [3, height, width] in [0, 1], of whole patches.

    Raises OSError or ValueError, naming the file, where it cannot be read.
    """
    try:
        pixels = np.asarray(within(open_rgb(file), SHORTER, LONGEST))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {file}: give a picture") from None
    except OSError as error:
        raise OSError(f"{file} is no picture that can be read ({error})") from error
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    return trimmed(unit_range(image[None])[0], patch)


def completions(model: nn.Module, picture: Tensor, strategy: str) -> Figure:
    """A row for each ratio: what is seen, by the model, by inpainting, the original."""
    rows = []
    for ratio in RATIOS:
        mask = mask_of(model, picture, strategy, ratio, stream(0, "demo"))
        found = compare(model, picture, mask)
        seen = figures.veil(picture[None], found.hidden[None, None])[0]
        row = [(f"{ratio:.0%} hidden", seen)]
        for name, title in (("model", "ViT-MAE"), ("inpainting", "inpainting")):
            row.append((f"{title}: {decibels(found.decibels[name])}", found.completed[name]))
        rows.append([*row, ("original", picture)])
    return figures.titled_pictures(rows)


def decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="a picture file")
    parser.add_argument("--strategy", default="random", help="where to hide (lib/masking)")
    given = parser.parse_args()
    model = load_pretrained(MODEL).eval()
    try:
        picture = read_picture(given.image, model.space.shape.patch)
        figure = completions(model, picture, given.strategy)
    except (OSError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    file = REPORTS / "demo" / f"{given.image.stem}.png"
    replace_file(file, lambda aside: figure.savefig(aside, format="png", dpi=130))
    plt.close(figure)
    print(f"wrote {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
