"""The reader's own pictures: layouts, splits, sums, odd files, and the cache of decoded images."""

import errno
import os
import resource
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import cache, folder
from lib.data.folder import read_folder
from lib.data.pictures import open_rgb
from lib.data.registry import DATASETS, SPLITS, DataError, Images, carve, describe, load, read_once


@pytest.fixture(autouse=True)
def fresh_reads():
    read_once.cache_clear()


def paint(file: Path, colour=(200, 10, 10), size=(20, 16), mode="RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


def splits_of(place: Path, size: int | None = 8) -> dict[str, Images]:
    """All splits, read from the files as they are now."""
    read_once.cache_clear()
    return {split: load(f"folder:{place}", split, size=size) for split in SPLITS}


def sums_of(place: Path) -> dict[str, str]:
    return {split: images.sha256 for split, images in splits_of(place).items()}


def colours(images: Images) -> set[tuple[int, ...]]:
    return {tuple(image[:, 4, 4].tolist()) for image in images.images}


@pytest.fixture
def classes(tmp_path):
    for number in range(30):
        paint(tmp_path / "red" / f"{number}.png", (255 - number, 0, 0))
        paint(tmp_path / "blue" / f"{number}.png", (0, 0, 255 - number), size=(16, 24))
    return tmp_path


@pytest.fixture
def own_splits(tmp_path):
    """A folder for each split, with two classes each; every picture has a colour of its own."""
    place = tmp_path / "set"
    for part, split in enumerate(SPLITS):
        for number in range(8):
            file = place / split / "ab"[number % 2] / f"{number}.png"
            paint(file, (10 * number, 80 * part, 7))
    return place


# --- layouts


def test_a_folder_per_class_gives_labels_and_disjoint_splits(classes):
    found = splits_of(classes)
    assert [len(images) for images in found.values()] == [48, 6, 6]
    assert found["train"].classes == ("blue", "red")
    assert found["train"].variant == f"folder-{classes.name}"
    seen = [colours(images) for images in found.values()]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    for images in found.values():
        is_red = images.images[:, 0, 4, 4] > 0
        assert torch.equal(is_red, images.labels == 1)


def test_pictures_without_classes_have_no_labels(tmp_path):
    for number in range(12):
        paint(tmp_path / f"{number}.jpg")
    assert load(f"folder:{tmp_path}", "train", size=8).labels is None


def test_own_splits_are_used(tmp_path):
    for split, count in (("train", 20), ("test", 5)):
        for number in range(count):
            blue = 100 if split == "train" else 200
            paint(tmp_path / split / "a" / f"{number}.png", (number, number, blue))
    found = splits_of(tmp_path)
    assert {split: len(images) for split, images in found.items()} == {
        "train": 18,
        "validation": 2,
        "test": 5,
    }
    assert (found["validation"].images[:, 2] == 100).all(), "validation comes from train"


LAYOUTS = [
    ("train",),
    ("train", "valid"),
    ("train", "val"),
    ("train", "test"),
    ("train", "val", "test"),
    ("train", "validation", "test"),
    (),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_picture_is_in_two_splits_whatever_the_layout(tmp_path, layout):
    for part, name in enumerate(layout or ("",)):
        for number in range(20):
            file = tmp_path / name / "ab"[number % 2] / f"{number}.png"
            paint(file, (10 * number, 80 * part, 7))
    seen = {split: colours(images) for split, images in splits_of(tmp_path).items()}
    every = 20 * max(1, len(layout))
    assert sum(map(len, seen.values())) == every == len(set.union(*seen.values()))
    if "test" in layout:
        assert {colour[1] for colour in seen["test"]} == {80 * layout.index("test")}
    if layout == ("train", "val"):
        assert {colour[1] for colour in seen["test"]} == {80}, "val alone is the test set"


def test_classes_are_numbered_alike_in_all_splits(tmp_path):
    for number in range(20):
        paint(tmp_path / "train" / "abc"[number % 3] / f"{number}.png")
        paint(tmp_path / "test" / "c" / f"{number}.png")
    assert load(f"folder:{tmp_path}", "test", size=8).labels.tolist() == [2] * 20


def test_splits_of_which_only_one_has_classes_are_refused(tmp_path):
    for number in range(4):
        paint(tmp_path / "train" / "a" / f"{number}.png")
        paint(tmp_path / "test" / f"{number}.png")
    with pytest.raises(DataError, match="lay them all out alike"):
        load(f"folder:{tmp_path}", "test", size=8)


def test_a_class_called_train_is_not_taken_for_the_training_images(tmp_path):
    for name in ("bus", "car", "train"):
        for number in range(4):
            paint(tmp_path / name / f"{number}.png")
    with pytest.raises(DataError, match="in train and in bus: is train a class"):
        load(f"folder:{tmp_path}", "train", size=8)


def test_what_may_not_be_read_beside_the_training_images_is_no_class(tmp_path, locked):
    """As lost+found on a disk of its own."""
    for number in range(4):
        paint(tmp_path / "train" / f"{number}.png")
    (tmp_path / "lost+found").mkdir()
    locked.add("lost+found")
    assert len(load(f"folder:{tmp_path}", "train", size=8)) == 2


def test_a_folder_of_three_pictures_is_too_few(tmp_path):
    for number in range(3):
        paint(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match="give at least 4"):
        load(f"folder:{tmp_path}", "train", size=8)
    paint(tmp_path / "3.png")
    assert len(load(f"folder:{tmp_path}", "train", size=8)) == 2


def test_a_class_that_may_not_be_read_is_named(classes, locked):
    locked.add("blue")
    with pytest.raises(DataError, match="blue cannot be read"):
        splits_of(classes)


def test_test_without_train_is_refused(tmp_path):
    paint(tmp_path / "test" / "a.png")
    with pytest.raises(DataError, match="none called train"):
        load(f"folder:{tmp_path}", "train", size=8)


def test_a_folder_without_pictures_is_named_and_one_above_the_pictures_told(tmp_path):
    with pytest.raises(DataError, match="no picture"):
        load(f"folder:{tmp_path}", "train")
    paint(tmp_path / "set" / "cats" / "a.png")
    with pytest.raises(DataError, match=r"a level deeper there is .*set/cats/a\.png"):
        load(f"folder:{tmp_path}", "train")


def test_a_folder_with_its_own_test_set_is_carved_as_all_other_sets_are(tmp_path):
    """The last tenth of a fixed permutation validates."""
    for number in range(40):
        for part in ("train", "test"):
            paint(tmp_path / part / "a" / f"{number:02}.png", number, size=(4, 4), mode="L")
    for split in ("train", "validation"):
        shades = load(f"folder:{tmp_path}", split).images[:, 0, 0, 0].tolist()
        assert shades == carve(split, 40, 4).tolist()


def test_links_out_of_the_folder_are_not_followed(classes, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    paint(outside / "secret.png", (1, 2, 3))
    (classes / "red" / "link.png").symlink_to(outside / "secret.png")
    (classes / "green").symlink_to(outside)
    found = splits_of(classes)
    assert sum(len(images) for images in found.values()) == 60
    assert found["train"].classes == ("blue", "red")
    assert found["train"].loose == found["train"].deep == ()


def test_a_link_to_a_picture_of_another_split_is_not_followed(own_splits):
    (own_splits / "test" / "a" / "link.png").symlink_to(own_splits / "train" / "a" / "0.png")
    (own_splits / "test" / "a" / "own.png").symlink_to(own_splits / "test" / "a" / "0.png")
    assert len(load(f"folder:{own_splits}", "test", size=8)) == 9


# --- what is left out


def test_pictures_beside_the_class_folders_and_too_deep_are_told(classes):
    assert "left out" not in describe(splits_of(classes))
    paint(classes / "beside.png")
    paint(classes / "red" / "more" / "1.png")
    paint(classes / "red" / "more" / "2.png")
    paint(classes / "green" / "more" / "3.png")
    (classes / "red" / "notes.txt").write_text("no picture")
    found = splits_of(classes)
    assert sum(len(images) for images in found.values()) == 60
    for images in found.values():
        assert images.loose == ("beside.png",)
        assert images.deep == ("green/more/3.png", "red/more/1.png", "red/more/2.png")
    assert describe(found).splitlines()[-2:] == [
        "left out: 1 beside the folders that are read, such as 'beside.png'",
        "left out: 3 in folders a level too deep, such as 'green/more/3.png'",
    ]


def test_pictures_beside_the_folders_of_splits_are_told(own_splits):
    paint(own_splits / "beside.png")
    paint(own_splits / "train" / "beside.png")
    paint(own_splits / "extra" / "1.png")
    paint(own_splits / "extra" / "a" / "2.png")
    paint(own_splits / "val" / "a" / "3.png")  # beside `validation`, which is read
    paint(own_splits / "test" / "a" / "deeper" / "4.png")
    found = splits_of(own_splits)
    assert [len(images) for images in found.values()] == [8, 8, 8]
    assert found["test"].loose == (
        "beside.png",
        "extra/1.png",
        "extra/a/2.png",
        "train/beside.png",
        "val/a/3.png",
    )
    assert found["test"].deep == ("test/a/deeper/4.png",)


def test_what_is_left_out_is_told_though_the_images_come_from_the_cache(classes, monkeypatch):
    splits_of(classes)
    monkeypatch.setattr(folder, "decode", lambda *arguments, **names: pytest.fail("decoded again"))
    paint(classes / "beside.png")
    assert splits_of(classes)["train"].loose == ("beside.png",)


def test_a_huge_picture_is_skipped(classes, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 400)
    paint(classes / "red" / "huge.png", size=(25, 25))
    with pytest.warns(UserWarning, match=r"huge\.png"):
        found = splits_of(classes)
    assert [name for images in found.values() for name in images.skipped] == ["red/huge.png"]


def test_a_broken_file_is_skipped_named_and_counted(classes):
    (classes / "red" / "broken.png").write_bytes((classes / "red" / "1.png").read_bytes()[:30])
    (classes / "red" / "text.jpg").write_text("not a picture")
    with pytest.warns(UserWarning) as warned:
        found = splits_of(classes)
    assert all(any(name in str(w.message) for w in warned) for name in ("broken.png", "text.jpg"))
    for again in (found, splits_of(classes)):  # decoded, and from the cache
        skipped = [name for images in again.values() for name in images.skipped]
        assert sorted(skipped) == ["red/broken.png", "red/text.jpg"]
        assert "left out: 2 that cannot be read, such as 'red/" in describe(again)


# --- sizes and modes


def test_sizes_that_differ_need_a_size(classes):
    with pytest.raises(DataError, match=r"2 sizes.*give a size.*image_size"):
        load(f"folder:{classes}", "train")


@pytest.mark.parametrize("size", [(2, 5), (5, 2), (1, 1)])
def test_pictures_too_small_for_a_measure_need_a_size(tmp_path, size, monkeypatch):
    for number in range(6):
        paint(tmp_path / f"{number}.png", size=size)
    with pytest.raises(DataError, match=r"\.png' has images of .*give image_size"):
        load(f"folder:{tmp_path}", "train")
    assert load(f"folder:{tmp_path}", "train", size=3).images.shape == (4, 3, 3, 3)


def test_pictures_too_small_are_refused_at_the_first(tmp_path, monkeypatch):
    for number in range(30):
        paint(tmp_path / f"{number}.png", size=(2, 2))
    read = []
    monkeypatch.setattr(folder, "open_rgb", lambda path: read.append(path) or open_rgb(path))
    with pytest.raises(DataError):
        load(f"folder:{tmp_path}", "train")
    assert len(read) == 1


def test_exif_grey_and_transparent_pictures(tmp_path):
    upright = Image.new("RGB", (10, 20), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 10, 5))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "turned.png")), np.asarray(upright))
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.png")
    assert np.asarray(open_rgb(tmp_path / "grey.png")).tolist() == [[[77] * 3] * 4] * 4
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(open_rgb(tmp_path / "clear.png")) == 255).all()
    for name, kind in (("deep", np.uint16), ("shallow", np.uint8)):
        grey = Image.fromarray(np.array([[0, 7], [7, 0]], dtype=kind))
        grey.save(tmp_path / f"{name}.png", transparency=0)
        assert (
            np.asarray(open_rgb(tmp_path / f"{name}.png"))[:, :, 0].diagonal().tolist() == [255] * 2
        )


BRIGHT = [0.0, 0.25, 0.5, 1.0]
DEEP = {
    "16-bit png": ("a.png", np.uint16, [0, 257, 25700, 65535], [0, 1, 100, 255]),
    "16-bit tiff": ("a.tif", np.uint16, [0, 257, 25700, 65535], [0, 1, 100, 255]),
    "32-bit tiff": ("a.tif", np.int32, [0, 257, 25700, 65535], [0, 1, 100, 255]),
    "32-bit tiff, dark": ("a.tif", np.int32, [0, 1, 200, 257], [0, 0, 1, 1]),
    "32-bit tiff, below 256": ("a.tif", np.int32, [0, 10, 100, 255], [0, 0, 0, 1]),
    "float tiff": ("a.tif", np.float32, BRIGHT, [0, 64, 128, 255]),
    "float tiff, dark": ("a.tif", np.float32, [0, 0.01, 0.1, 0.2], [0, 3, 26, 51]),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_pictures_are_scaled_by_their_type_and_not_by_their_values(tmp_path, name):
    file, kind, values, expected = DEEP[name]
    Image.fromarray(np.array([values] * 4, dtype=kind)).save(tmp_path / file)
    found = np.asarray(open_rgb(tmp_path / file))
    assert found.tolist() == [[[value] * 3 for value in expected]] * 4


OUT_OF_RANGE = {
    "bytes as floats": (np.float32, [0, 100, 200, 255], "floats from 0 to 255, and 0 to 1"),
    "negative floats": (np.float32, [-0.1, 0, 0, 1], "floats from -0.1 to 1"),
    "no numbers": (np.float32, [0, 0, 1, np.nan], "floats from nan to nan"),
    "above 16 bits": (np.int32, [0, 1, 2, 65536], "integers from 0 to 65536, and 0 to 65535"),
    "negative integers": (np.int32, [-1, 0, 1, 2], "integers from -1 to 2"),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_values_that_a_type_does_not_hold_are_refused_by_name(tmp_path, name):
    kind, values, message = OUT_OF_RANGE[name]
    for number in range(5):
        paint(tmp_path / f"{number}.png", size=(4, 4))
    Image.fromarray(np.array([values] * 4, dtype=kind)).save(tmp_path / "odd.tif")
    with pytest.raises(ValueError, match=rf"'odd\.tif' holds {message}.*8 or 16 bits"):
        open_rgb(tmp_path / "odd.tif")
    with pytest.warns(UserWarning, match=r"skipped .*odd\.tif.*rescale it"):
        found = splits_of(tmp_path)
    assert [name for images in found.values() for name in images.skipped] == ["odd.tif"]


# --- what a sha256 covers


def moved(place: Path, source: str, target: str) -> None:
    (place / target).parent.mkdir(parents=True, exist_ok=True)
    (place / source).rename(place / target)


def swapped(place: Path, one: str, other: str) -> None:
    moved(place, one, "aside")
    moved(place, other, one)
    moved(place, "aside", other)


def without_classes(place: Path) -> None:
    for split in SPLITS:
        for file in sorted((place / split).glob("*/*.png")):
            file.rename(place / split / file.name)
        for child in "ab":
            (place / split / child).rmdir()


CHANGES = {  # what is done, and whose sums change
    "another class": (lambda p: moved(p, "train/a/0.png", "train/b/00.png"), {"train"}),
    "swapped classes": (lambda p: swapped(p, "test/a", "test/b"), {"test"}),
    "classes removed": (without_classes, set(SPLITS)),
    "a class renamed": (lambda p: [moved(p, f"{s}/a", f"{s}/c") for s in SPLITS], set(SPLITS)),
    "a class added": (lambda p: paint(p / "test" / "c" / "1.png"), set(SPLITS)),
    "a picture renamed": (lambda p: moved(p, "train/a/0.png", "train/a/00.png"), {"train"}),
    "another split": (
        lambda p: moved(p, "train/a/0.png", "validation/a/z.png"),
        {"train", "validation"},
    ),
    "swapped splits": (lambda p: swapped(p, "train", "test"), {"train", "test"}),
    "a picture removed": (lambda p: (p / "test/a/0.png").unlink(), {"test"}),
    "other pixels": (lambda p: paint(p / "test/a/0.png", (9, 9, 9)), {"test"}),
    "nothing": (lambda p: None, set()),
    "a picture too deep": (lambda p: paint(p / "test/a/b/0.png"), set()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_split_is_known_by_its_bytes_names_classes_and_place(own_splits, name):
    change, affected = CHANGES[name]
    before = sums_of(own_splits)
    assert len(set(before.values())) == 3
    change(own_splits)
    after = sums_of(own_splits)
    assert {split for split in SPLITS if before[split] != after[split]} == affected


def test_equal_pictures_in_other_splits_have_other_sums(tmp_path):
    for split in SPLITS:
        for number in range(4):
            paint(tmp_path / split / f"{number}.png")
    assert len(set(sums_of(tmp_path).values())) == 3


def test_splits_that_are_carved_are_known_too(classes):
    before = sums_of(classes)
    moved(classes, "blue/9.png", "red/z.png")  # so what stood between them moves up
    after = sums_of(classes)
    assert all(before[split] != after[split] for split in SPLITS)


def test_a_class_changes_the_sum_though_names_bytes_and_order_stay(tmp_path):
    for number in range(8):
        paint(tmp_path / "train" / ("a" if number < 5 else "b") / f"{number}.png")
        paint(tmp_path / "test" / "ab"[number % 2] / f"{number}.png")
    before = sums_of(tmp_path)
    pixels = splits_of(tmp_path)["train"].images
    moved(tmp_path, "train/a/4.png", "train/b/4.png")  # the last of a class: the first of the next
    after = sums_of(tmp_path)
    assert torch.equal(pixels, splits_of(tmp_path)["train"].images)
    assert before["train"] != after["train"] and before["test"] == after["test"]


def test_the_same_pictures_as_another_split_have_another_sum(tmp_path):
    paint(tmp_path / "a.png")
    pictures = folder.pictures_in(tmp_path)
    about = {"variant": "v", "licence": "l", "citation": "c"}

    def sum_as(split: str) -> str:
        part = folder.Part(tmp_path, split, pictures, ())
        return folder.decode(part, None, lambda array: None, **about).sha256

    assert sum_as("train") == sum_as("train") != sum_as("test")


def test_names_cannot_be_taken_for_one_another():
    assert folder.line_of("a", "b") != folder.line_of("ab") != folder.line_of("a,b")
    assert folder.line_of("a", "b") + folder.line_of("c") != folder.line_of("a", "b", "c")
    assert folder.line_of(os.fsdecode(b"\xe9"))


def test_the_sum_does_not_depend_on_where_the_folder_lies(own_splits, tmp_path):
    shutil.copytree(own_splits, tmp_path / "elsewhere" / "renamed")
    assert sums_of(own_splits) == sums_of(tmp_path / "elsewhere" / "renamed")


def test_sets_read_from_folders_have_the_version_of_the_new_sums():
    assert DATASETS["folder"].version == 4
    for name in ("cifar10-jpeg", "imagenette", "imagenette-128"):
        assert DATASETS[name].version == 2


# --- the cache


def test_the_cache_is_used_renewed_and_never_trusted_when_damaged(classes, monkeypatch):
    first = load(f"folder:{classes}", "test", size=8)
    (file,) = cache.FOLDER.glob("*.images")
    read_once.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(folder, "decode", lambda *arguments, **names: pytest.fail("decoded again"))
        again = load(f"folder:{classes}", "test", size=8)
    assert torch.equal(again.images, first.images) and again.sha256 == first.sha256
    file.write_bytes(file.read_bytes()[:50])
    read_once.cache_clear()
    assert torch.equal(load(f"folder:{classes}", "test", size=8).images, first.images)
    paint(classes / "red" / "0.png", (9, 9, 9))
    assert any((9, 9, 9) in colours(images) for images in splits_of(classes).values())


@pytest.mark.parametrize("by", ["in place", "another file"])
def test_other_bytes_under_an_equal_size_and_date_are_decoded_anew(tmp_path, by):
    for number in range(4):
        Image.new("RGB", (8, 8), (10, 10, 10)).save(tmp_path / f"{number}.bmp")  # of one size
    before = splits_of(tmp_path)
    for file in sorted(tmp_path.glob("*.bmp")):
        stat = file.stat()
        target = file if by == "in place" else tmp_path / "aside.bmp"
        Image.new("RGB", (8, 8), (200, 200, 200)).save(target)
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        target.rename(file)
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    after = splits_of(tmp_path)
    for split in SPLITS:
        assert (before[split].images == 10).all() and (after[split].images == 200).all()
        assert before[split].sha256 != after[split].sha256


def test_other_names_and_another_licence_are_not_served_from_the_cache(classes):
    one = read_folder(classes, "test", 8, "mine", "free", "me")
    other = read_folder(classes, "test", 8, "mine", "not free", "you")
    assert (one.licence, other.licence, other.citation) == ("free", "not free", "you")


def refuse(*arguments, **names):
    raise OSError(errno.ENOSPC, "no space left")


def written_to_a_full_disk(file, write_to):
    write_to(Path("/dev/full"))


FAULTS = {  # where the cache may fail
    "a look into it": [(cache, "read", refuse)],
    "its bytes": [(cache, "stored", refuse)],
    "its folder": [(Path, "mkdir", refuse)],
    "its lock": [(cache, "only_one", refuse)],
    "a listing": [(Path, "glob", refuse)],
    "writing": [(cache, "write", refuse)],
    "a full disk": [(cache, "replace_file", written_to_a_full_disk)],
    "renaming": [(Path, "replace", refuse)],
    "a write that is lost": [(cache, "replace_file", lambda file, write_to: None)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cache_that_fails_costs_time_and_no_run(classes, fault, monkeypatch):
    if fault == "a full disk" and not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    expected = splits_of(classes)
    for file in cache.FOLDER.iterdir():
        file.unlink()
    if fault == "its folder":
        cache.FOLDER.rmdir()
    with monkeypatch.context() as patched:
        for where, name, instead in FAULTS[fault]:
            patched.setattr(where, name, instead)
        with pytest.warns(UserWarning, match="stay in memory.*cannot be used"):
            found = splits_of(classes)
    assert same(found, expected)
    assert not list(cache.FOLDER.glob("*.images")) or fault in ("a look into it", "its bytes")
    assert not list(cache.FOLDER.glob("*.tmp")), "nothing half is left"


def same(found: dict[str, Images], expected: dict[str, Images]) -> bool:
    return all(
        torch.equal(found[split].images, expected[split].images)
        and torch.equal(found[split].labels, expected[split].labels)
        and found[split].sha256 == expected[split].sha256
        for split in SPLITS
    )


@pytest.mark.parametrize("fault", ["a look into it", "its bytes", "its lock", "its folder"])
def test_a_whole_cache_that_cannot_be_read_again_costs_time_and_no_run(classes, fault, monkeypatch):
    expected = splits_of(classes)
    for where, name, instead in FAULTS[fault]:
        monkeypatch.setattr(where, name, instead)
    with warnings.catch_warnings(record=True):
        assert same(splits_of(classes), expected)


def test_a_read_only_cache_is_still_read(classes, monkeypatch):
    """What lies there whole needs neither a lock nor a write."""
    expected = splits_of(classes)
    for name in ("only_one", "write", "replace_file"):
        monkeypatch.setattr(cache, name, refuse)
    monkeypatch.setattr(folder, "decode", lambda *arguments, **names: pytest.fail("decoded again"))
    assert same(splits_of(classes), expected)


def test_a_folder_that_the_system_refuses_costs_time_and_no_run(classes, monkeypatch, tmp_path):
    """As one without permission, which root would have all the same."""
    file = tmp_path / "no folder"
    file.touch()
    monkeypatch.setattr(cache, "FOLDER", file / "cache")
    with pytest.warns(UserWarning, match="cannot be used"):
        assert len(splits_of(classes)["train"]) == 48


def test_a_disk_that_fills_while_it_is_written_costs_time_and_no_run(classes):
    """A limit of the system, met in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.warns(UserWarning, match="cannot be used"):
            found = splits_of(classes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [len(images) for images in found.values()] == [48, 6, 6]
    assert same(found, splits_of(classes))


def test_a_fault_of_the_data_is_no_fault_of_the_cache(classes, monkeypatch):
    """It is told as it is, and nothing is decoded twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="2 sizes"):
            load(f"folder:{classes}", "train")
