"""Readers of downloaded sets, on small files made here in their published layouts; no network."""

import gzip
import hashlib
import pickle
import shutil
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from lib.data import downloaded, imagenette
from lib.data.registry import SPLITS, DataError, load, read_once, settle_variant
from lib.run.parameters import check


@pytest.fixture(autouse=True)
def small_validation(monkeypatch):
    monkeypatch.setattr(downloaded, "VALIDATION", dict.fromkeys(downloaded.VALIDATION, 4))
    read_once.cache_clear()


def idx(array: np.ndarray) -> bytes:
    """The idx format of the MNIST family."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype("uint8").tobytes()


def mnist_files(count=20) -> dict[str, bytes]:
    random = np.random.default_rng(0)
    arrays = []
    for number in (count, count // 2):
        arrays += [random.integers(0, 256, (number, 28, 28)), np.arange(number) % 10]
    return dict(zip(downloaded.MNIST_FILES, map(idx, arrays), strict=True))


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = mnist_files()
    for name, content in files.items():
        (raw / name).write_bytes(content)
    sums = tuple(hashlib.sha256(content).hexdigest() for content in files.values())
    monkeypatch.setitem(downloaded.RAW_SHA256, "MNIST", sums)
    return tmp_path


def test_mnist_is_read_from_a_root_that_holds_it(mnist):
    found = {split: load("mnist", split, mnist) for split in SPLITS}
    assert [tuple(images.images.shape) for images in found.values()] == [
        (16, 1, 28, 28),
        (4, 1, 28, 28),
        (10, 1, 28, 28),
    ]
    assert found["test"].labels.tolist() == list(range(10)) and found["test"].variant == "mnist"
    assert load("mnist", "test", mnist, size=14).images.shape[2:] == (14, 14)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_raw_file_is_named_and_never_read(mnist, damage):
    file = mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content if damage == "flipped" else content[:500])
    with pytest.raises(DataError, match="train-images-idx3-ubyte is damaged"):
        load("mnist", "train", mnist)


def test_raw_files_are_checked_through_their_archives_where_only_those_have_published_sums(
    tmp_path, monkeypatch
):
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    sums = []
    for name, content in mnist_files().items():
        (raw / name).write_bytes(content)
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
        sums.append(hashlib.sha256((raw / f"{name}.gz").read_bytes()).hexdigest())
    monkeypatch.setitem(downloaded.GZIP_SHA256, "KMNIST", tuple(sums))
    assert len(load("kmnist", "test", tmp_path)) == 10
    read_once.cache_clear()
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(10)))
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is damaged"):
        load("kmnist", "test", tmp_path)
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        load("kmnist", "test", tmp_path)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened before it was checked",)


def cifar(root, payload):
    batches = root / "cifar-10-batches-py"
    batches.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (batches / name).write_bytes(payload(name))
    archive = root / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(batches, arcname="cifar-10-batches-py")
    return archive


def test_cifar_is_not_unpickled_before_its_archive_is_checked(tmp_path):
    cifar(tmp_path, lambda name: pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged"):
        load("cifar10", "train", tmp_path)


def test_cifar_is_not_unpickled_where_an_unpacked_file_differs_from_the_archive(
    tmp_path, monkeypatch
):
    archive = cifar(tmp_path, lambda name: pickle.dumps({"name": name}))
    monkeypatch.setitem(
        downloaded.CIFAR_SHA256, "CIFAR10", (archive.name, downloaded.sha256(archive))
    )
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"data_batch_3 differs from cifar-10-python\.tar\.gz"):
        load("cifar10", "train", tmp_path)


def test_offline_and_absent_names_the_set_the_place_and_the_ways_on(tmp_path, monkeypatch):
    def offline(*arguments, **names):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets, "MNIST", offline)
    with pytest.raises(
        DataError, match=f"'mnist' is not in {tmp_path}.*no network.*data_root.*digits or photos"
    ):
        load("mnist", "train", tmp_path)


def test_an_interrupted_download_leaves_nothing_that_is_read(tmp_path, monkeypatch):
    def half(folder, **names):
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / downloaded.MNIST_FILES[0]).write_bytes(b"half")
        raise OSError("connection lost")

    monkeypatch.setattr(datasets, "MNIST", half)
    with pytest.raises(DataError, match="connection lost"):
        load("mnist", "train", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".download-mnist.lock"]


def test_two_that_ask_at_once_download_once(tmp_path):
    asked = []

    def download(folder):
        asked.append(folder)
        time.sleep(0.3)
        (folder / "set").mkdir()

    def fetch(_):
        downloaded.fetch("mine", tmp_path, ["set"], download)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fetch, range(2)))
    assert len(asked) == 1


def test_a_complete_download_moves_in_and_is_read(tmp_path, mnist, monkeypatch):
    real = datasets.MNIST
    other = tmp_path / "elsewhere"

    def fetched(folder, *, download=False, **names):
        if download:
            shutil.copytree(mnist / "MNIST", f"{folder}/MNIST")
            return None
        return real(folder, download=False, **names)

    monkeypatch.setattr(datasets, "MNIST", fetched)
    assert len(load("mnist", "test", other)) == 10
    assert [child.name for child in other.iterdir() if child.is_dir()] == ["MNIST"]


def test_a_folder_in_which_a_file_is_missing_is_replaced_as_a_whole(tmp_path, mnist, monkeypatch):
    whole = tmp_path / "whole"
    shutil.copytree(mnist / "MNIST", whole / "MNIST")
    (mnist / "MNIST" / "raw" / downloaded.MNIST_FILES[1]).unlink()
    (mnist / "MNIST" / "old").write_text("of the incomplete copy")
    real = datasets.MNIST

    def fetched(folder, *, download=False, **names):
        if not download:
            return real(folder, download=False, **names)
        return shutil.copytree(whole / "MNIST", Path(folder) / "MNIST")

    monkeypatch.setattr(datasets, "MNIST", fetched)
    assert len(load("mnist", "test", mnist)) == 10
    assert [child.name for child in (mnist / "MNIST").iterdir()] == ["raw"]


def photographs(root: Path, side: int) -> None:
    """Two classes of noise in Imagenette's layout, 20 to train on and 6 to test."""
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 3)):
        for name in ("n01440764", "n02102040"):
            folder = root / "imagenette2-160" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
                picture.save(folder / f"{number}.JPEG")


def test_no_picture_is_needed_to_name_a_run(tmp_path):
    assert settle_variant("imagenette", tmp_path) == "imagenette"


@pytest.mark.parametrize(
    ("side", "variant", "other"),
    [(160, "imagenette", "imagenette-128"), (128, "imagenette-128", "imagenette")],
)
def test_imagenette_is_read_as_the_variant_that_lies_there(
    tmp_path, monkeypatch, side, variant, other
):
    photographs(tmp_path, side)
    assert settle_variant("imagenette", tmp_path) == variant
    with pytest.raises(DataError, match="holds 20 pictures, not 9469"):
        load(variant, "train", tmp_path, size=16)
    monkeypatch.setattr(imagenette, "COUNTS", {"train": 20, "val": 6})
    with pytest.raises(DataError, match=f"holds {variant}, not {other}"):
        load(other, "train", tmp_path, size=16)
    found = [load(variant, split, tmp_path, size=16) for split in SPLITS]
    assert [len(images) for images in found] == [18, 2, 6]
    assert found[2].variant == variant
    given = {"dataset": "imagenette", "image_size": 16, "patch_size": None}
    p = check("06_larger_data", given | {"execution": {"data_root": str(tmp_path)}})
    assert p.quarter() == 4, "whichever of the two lies there"


def test_a_variant_that_nobody_registered_is_refused(tmp_path, monkeypatch):
    photographs(tmp_path, 24)
    monkeypatch.setattr(imagenette, "COUNTS", {"train": 20, "val": 6})
    assert settle_variant("imagenette", tmp_path) == "imagenette"
    with pytest.raises(DataError, match="holds imagenette-24"):
        load("imagenette", "train", tmp_path, size=16)


def test_a_damaged_first_picture_is_named_before_a_run_is(tmp_path):
    photographs(tmp_path, 16)
    first = tmp_path / "imagenette2-160" / "train" / "n01440764" / "0.JPEG"
    first.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    with pytest.raises(DataError, match=r"0\.JPEG is damaged"):
        settle_variant("imagenette", tmp_path)


def test_a_copy_that_is_not_downloaded_says_where_it_belongs(tmp_path):
    with pytest.raises(DataError, match="put the 128-pixel copy of Imagenette there"):
        load("imagenette-128", "train", tmp_path, size=16)


def test_the_jpeg_copy_of_cifar_says_where_it_belongs(tmp_path):
    with pytest.raises(DataError, match="cifar10-jpeg"):
        load("cifar10-jpeg", "train", tmp_path)


def test_the_jpeg_copy_of_cifar_is_read_from_its_folders(tmp_path):
    for split, count in (("train", 20), ("test", 6)):
        for number in range(count):
            file = tmp_path / "cifar10-jpeg" / split / ("cat", "dog")[number % 2] / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (number, 0, 0)).save(file)
    found = [load("cifar10-jpeg", split, tmp_path) for split in SPLITS]
    assert [len(images) for images in found] == [18, 2, 6]
    assert found[0].classes == ("cat", "dog") and found[0].variant == "cifar10-jpeg"
    assert found[0].images.shape[1:] == (3, 32, 32)


def test_stl10_is_read_in_torchvisions_order_and_known_by_its_split(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    place = tmp_path / "stl10_binary"
    place.mkdir()
    columns = {
        split: random.integers(0, 256, (10, 3, 96, 96), np.uint8) for split in ("train", "test")
    }
    for split, images in columns.items():
        (place / f"{split}_X.bin").write_bytes(images.tobytes())
        (place / f"{split}_y.bin").write_bytes(bytes([*range(1, 11)]))
    (place / "class_names.txt").write_text("\n".join("abcdefghij"))
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    test = load("stl10", "test", tmp_path)
    assert np.array_equal(
        test.images.numpy(), columns["test"].transpose(0, 1, 3, 2)
    )  # stored by column
    assert test.labels.tolist() == list(range(10)) and test.classes == tuple("abcdefghij")
    train = load("stl10", "train", tmp_path)
    assert len(train) == 6 and train.sha256 != test.sha256
    monkeypatch.undo()
    read_once.cache_clear()
    with pytest.raises(DataError, match="stl10_binary is damaged"):
        load("stl10", "test", tmp_path)
