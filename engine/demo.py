"""One's own picture, completed by the model that comes with the code: `make demo IMAGE=my.jpg`.

Hides half, three quarters and nine tenths of the picture's patches and writes a PNG: what is
seen, what the model makes of it, and what biharmonic inpainting does, with the PSNR of both on
the hidden pixels. Any size and shape that Pillow reads, brought to a size that is quick to
complete (lib/data/own.py). What completes it is `lib.windows.complete`.
"""

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor, nn

from lib import figures
from lib.data.own import OwnPictures, own_pictures
from lib.data.registry import DataError
from lib.files import REPORTS, replace_file
from lib.models.published import load_pretrained
from lib.streams import stream
from lib.windows import compare, mask_of, trimmed

MODEL = "imagenette-mae"
RATIOS = (0.5, 0.75, 0.9)


def one_picture(file: Path) -> OwnPictures:
    """The picture of a file. Raises DataError where it is none, or a folder."""
    if file.is_dir():
        raise DataError(
            f"{file} is a folder, this is for one picture: notebooks/08_your_images.ipynb takes "
            "folders, as README says"
        )
    return own_pictures([file.absolute()])


def completions(model: nn.Module, picture: Tensor) -> Figure:
    """A row for each ratio: what is seen, by the model, by inpainting, the original."""
    rows = []
    for ratio in RATIOS:
        mask = mask_of(model, picture, "random", ratio, stream(0, "demo"))
        found = compare(model, picture, mask)
        row = [(f"{ratio:.0%} hidden", figures.veil(picture, found.hidden))]
        for name, title in (("model", "ViT-MAE"), ("inpainting", "inpainting")):
            row.append((f"{title}: {found.told(name)}", found.completed[name]))
        rows.append([*row, ("original", picture)])
    figure = figures.titled_pictures(rows)
    height, width = picture.shape[1:]
    figure.supxlabel(
        f"{width}x{height} pixels; dB: PSNR on hidden ones; flat: where a window sees nothing",
        fontsize=8,
    )
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help="a picture file")
    given = parser.parse_args()
    model = load_pretrained(MODEL).eval()
    try:
        found = one_picture(given.image)
        (picture,) = found.pictures.values()
        for sentence in found.told():
            print(sentence)
        picture = trimmed(picture, model.space.shape.patch)
        print(f"completing {given.image.name}: some twenty seconds", flush=True)
        figure = completions(model, picture)
    except ValueError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    file = REPORTS / "demo" / f"{given.image.stem}.png"
    instead = " (the last one of this name is replaced)" if file.exists() else ""
    replace_file(file, lambda aside: figure.savefig(aside, format="png", dpi=220))
    plt.close(figure)
    print(f"wrote {file}{instead}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
