"""Public data sets through torchvision: found under the root, or downloaded into it and checked.

torchvision downloads to the final name and, for the MNIST family, later only looks whether
the files exist. So: what is there is checked against a sha256 of our own before anything is
read; what is missing is downloaded into a folder aside, checked and moved in as a whole. A
truncated file is named, never read. CIFAR comes as pickles: they are unpickled only once the
archive's sha256 and every member's bytes have been compared.

Splits: the published test set is the test set; validation is carved from the training set by
a fixed permutation (the counts stand in `VALIDATION`).
"""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from lib.data.folder import read_folder
from lib.data.pictures import resize_all
from lib.data.registry import DataError, Images, Split, carve, dataset
from lib.files import only_one, sha256

VALIDATION = {
    "mnist": 5000,
    "fashion_mnist": 5000,
    "kmnist": 5000,
    "cifar10": 5000,
    "cifar100": 5000,
    "stl10": 500,
}

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
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
    "CIFAR10": (
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "CIFAR100": (
        "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
}
KRIZHEVSKY = (
    "not stated by its authors",
    "Krizhevsky 2009, Learning multiple layers of features from tiny images",
)
ABOUT = {  # licence and citation
    "mnist": (
        "CC BY-SA 3.0",
        "LeCun et al. 1998, Gradient-based learning applied to document recognition",
    ),
    "fashion_mnist": ("MIT", "Xiao et al. 2017, arXiv 1708.07747"),
    "kmnist": ("CC BY-SA 4.0", "Clanuwat et al. 2018, arXiv 1812.01718"),
    "cifar10": KRIZHEVSKY,
    "cifar100": KRIZHEVSKY,
    "stl10": (
        "not stated; images from ImageNet",
        "Coates et al. 2011, An analysis of single-layer networks",
    ),
    "imagenette": (
        "Apache 2.0 (selection); images from ImageNet",
        "Howard 2019, Imagenette; Deng et al. 2009, ImageNet",
    ),
}


def torchvision_datasets() -> ModuleType:
    """torchvision's readers, imported when one is used: they take a second to load."""
    from torchvision import datasets

    return datasets


def damaged(file: Path, found: str, expected: str) -> DataError:
    return DataError(
        f"{file} is damaged (sha256 {found[:12]}…, expected {expected[:12]}…): "
        f"delete it and run again"
    )


def fetch(name: str, root: Path, needed: list[str], download: Callable[[Path], object]) -> None:
    """Bring `needed` (paths below root) by `download(folder)`, unless they are there.

    The download goes to a folder aside and moves in when it is complete, so an interrupted
    one leaves nothing that could be read as data. Raises DataError where that fails.
    """
    if all((root / part).exists() for part in needed):
        return
    try:
        with only_one(root / f".download-{name}"):  # others that ask for it wait
            if not all((root / part).exists() for part in needed):
                download_aside(root, download)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"data set {name!r} is not in {root} (looked for {needed[0]}) and could not be "
            f"downloaded ({error}). Connect to the network, give data_root a folder that holds "
            f"it, or use an embedded set: mnist-5k, digits or photos"
        ) from error


def download_aside(root: Path, download: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as aside:
        download(Path(aside))
        for part in Path(aside).iterdir():
            if (root / part.name).is_dir():
                shutil.rmtree(root / part.name)  # something was missing in it
            part.replace(root / part.name)


def from_arrays(
    name: str,
    split: Split,
    size: int | None,
    images: UInt8[np.ndarray, "count height width channels"],
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    digest: str,
) -> Images:
    """Carve the split out of a set's training or test images, and resize it."""
    licence, citation = ABOUT[name]
    if split == "test":
        chosen = np.arange(len(images))
    else:
        chosen = carve(split, len(images), VALIDATION[name]).numpy()
    return Images(
        images=torch.from_numpy(resize_all(images[chosen], size)).permute(0, 3, 1, 2).contiguous(),
        labels=torch.as_tensor(np.asarray(labels)[chosen].astype(np.int64)),
        classes=tuple(classes),
        variant=name,
        sha256=digest,
        licence=licence,
        citation=citation,
    )


def mnist_family(name: str, torchvision_name: str) -> None:
    """Register MNIST or a set that is laid out like it."""

    @dataset(name)
    def read(split: Split, root: Path, size: int | None, path: str) -> Images:
        source = getattr(torchvision_datasets(), torchvision_name)

        def download(folder: Path) -> None:
            source(folder, download=True)

        needed = [f"{torchvision_name}/raw/{file}" for file in MNIST_FILES]
        fetch(name, root, needed, download)
        digest = check_mnist(torchvision_name, root / torchvision_name / "raw")
        data = source(root, train=split != "test", download=False)
        images = data.data.numpy()[..., None]
        return from_arrays(name, split, size, images, data.targets.numpy(), data.classes, digest)


def check_mnist(name: str, raw: Path) -> str:
    """Compare the unpacked files with published sums and return one sum over them.

    Raises DataError for a damaged file.
    """
    sums = [sha256(raw / file) for file in MNIST_FILES]
    for number, (file, found) in enumerate(zip(MNIST_FILES, sums, strict=True)):
        if name in RAW_SHA256:
            expected = RAW_SHA256[name][number]
        else:
            expected = unpacked_sha256(raw / f"{file}.gz", GZIP_SHA256[name][number])
        if found != expected:
            raise damaged(raw / file, found, expected)
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def unpacked_sha256(archive: Path, expected: str) -> str:
    """The sha256 of what a checked archive holds. Raises DataError for another archive."""
    if not archive.exists() or sha256(archive) != expected:
        raise DataError(
            f"{archive} is missing or damaged, so its unpacked file cannot be checked: "
            f"delete {archive.parent} and run again"
        )
    return hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest()


def cifar(name: str, torchvision_name: str, folder: str) -> None:
    """Register a CIFAR set."""

    @dataset(name)
    def read(split: Split, root: Path, size: int | None, path: str) -> Images:
        source = getattr(torchvision_datasets(), torchvision_name)
        archive, expected = CIFAR_SHA256[torchvision_name]

        def download(aside: Path) -> None:
            download_cifar(source, aside, archive, expected)

        fetch(name, root, [folder, archive], download)
        check_archive(root / archive, expected, root)
        # This unpickles what was just found to be the published bytes.
        data = source(root, train=split != "test", download=False)
        return from_arrays(name, split, size, data.data, data.targets, data.classes, expected)


def download_cifar(source: Any, folder: Path, archive: str, expected: str) -> None:
    """Fetch and unpack an archive whose sha256 is right.

    `source` is torchvision's class; its own download unpickles before we could look.
    """
    utils = torchvision_datasets().utils
    utils.download_url(source.url, folder, archive, source.tgz_md5)
    check_sum(folder / archive, expected)
    utils.extract_archive(folder / archive, folder)


def check_sum(archive: Path, expected: str) -> None:
    """Raises DataError where an archive's sha256 is another."""
    found = sha256(archive)
    if found != expected:
        raise damaged(archive, found, expected)


def check_archive(archive: Path, expected: str, root: Path) -> None:
    """Check an archive's sha256 and that the unpacked files equal its members.

    Raises DataError where they do not.
    """
    check_sum(archive, expected)
    with tarfile.open(archive) as packed:
        for member in packed:
            if not member.isfile():
                continue
            if (root / member.name).read_bytes() != packed.extractfile(member).read():
                raise DataError(
                    f"{root / member.name} differs from {archive.name}: "
                    f"delete the folder and run again"
                )


@dataset("stl10")
def stl10(split: Split, root: Path, size: int | None, path: str) -> Images:
    """The 5000 labelled training images; torchvision checks the unpacked files itself."""
    source = torchvision_datasets().STL10

    def download(folder: Path) -> None:
        source(folder, download=True)

    fetch("stl10", root, ["stl10_binary"], download)
    part = "test" if split == "test" else "train"
    try:
        data = source(root, split=part, download=False)
    except RuntimeError as error:
        raise DataError(
            f"{root / 'stl10_binary'} is damaged ({error}): delete it and run again"
        ) from error
    digest = sha256(root / "stl10_binary" / f"{part}_X.bin")
    images = data.data.transpose(0, 2, 3, 1)
    return from_arrays("stl10", split, size, images, data.labels, data.classes, digest)


@dataset("cifar10-jpeg", version=2)
def cifar10_jpeg(split: Split, root: Path, size: int | None, path: str) -> Images:
    """A copy of CIFAR-10 as JPEG (quality 75), so not bit-equal to the original.

    It lies in root/cifar10-jpeg, with train/ and test/.
    """
    place = root / "cifar10-jpeg"
    if not place.is_dir():
        raise DataError(
            f"no folder {place}: unpack the JPEG copy of CIFAR-10 there (train/ and test/ with "
            f"a folder per class), or use cifar10"
        )
    return read_folder(place, split, size, "cifar10-jpeg", *ABOUT["cifar10"])


mnist_family("mnist", "MNIST")
mnist_family("fashion_mnist", "FashionMNIST")
mnist_family("kmnist", "KMNIST")
cifar("cifar10", "CIFAR10", "cifar-10-batches-py")
cifar("cifar100", "CIFAR100", "cifar-100-python")
