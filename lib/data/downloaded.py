"""Public data sets through torchvision: found under the root, or downloaded into it and checked.

torchvision downloads to the final name and, for the MNIST family, later only looks
whether the files exist. So: what is there is checked against a sha256 of our own
before anything is read; what is missing is downloaded into a folder aside, checked
and moved in as a whole. A truncated file is named, never read. CIFAR comes as
pickles: they are unpickled only once the archive's sha256 and every member's bytes
have been compared.

Splits: the published test set is the test set; validation is carved from the
training set by a fixed permutation (the counts stand in `VALIDATION`).
"""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch

from lib.data.folder import read_folder
from lib.data.pictures import resize_all
from lib.data.registry import DataError, Images, Split, carve, dataset

VALIDATION = {"mnist": 5000, "fashion_mnist": 5000, "kmnist": 5000, "cifar10": 5000, "cifar100": 5000, "stl10": 500}

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
RAW_SHA256 = {  # of the unpacked files, in the order of MNIST_FILES
    "MNIST": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
GZIP_SHA256 = {  # of the archives, where the unpacked files' sums are not published
    "FashionMNIST": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "KMNIST": (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
}
CIFAR_SHA256 = {
    "CIFAR10": ("cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    "CIFAR100": ("cifar-100-python.tar.gz", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
}
ABOUT = {  # licence and citation
    "mnist": ("CC BY-SA 3.0", "LeCun et al. 1998, Gradient-based learning applied to document recognition"),
    "fashion_mnist": ("MIT", "Xiao et al. 2017, arXiv 1708.07747"),
    "kmnist": ("CC BY-SA 4.0", "Clanuwat et al. 2018, arXiv 1812.01718"),
    "cifar10": ("not stated by its authors", "Krizhevsky 2009, Learning multiple layers of features from tiny images"),
    "cifar100": ("not stated by its authors", "Krizhevsky 2009, Learning multiple layers of features from tiny images"),
    "stl10": ("not stated; images from ImageNet", "Coates et al. 2011, An analysis of single-layer networks"),
    "imagenette": ("Apache 2.0 (selection); images from ImageNet", "Howard 2019, Imagenette; Deng et al. 2009, ImageNet"),
}


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(name: str, root: Path, needed: list[str], download) -> None:
    """Bring `needed` (paths below root) by `download(folder)`, unless they are there.

    The download goes to a folder aside and moves in when it is complete, so an
    interrupted one leaves nothing that could be read as data.
    """
    if all((root / part).exists() for part in needed):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
            download(aside)
            for part in Path(aside).iterdir():
                if (root / part.name).is_dir():
                    shutil.rmtree(root / part.name)  # something was missing in it
                part.replace(root / part.name)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"data set {name!r} is not in {root} (looked for {needed[0]}) and could not be downloaded ({error}). "
            f"Connect to the network, give data_root a folder that holds it, or use an embedded set: digits or photos"
        ) from error


def from_arrays(name: str, split: Split, size: int | None, images: np.ndarray, labels, classes, digest: str) -> Images:
    """Carve the split and resize; `images` are [count, height, width, channels]."""
    licence, citation = ABOUT[name]
    chosen = np.arange(len(images)) if split == "test" else carve(split, len(images), VALIDATION[name]).numpy()
    return Images(
        images=torch.from_numpy(resize_all(images[chosen], size)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.as_tensor(np.asarray(labels)[chosen].astype(np.int64)),
        classes=tuple(classes),
        variant=name,
        sha256=digest,
        licence=licence,
        citation=citation,
    )


def mnist_family(name: str, torchvision_name: str):
    """Register MNIST or a set that is laid out like it."""

    @dataset(name, native=28)
    def read(split: Split, root: Path, size: int | None, path: str) -> Images:
        from torchvision import datasets

        source = getattr(datasets, torchvision_name)
        needed = [f"{torchvision_name}/raw/{file}" for file in MNIST_FILES]
        fetch(name, root, needed, lambda folder: source(folder, download=True))
        digest = check_mnist(torchvision_name, root / torchvision_name / "raw")
        data = source(root, train=split != "test", download=False)
        return from_arrays(name, split, size, data.data.numpy()[..., None], data.targets.numpy(), data.classes, digest)


def check_mnist(name: str, raw: Path) -> str:
    """Compare the unpacked files with published sums and return one sum over them. Raises DataError."""
    sums = [sha256(raw / file) for file in MNIST_FILES]
    for number, (file, found) in enumerate(zip(MNIST_FILES, sums, strict=True)):
        if name in RAW_SHA256:
            expected = RAW_SHA256[name][number]
        else:
            expected = unpacked_sha256(raw / f"{file}.gz", GZIP_SHA256[name][number])
        if found != expected:
            raise DataError(f"{raw / file} is damaged (sha256 {found[:12]}…, expected {expected[:12]}…): delete it and run again")
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def unpacked_sha256(archive: Path, expected: str) -> str:
    """The sha256 of what a checked archive holds."""
    if not archive.exists() or sha256(archive) != expected:
        raise DataError(f"{archive} is missing or damaged, so its unpacked file cannot be checked: delete {archive.parent} and run again")
    return hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest()


def cifar(name: str, torchvision_name: str, folder: str):
    """Register a CIFAR set."""

    @dataset(name, native=32)
    def read(split: Split, root: Path, size: int | None, path: str) -> Images:
        from torchvision import datasets

        source = getattr(datasets, torchvision_name)
        archive, expected = CIFAR_SHA256[torchvision_name]
        fetch(name, root, [folder, archive], lambda aside: download_cifar(source, Path(aside), archive, expected))
        check_archive(root / archive, expected, root)
        data = source(root, train=split != "test", download=False)  # unpickles, after the check above
        return from_arrays(name, split, size, data.data, data.targets, data.classes, expected)


def download_cifar(source, folder: Path, archive: str, expected: str) -> None:
    """Fetch and unpack an archive whose sha256 is right; torchvision's own download unpickles before we could look."""
    from torchvision.datasets import utils

    utils.download_url(source.url, folder, archive, source.tgz_md5)
    check_sum(folder / archive, expected)
    utils.extract_archive(folder / archive, folder)


def check_sum(archive: Path, expected: str) -> None:
    """Raises DataError where an archive's sha256 is another."""
    found = sha256(archive)
    if found != expected:
        raise DataError(f"{archive} is damaged (sha256 {found[:12]}…, expected {expected[:12]}…): delete it and run again")


def check_archive(archive: Path, expected: str, root: Path) -> None:
    """Check an archive's sha256 and that the unpacked files equal its members. Raises DataError."""
    check_sum(archive, expected)
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isfile() and (root / member.name).read_bytes() != packed.extractfile(member).read():
                raise DataError(f"{root / member.name} differs from {archive.name}: delete the folder and run again")


@dataset("stl10", native=96)
def stl10(split: Split, root: Path, size: int | None, path: str) -> Images:
    """The 5000 labelled training images; torchvision checks the unpacked files itself."""
    from torchvision import datasets

    fetch("stl10", root, ["stl10_binary"], lambda aside: datasets.STL10(aside, download=True))
    try:
        data = datasets.STL10(root, split="test" if split == "test" else "train", download=False)
    except RuntimeError as error:
        raise DataError(f"{root / 'stl10_binary'} is damaged ({error}): delete it and run again") from error
    digest = sha256(root / "stl10_binary" / ("test_X.bin" if split == "test" else "train_X.bin"))
    return from_arrays("stl10", split, size, data.data.transpose(0, 2, 3, 1), data.labels, data.classes, digest)


@dataset("cifar10-jpeg", native=32)
def cifar10_jpeg(split: Split, root: Path, size: int | None, path: str) -> Images:
    """A copy of CIFAR-10 as JPEG (quality 75), so not bit-equal to the original: train/ and test/ in root/cifar10-jpeg."""
    place = root / "cifar10-jpeg"
    if not place.is_dir():
        raise DataError(
            f"no folder {place}: unpack the JPEG copy of CIFAR-10 there (train/ and test/ with a folder per class), or use cifar10"
        )
    return read_folder(place, split, size, "cifar10-jpeg", *ABOUT["cifar10"])


for _name, _torchvision_name in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")):
    mnist_family(_name, _torchvision_name)
cifar("cifar10", "CIFAR10", "cifar-10-batches-py")
cifar("cifar100", "CIFAR100", "cifar-100-python")
