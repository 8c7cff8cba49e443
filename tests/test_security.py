"""What comes from outside stays data: weights, pictures, names, parameters; nothing of it runs."""

import ast
import base64
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import struct
import tarfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill import cli
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from PIL import EpsImagePlugin, Image
from safetensors.torch import save_file
from test_records import record
from torchvision import datasets

from engine import executed, publish, report
from engine.notebooks import Outcome
from lib import figures
from lib.data import cache as cache_module
from lib.data import downloaded
from lib.data.pictures import open_rgb
from lib.data.registry import SPLITS, DataError, load, read_once
from lib.files import NOTEBOOKS, ROOT
from lib.run import parameters, records, states

RED, BLUE = (200, 10, 10), (0, 0, 255)


@pytest.fixture(autouse=True)
def fresh_reads():
    read_once.cache_clear()


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that hostile code would make, in the working directory of the test."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place / "MARK"
    assert list(place.iterdir()) == [], "something ran"


# --- no pickle, nothing evaluated

RUNS_DATA = re.compile(
    r"^\s*(?:import|from)\s.*\b_?c?(?:pickle|dill|cloudpickle|joblib|shelve|marshal)\b"
    r"|import_module\(\W*(?:pickle|dill|cloudpickle|joblib|shelve|marshal)|__import__\("
    r"|\b(?:pickle|dill|cloudpickle|joblib|shelve|marshal)\.(?:loads?|open|Unpickler)\b"
    r"|\btorch\.(?:jit\.)?load\b(?!\(file, map_location=.cpu., weights_only=True\))|\bfrom torch import .*\bload\b|\btorch\.(?:hub|package)\b"
    r"|allow_pickle(?!\s*=\s*False)|\bread_pickle\b"
    r"|\byaml\.(?:unsafe|full)_load|\byaml\.load(?:_all)?\((?!.*SafeLoader)|\b(?:Unsafe|Full)Loader\b|\byaml\.Loader\b"
    r"|(?<![\w.])(?:eval|exec)\(|\bos\.(?:system|popen)\b|shell\s*=\s*True",
    re.MULTILINE,
)
OWN = [
    file
    for folder in ("lib", "engine", "benchmarks", ".ci")
    for file in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize(
    "file", [*OWN, *sorted(NOTEBOOKS.glob("*.ipynb"))], ids=lambda file: str(file.relative_to(ROOT))
)
def test_nothing_unpickles_or_evaluates(file):
    cells = nbformat.read(file, as_version=4).cells if file.suffix == ".ipynb" else []
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "code") or file.read_text()
    assert RUNS_DATA.findall(text) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import os, pickle as p", True),
        ("    from joblib import load", True),
        ("x = torch.load(file)", True),
        ("x = torch.load(file, weights_only=False)", True),
        ("from torch import load", True),
        ("np.load(file, allow_pickle=True)", True),
        ("np.load(file, allow_pickle=trust)", True),
        ("pd.read_pickle(file)", True),
        ("importlib.import_module('dill')", True),
        ("yaml.load(text)", True),
        ("yaml.load(text, Loader=yaml.Loader)", True),
        ("eval(text)", True),
        ("subprocess.run(text, shell=True)", True),
        ("np.load(file, allow_pickle=False)", False),
        ("yaml.load(text, Loader=yaml.SafeLoader)", False),
        ("yaml.safe_load(text)", False),
        ("model.eval()", False),
        ("value = ast.literal_eval(text)", False),
        ('"""safetensors, never a pickle"""', False),
    ],
)
def test_what_would_unpickle_or_evaluate_is_recognised(line, found):
    assert bool(RUNS_DATA.search(f"x = 1\n{line}\n")) == found


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture(params=["zip", "legacy", "pickle"])
def bomb(request, mark):
    """Weights as other people send them; shown to be armed."""
    held = io.BytesIO()
    if request.param == "pickle":
        pickle.dump(Touch(mark), held)
    else:
        torch.save(
            {"weights": Touch(mark)}, held, _use_new_zipfile_serialization=request.param == "zip"
        )
    (
        pickle.loads
        if request.param == "pickle"
        else lambda b: torch.load(io.BytesIO(b), weights_only=False)
    )(held.getvalue())
    mark.unlink()
    return held.getvalue()


def test_foreign_weights_are_refused_unopened(bomb, tmp_path):
    (tmp_path / "model.pth").write_bytes(bomb)
    with pytest.raises(
        states.DamagedCheckpoint, match=r"model\.pth is not a whole checkpoint.*delete it"
    ):
        states.load(tmp_path / "model.pth")
    with pytest.raises(records.DamagedRecord, match=r"model\.pth is not a valid record"):
        records.read(tmp_path / "model.pth")


def test_a_foreign_state_is_named_and_passed_over(bomb, tmp_path):
    first = tmp_path / "state-000000001.safetensors"
    states.save(first, {"a": torch.ones(2)}, {"run": "r", "step": 1})
    (tmp_path / "state-000000002.safetensors").write_bytes(bomb)
    with pytest.warns(UserWarning, match=r"state-000000002.*trying the one before"):
        assert states.States(tmp_path, "r", 0.0).latest()[1]["step"] == 1


def sheet(place):
    """A folder of three blue pictures a split."""
    for split in SPLITS:
        (place / split).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 16), BLUE).save(place / split / f"blue {number}.png")
    return place


def test_a_foreign_cache_is_made_anew(bomb, tmp_path):
    place = sheet(tmp_path / "pictures")
    for content in (bomb, None):
        first = load(f"folder:{place}", "train", size=8)
        (file,) = cache_module.FOLDER.glob("*.images")
        whole = file.read_bytes()
        file.write_bytes(content or whole[:-1] + bytes([whole[-1] ^ 1]))
        read_once.cache_clear()
        assert torch.equal(load(f"folder:{place}", "train", size=8).images, first.images)
        assert cache_module.read(file).variant == "folder-pictures"


@pytest.mark.parametrize(
    "about", ["[]", "null", '"run"', "[" * 100_000], ids=["list", "null", "text", "deep"]
)
def test_a_checksum_of_its_own_does_not_make_a_file_a_checkpoint(about, tmp_path):
    tensors = {"images": torch.zeros(1, 3, 4, 4, dtype=torch.uint8)}
    file = tmp_path / "state-000000001.safetensors"
    save_file(tensors, file, {"about": about, "sha256": states.digest(tensors, about)})
    with pytest.raises(states.DamagedCheckpoint, match="delete it"):
        states.load(file)
    with pytest.warns(UserWarning, match="state-000000001"):
        assert states.States(tmp_path, "r", 0.0).latest() is None
    place = sheet(tmp_path / "pictures")
    load(f"folder:{place}", "train", size=8)
    (cached,) = cache_module.FOLDER.glob("*.images")
    cached.write_bytes(
        bytes(192) + about.encode() + len(about).to_bytes(cache_module.ENDING, "little")
    )
    read_once.cache_clear()
    assert load(f"folder:{place}", "train", size=8).images[0, :, 4, 4].tolist() == list(BLUE)


@pytest.mark.parametrize("honest", [True, False])
def test_a_download_of_pickles_is_compared_before_it_is_opened(honest, mark, tmp_path, monkeypatch):
    """Even where torchvision's md5 sums let it pass."""
    batches = tmp_path / "made" / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        content = {
            "data": np.full((4, 3072), 7, dtype=np.uint8),
            "labels": [0, 1, 2, 3],
            "label_names": list("abcd"),
        }
        (batches / name).write_bytes(pickle.dumps(content if honest else Touch(mark)))
    made = tmp_path / "made" / "cifar-10-python.tar.gz"
    with tarfile.open(made, "w:gz") as packed:
        packed.add(batches, arcname=batches.name)
    sums = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in batches.iterdir()}
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(
            datasets.CIFAR10,
            part,
            [[name, sums[name]] for name, _ in getattr(datasets.CIFAR10, part)],
        )
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": sums["batches.meta"]}
    )
    monkeypatch.setattr(
        datasets.utils, "download_url", lambda url, root, *rest: shutil.copy(made, root)
    )
    monkeypatch.setattr(downloaded, "VALIDATION", {"cifar10": 4})
    if honest:
        monkeypatch.setitem(
            downloaded.CIFAR_SHA256, "CIFAR10", (made.name, downloaded.sha256(made))
        )
        assert len(load("cifar10", "train", tmp_path / "data")) == 16
    else:
        with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged"):
            load("cifar10", "train", tmp_path / "data")
        left = [file.name for file in (tmp_path / "data").iterdir()]
        assert left == [".download-cifar10.lock"]


# --- pictures of the reader's own


def encoded(kind, picture=None, **options) -> bytes:
    held = io.BytesIO()
    (picture or Image.new("RGB", (20, 16), RED)).save(held, kind, **options)
    return held.getvalue()


def png(width, height, *extra) -> bytes:
    """A header that claims what no data backs."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        *extra,
        (b"IDAT", zlib.compress(bytes(99))),
        (b"IEND", b""),
    ]
    made = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def deep(value, kind="PNG") -> bytes:
    return encoded(kind, Image.fromarray(np.full((16, 20), value, dtype=np.uint16)))


LATER = {"save_all": True, "append_images": [Image.new("RGB", (20, 16), BLUE)]}
READABLE = {
    "jpeg called.png": (encoded("JPEG"), RED),
    "png called.jpg": (encoded("PNG"), RED),
    "cmyk.jpg": (encoded("JPEG", Image.new("RGB", (20, 16), RED).convert("CMYK"), quality=95), RED),
    "moving.gif": (encoded("GIF", **LATER), RED),
    "moving.webp": (encoded("WEBP", lossless=True, **LATER), RED),
    "pages.tif": (encoded("TIFF", **LATER), RED),
    "deep.png": (deep(200 * 257), (200,) * 3),
    "deep and dark.png": (deep(200), (1,) * 3),
    "deep.tif": (deep(200 * 257, "TIFF"), (200,) * 3),
    "one pixel.png": (encoded("PNG", Image.new("RGB", (1, 1), RED)), RED),
    "wide.png": (encoded("PNG", Image.new("RGB", (20_000, 2), RED)), RED),
    "tall.png": (encoded("PNG", Image.new("RGB", (2, 20_000), RED)), RED),
}
NOISE = encoded("PNG", Image.effect_noise((64, 64), 90))
UNREADABLE = {
    "huge claim.png": png(60_000, 60_000),
    "no pixels.png": png(40, 40),
    "swollen text.png": png(4, 4, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20)))),
    "half.png": NOISE[: len(NOISE) // 2],
    "half.jpg": encoded("JPEG")[:300],
    "empty.gif": b"",
    "text.png": b"not a picture",
    "page.png": b"<html><script>alert(1)</script></html>",
    "vector.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "weights.png": None,
    "program.png": encoded("EPS"),
}


@pytest.mark.parametrize("name", READABLE)
def test_odd_pictures_are_read_in_their_colours(name, tmp_path, recwarn):
    content, colour = READABLE[name]
    (sheet(tmp_path) / "train" / name).write_bytes(content)
    found = load(f"folder:{tmp_path}", "train", size=8)
    colours = sorted(tuple(image[:, 4, 4].tolist()) for image in found.images)
    assert (
        found.skipped == ()
        and not recwarn.list
        and np.allclose(colours, sorted([BLUE, BLUE, BLUE, colour]), atol=3)
    )


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_picture_is_skipped_and_named(name, alone, tmp_path, mark, monkeypatch):
    held = io.BytesIO()
    torch.save(Touch(mark), held)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    place = sheet(tmp_path / "pictures")
    bad = [place / "train" / name]
    if alone:
        bad = [
            file.rename(file.with_name(f"{file.stem} {name}"))
            for file in (place / "train").iterdir()
        ]
    for file in bad:
        file.write_bytes(held.getvalue() if UNREADABLE[name] is None else UNREADABLE[name])
    with pytest.warns(UserWarning, match=re.escape(name)):
        if alone:
            with pytest.raises(
                DataError,
                match=f"none of 3 pictures could be read, first: 'blue 0 {re.escape(name)}'",
            ):
                load(f"folder:{place}", "train", size=8)
        else:
            found = load(f"folder:{place}", "train", size=8)
            assert (
                found.skipped == (name,) and found.images[:, :, 4, 4].tolist() == [list(BLUE)] * 3
            )


def test_a_huge_claim_is_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "bomb.png").write_bytes(UNREADABLE["huge claim.png"])
    with pytest.raises(Image.DecompressionBombError):
        open_rgb(tmp_path / "bomb.png")


NAMES = [
    "two  words ",
    'it\'s "quoted"',
    "line\nbreak",
    "Größe 测试 🦊",
    "-rf",
    "$(touch MARK)",
    "`touch MARK`; touch MARK",
    "{{7*7}} %s {0}",
    "<img src=x onerror=alert(1)>",
    "\x1b[2Jred\u202egnp",
    os.fsdecode(b"latin-\xe9"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_is_only_a_name(name, tmp_path, mark):
    place = tmp_path / name
    for split in SPLITS:
        (place / split / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 16), RED).save(
                place / split / name / f"{number}{name}.png", "PNG"
            )
    (place / "train" / name / f"broken {name}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="broken ") as warned:
        fresh = load(f"folder:{place}", "train", size=8)
    read_once.cache_clear()
    again = load(f"folder:{place}", "train", size=8)
    for found in (fresh, again):
        assert (
            found.classes == (name,)
            and found.labels.tolist() == [0] * 3
            and found.images[0, :, 4, 4].tolist() == list(RED)
        )
        assert found.skipped == (f"{name}/broken {name}.png",)
    said = str(warned[0].message)
    assert (
        f"broken {name}"[:-1]
        in ast.literal_eval(re.match(r"skipped (.*?): cannot identify", said)[1])
        and said.isprintable()
    )


def test_links_in_circles_end_and_linked_splits_are_not_followed(tmp_path):
    place, outside = sheet(tmp_path / "pictures"), sheet(tmp_path / "outside")
    (place / "train" / "a.png").symlink_to("b.png")
    (place / "train" / "b.png").symlink_to("a.png")
    (place / "train" / "self").symlink_to(".")
    (place / "train" / "up").symlink_to(place)
    assert len(load(f"folder:{place}", "train", size=8)) == 3
    shutil.rmtree(place / "train")
    (place / "train").symlink_to(outside / "train")
    read_once.cache_clear()
    with pytest.raises(DataError, match=r"none called train \(links are not followed\)"):
        load(f"folder:{place}", "train", size=8)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(DataError, match="there is no folder"):
        load(f"folder:{tmp_path / 'round'}", "train", size=8)


# --- names and captions on pages

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)><svg/onload=alert(1)>{{7*7}}&lt;b&gt;"
)


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data

    def runs(self):
        """Where it would run something or reach out of itself."""
        own = ("data:image/", "#", "notebooks/")
        return [
            (name, value)
            for name, value in self.attributes
            if name.startswith("on")
            or (name in ("src", "href") and not value.startswith(own))
            or "javascript:" in value
        ]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """One executed notebook, its figure, its record and a published table, all with a hostile text wherever there is text."""
    drawn = tmp_path / "notebooks" / "01_x" / "figures" / "quick"
    drawn.mkdir(parents=True)
    for module in (report, executed):
        monkeypatch.setattr(module, "EXECUTED", tmp_path / "notebooks")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figures.publish(
        figures.bars({HOSTILE[:25]: {HOSTILE[:25]: (1.0, 0.1)}}),
        "01-a",
        alt=HOSTILE,
        caption=HOSTILE,
        folder=drawn,
    )
    about = json.loads(record(notebook="01_x").model_dump_json())
    about["model"]["label"] = about["parameters"]["strategy"] = about["data"]["variant"] = HOSTILE
    about["provenance"] |= {
        "machine": {HOSTILE: HOSTILE},
        "versions": {HOSTILE: HOSTILE},
        "commit": HOSTILE,
    }
    about["metrics"]["test"] = {f"{HOSTILE.replace('/', '')}/psnr_all": {"value": 1.0, "n": 1}}
    monkeypatch.setattr(records, "read_all", lambda folder: [records.Record.model_validate(about)])
    told = {name: [HOSTILE] for name in ("data", "training", "seeds", HOSTILE)}
    frame = pd.DataFrame(told, index=[HOSTILE])
    monkeypatch.setattr(publish, "views", lambda: {HOSTILE: frame})
    data, metadata = shown[0]._repr_png_()
    outputs = [
        new_output("stream", text=HOSTILE),
        new_output("stream", name="stderr", text=f"UserWarning: skipped {HOSTILE}"),
        new_output(
            "execute_result",
            {"text/html": frame._repr_html_(), "text/plain": str(frame)},
            execution_count=1,
        ),
        new_output("display_data", {"image/png": data}, metadata={"image/png": metadata}),
        new_output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    book = new_notebook(
        cells=[new_markdown_cell("# A title"), new_code_cell(repr(HOSTILE), outputs=outputs)]
    )
    nbformat.write(book, tmp_path / "notebooks" / "01_x.ipynb")
    monkeypatch.setattr(report, "all_notebooks", lambda: [tmp_path / "notebooks" / "01_x.ipynb"])
    return tmp_path


def test_the_report_shows_hostile_text_as_text(shelf, monkeypatch):
    page = Page(report.page([Outcome("01_x", 1.0, HOSTILE)]))
    assert page.text.count(HOSTILE) >= 10 and ("alt", HOSTILE) in page.attributes
    assert page.elements.count("img") == 1
    assert not {"svg", "iframe", "object"} & set(page.elements)
    assert page.elements.count("script") == 1, "its own"
    assert page.runs() == []


def test_an_executed_notebook_shows_hostile_text_as_text(shelf):
    executed.write_html(shelf / "notebooks" / "01_x.ipynb")
    page = Page((shelf / "notebooks" / "01_x.html").read_text())
    assert page.text.count(HOSTILE) >= 5 and page.elements.count("img") == 1
    assert not {"script", "svg", "iframe"} & set(page.elements) and page.runs() == []


def test_a_formula_is_drawn_and_never_run():
    drawn = executed.MATH.sub(
        executed.drawn_by_browsers, "$x$ $\\text{<script>alert(1)</script>}$ $$<img onerror=a>$$"
    )
    page = Page(drawn)
    assert page.elements.count("math") == 3 and page.runs() == []
    assert not {"script", "img"} & set(page.elements)


# --- parameters

TEXTS = [
    "\"; import os; os.system('touch MARK')",
    "'; import os; os.system('touch MARK') #",
    "digits\nimport os; os.system('touch MARK')",
    "digits\r\n!touch MARK",
    "\\",
    '\\"; open("MARK", "w") #',
    "'''\nopen('MARK', 'w')\n'''",
    '"""',
    "$(touch MARK)",
    "`touch MARK`",
    "!touch MARK",
    "%%bash touch MARK",
    '!!python/object/apply:os.system ["touch MARK"]',
    "{{7*7}} {0} {open('MARK', 'w')}",
    "\u2028open('MARK', 'w')",
    "\x00\x1b[2J",
]


def given_as(way: str, text: str, place: Path) -> list[str]:
    document = yaml.safe_dump({"dataset": text, "strategies": [text]})
    (place / "parameters.yaml").write_text(document)
    return {
        "-p": ["-p", "dataset", text],
        "-r": ["-r", "dataset", text],
        "-y": ["-y", document],
        "-b": ["-b", base64.b64encode(document.encode()).decode()],
        "-f": ["-f", str(place / "parameters.yaml")],
    }[way]


@pytest.fixture
def accepted(monkeypatch):
    """The parameters that papermill's command line took, none if it refused."""
    taken = []
    monkeypatch.setattr(cli, "execute_notebook", lambda **names: taken.append(names["parameters"]))
    return taken


@pytest.mark.parametrize("way", ["-p", "-r", "-y", "-b", "-f"])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_parameter_reaches_the_kernel_as_the_same_text(text, way, accepted, tmp_path, mark):
    done = CliRunner().invoke(
        cli.papermill, ["in.ipynb", "out.ipynb", *given_as(way, text, tmp_path)]
    )
    assert done.exit_code == 0, done.output
    declared = new_code_cell("dataset = 'digits'", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    empty = new_notebook(cells=[declared], metadata={"kernelspec": kernel})
    nbformat.write(empty, tmp_path / "empty.ipynb")
    book = parameterize_notebook(load_notebook_node(str(tmp_path / "empty.ipynb")), accepted[0])
    (cell,) = [
        cell.source for cell in book.cells if "injected-parameters" in cell.metadata.get("tags", [])
    ]
    names = {}
    exec(cell, names)
    assert names["dataset"] == text and names.get("strategies", [text]) == [text]
    assert list(parameters.literals(cell)) == list(accepted[0])


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_no_such_text_is_taken_for_a_data_set(text, mark):
    with pytest.raises(parameters.ParameterError, match="unknown data set"):
        parameters.check("04_masking_strategies", {"dataset": text})


@pytest.mark.parametrize("way", ["-y", "-b", "-f"])
def test_yaml_makes_no_objects(way, accepted, tmp_path, mark, monkeypatch):
    armed = 'dataset: !!python/object/apply:os.system ["touch MARK"]'
    yaml.unsafe_load(armed)
    mark.unlink()
    monkeypatch.setattr(yaml, "safe_dump", lambda document: armed)
    done = CliRunner().invoke(
        cli.papermill, ["in.ipynb", "out.ipynb", *given_as(way, "", tmp_path)]
    )
    assert (
        done.exit_code != 0
        and accepted == []
        and isinstance(done.exception, yaml.constructor.ConstructorError)
    )
