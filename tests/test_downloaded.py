"""Readers of downloaded sets, on small files made here in their published layouts; no network."""

import gzip
import hashlib
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from lib.data import DataError, downloaded, imagenette, load, settle_variant
from lib.data.registry import read_once


@pytest.fixture(autouse=True)
def small_validation(monkeypatch):
    monkeypatch.setattr(downloaded, "VALIDATION", dict.fromkeys(downloaded.VALIDATION, 4))
    read_once.cache_clear()


def idx(array: np.ndarray) -> bytes:
    """The idx format of the MNIST family."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.astype("uint8").tobytes()


def mnist_files(count=20):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (n, 28, 28)) for n in (count, count // 2)]
    labels = [np.arange(n) % 10 for n in (count, count // 2)]
    return dict(zip(downloaded.MNIST_FILES, map(idx, (images[0], labels[0], images[1], labels[1])), strict=True))


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
    found = {split: load("mnist", split, mnist) for split in ("train", "validation", "test")}
    assert [tuple(images.images.shape) for images in found.values()] == [(16, 1, 28, 28), (4, 1, 28, 28), (10, 1, 28, 28)]
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


def test_raw_files_are_checked_through_their_archives_where_only_those_have_published_sums(tmp_path, monkeypatch):
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


def test_cifar_is_not_unpickled_where_an_unpacked_file_differs_from_the_archive(tmp_path, monkeypatch):
    archive = cifar(tmp_path, lambda name: pickle.dumps({"name": name}))
    monkeypatch.setitem(downloaded.CIFAR_SHA256, "CIFAR10", (archive.name, downloaded.sha256(archive)))
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"data_batch_3 differs from cifar-10-python\.tar\.gz"):
        load("cifar10", "train", tmp_path)


def test_offline_and_absent_names_the_set_the_place_and_the_ways_on(tmp_path, monkeypatch):
    from torchvision import datasets

    def offline(*arguments, **names):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets, "MNIST", offline)
    with pytest.raises(DataError, match=f"'mnist' is not in {tmp_path}.*no network.*data_root.*digits or photos"):
        load("mnist", "train", tmp_path)


def test_an_interrupted_download_leaves_nothing_that_is_read(tmp_path, monkeypatch):
    from torchvision import datasets

    def half(folder, **names):
        import pathlib

        raw = pathlib.Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / downloaded.MNIST_FILES[0]).write_bytes(b"half")
        raise OSError("connection lost")

    monkeypatch.setattr(datasets, "MNIST", half)
    with pytest.raises(DataError, match="connection lost"):
        load("mnist", "train", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_complete_download_moves_in_and_is_read(tmp_path, mnist, monkeypatch):
    from torchvision import datasets

    real = datasets.MNIST
    other = tmp_path / "elsewhere"

    def fetched(folder, *, download=False, **names):
        if download:
            import shutil

            shutil.copytree(mnist / "MNIST", f"{folder}/MNIST")
            return None
        return real(folder, download=False, **names)

    monkeypatch.setattr(datasets, "MNIST", fetched)
    assert len(load("mnist", "test", other)) == 10
    assert [child.name for child in other.iterdir()] == ["MNIST"]


@pytest.mark.parametrize(("side", "variant"), [(160, "imagenette"), (128, "imagenette-128"), (24, None)])
def test_imagenette_names_its_variant_and_is_refused_when_incomplete(tmp_path, monkeypatch, side, variant):
    assert settle_variant("imagenette", tmp_path) == "imagenette", "no picture is needed to name a run"
    random = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 3)):
        for name in ("n01440764", "n02102040"):
            folder = tmp_path / "imagenette2-160" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{number}.JPEG")
    assert settle_variant("imagenette", tmp_path) == (variant or "imagenette")
    with pytest.raises(DataError, match="holds 20 pictures, not 9469"):
        load(variant or "imagenette", "train", tmp_path, size=16)
    monkeypatch.setattr(imagenette, "COUNTS", {"train": 20, "val": 6})
    if variant is None:
        with pytest.raises(DataError, match="holds imagenette-24"):
            load("imagenette", "train", tmp_path, size=16)
        return
    with pytest.raises(DataError, match=f"holds {variant}"):
        load({"imagenette": "imagenette-128"}.get(variant, "imagenette"), "train", tmp_path, size=16)
    found = {split: load(variant, split, tmp_path, size=16) for split in ("train", "validation", "test")}
    assert [len(images) for images in found.values()] == [18, 2, 6] and found["test"].variant == variant


def test_the_jpeg_copy_of_cifar_says_where_it_belongs(tmp_path):
    with pytest.raises(DataError, match="cifar10-jpeg"):
        load("cifar10-jpeg", "train", tmp_path)
