import numpy as np
import pytest
import torch

from lib.data import DATASETS, DataError, load
from lib.data.embedded import GAP, PHOTOS, photo_file, regions
from lib.data.registry import SPLITS, carve, permutation

EMBEDDED = [name for name, entry in DATASETS.items() if entry.embedded]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_are_bytes_with_labels_and_a_source(name):
    for split in SPLITS:
        found = load(name, split)
        assert found.images.dtype == torch.uint8 and found.images.ndim == 4 and found.images.is_contiguous()
        assert found.images.shape[2:] == (DATASETS[name].native,) * 2
        assert len(found.labels) == len(found) and set(found.labels.tolist()) == set(range(len(found.classes)))
        assert found.licence and found.citation and len(found.sha256) == 64 and found.variant == name


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_image_lies_in_two_splits(name):
    seen = [{image.numpy().tobytes() for image in load(name, split).images} for split in SPLITS]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_size_is_honoured_and_reading_twice_gives_the_same(name):
    small = load(name, "test", size=12)
    assert small.images.shape[2:] == (12, 12)
    from lib.data.registry import read_once

    read_once.cache_clear()
    assert torch.equal(small.images, load(name, "test", size=12).images)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source = load_digits()
    joined = torch.cat([load("digits", split).images for split in SPLITS])[:, 0]
    assert np.array_equal(joined.numpy(), (source.images * 255 / 16).round().astype("uint8"))
    assert torch.cat([load("digits", split).labels for split in SPLITS]).tolist() == source.target.tolist()


@pytest.mark.parametrize("size", [(640, 427), (300, 451), (512, 512)])
def test_regions_of_a_photograph_do_not_touch(size):
    boxes = list(regions(*size).values())
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        for other in boxes[i + 1 :]:
            apart = max(other[0] - right, left - other[2], other[1] - bottom, top - other[3])
            assert apart >= GAP


def test_photographs_are_read_from_installed_packages():
    assert all("site-packages" in str(photo_file(label)) and photo_file(label).is_file() for label in PHOTOS)


def test_a_subset_is_the_start_of_a_fixed_permutation():
    whole, some = load("digits", "train"), load("digits", "train", subset=50)
    assert torch.equal(some.images, whole.images[permutation(len(whole))[:50]])
    assert torch.equal(some.labels, whole.labels[permutation(len(whole))[:50]])
    assert torch.equal(load("digits", "train", subset=10).images, some.images[:10])


def test_validation_is_carved_once_and_for_all():
    train, validation = carve("train", 100, 10), carve("validation", 100, 10)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(100)) and len(validation) == 10
    assert torch.equal(validation, carve("validation", 100, 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digitz", "train"), "unknown data set 'digitz'.*digits"),
        (("digits", "val"), "unknown split 'val'.*validation"),
        (("folder", "train"), "folder:PATH"),
        (("digits:x", "train"), "unknown data set"),
        (("digits", "train", "data", 0), "image size 0"),
        (("digits", "train", "data", None, 0), "subset of 0"),
        (("folder:no/such/place", "train"), "there is no folder"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_way_on(arguments, message):
    with pytest.raises(DataError, match=message):
        load(*arguments)
