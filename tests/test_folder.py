import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import DataError, load
from lib.data import cache as cache_module
from lib.data.pictures import open_rgb
from lib.data.registry import carve, read_once


@pytest.fixture(autouse=True)
def fresh_reads():
    read_once.cache_clear()


def paint(file, colour=(200, 10, 10), size=(20, 16), mode="RGB"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


@pytest.fixture
def classes(tmp_path):
    for number in range(30):
        paint(tmp_path / "red" / f"{number}.png", (255 - number, 0, 0))
        paint(tmp_path / "blue" / f"{number}.png", (0, 0, 255 - number), size=(16, 24))
    return tmp_path


def test_a_folder_per_class_gives_labels_and_disjoint_splits(classes):
    found = {split: load(f"folder:{classes}", split, size=8) for split in ("train", "validation", "test")}
    assert [len(images) for images in found.values()] == [48, 6, 6]
    assert found["train"].classes == ("blue", "red") and found["train"].variant == f"folder-{classes.name}"
    bright = {split: {tuple(image[:, 4, 4].tolist()) for image in images.images} for split, images in found.items()}
    assert not (bright["train"] & bright["validation"] or bright["train"] & bright["test"] or bright["validation"] & bright["test"])
    for images in found.values():
        assert all((image[0, 4, 4] > 0) == (label == 1) for image, label in zip(images.images, images.labels, strict=True))


def test_pictures_without_classes_have_no_labels(tmp_path):
    for number in range(12):
        paint(tmp_path / f"{number}.jpg")
    assert load(f"folder:{tmp_path}", "train", size=8).labels is None


def test_own_splits_are_used(tmp_path):
    for split, count in (("train", 20), ("test", 5)):
        for number in range(count):
            paint(tmp_path / split / "a" / f"{number}.png", (number, number, 100 if split == "train" else 200))
    assert len(load(f"folder:{tmp_path}", "test", size=8)) == 5
    assert len(load(f"folder:{tmp_path}", "train", size=8)) == 18 and len(load(f"folder:{tmp_path}", "validation", size=8)) == 2
    assert (load(f"folder:{tmp_path}", "validation", size=8).images[:, 2] == 100).all(), "validation comes from train"


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
    for part, folder in enumerate(layout or ("",)):
        for number in range(20):
            paint(tmp_path / folder / "ab"[number % 2] / f"{number}.png", (10 * number, 80 * part, 7))
    seen = {
        split: {tuple(image[:, 0, 0].tolist()) for image in load(f"folder:{tmp_path}", split, size=8).images}
        for split in ("train", "validation", "test")
    }
    assert sum(map(len, seen.values())) == 20 * max(1, len(layout)) == len(set.union(*seen.values()))
    if "test" in layout:
        assert {colour[1] for colour in seen["test"]} == {80 * layout.index("test")}
    if layout == ("train", "val"):
        assert {colour[1] for colour in seen["test"]} == {80}, "val alone is the test set"


def test_classes_are_numbered_alike_in_all_splits(tmp_path):
    for number in range(20):
        paint(tmp_path / "train" / "abc"[number % 3] / f"{number}.png")
        paint(tmp_path / "test" / "c" / f"{number}.png")
    assert load(f"folder:{tmp_path}", "test", size=8).labels.tolist() == [2] * 20


def test_test_without_train_is_refused(tmp_path):
    paint(tmp_path / "test" / "a.png")
    with pytest.raises(DataError, match="none called train"):
        load(f"folder:{tmp_path}", "train", size=8)


def test_a_huge_picture_is_skipped(classes, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 400)
    paint(classes / "red" / "huge.png", size=(25, 25))
    with pytest.warns(UserWarning, match=r"huge\.png"):
        skipped = [name for split in ("train", "validation", "test") for name in load(f"folder:{classes}", split, size=8).skipped]
    assert skipped == ["red/huge.png"]


def test_a_broken_file_is_skipped_named_and_counted(classes):
    (classes / "red" / "broken.png").write_bytes((classes / "red" / "1.png").read_bytes()[:30])
    (classes / "red" / "text.jpg").write_text("not a picture")
    skipped = []
    for split in ("train", "validation", "test"):
        with pytest.warns(UserWarning) if split == "train" else _nothing():
            skipped += load(f"folder:{classes}", split, size=8).skipped
    assert sorted(skipped) == ["red/broken.png", "red/text.jpg"]


class _nothing:
    def __enter__(self):
        import warnings

        self.context = warnings.catch_warnings()
        self.context.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *error):
        self.context.__exit__(*error)


def test_exif_grey_transparent_and_sixteen_bit_pictures(tmp_path):
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
    Image.fromarray(np.full((4, 4), 65535 // 2, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert abs(int(np.asarray(open_rgb(tmp_path / "deep.png"))[0, 0, 0]) - 127) <= 1


def test_links_out_of_the_folder_are_not_followed(classes, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    paint(outside / "secret.png", (1, 2, 3))
    (classes / "red" / "link.png").symlink_to(outside / "secret.png")
    (classes / "green").symlink_to(outside)
    total = sum(len(load(f"folder:{classes}", split, size=8)) for split in ("train", "validation", "test"))
    assert total == 60 and load(f"folder:{classes}", "train", size=8).classes == ("blue", "red")


def test_sizes_that_differ_need_a_size(classes):
    with pytest.raises(DataError, match=r"2 sizes.*give a size"):
        load(f"folder:{classes}", "train")


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(DataError, match="no picture"):
        load(f"folder:{tmp_path}", "train")


def test_the_cache_is_used_renewed_and_never_trusted_when_damaged(classes, monkeypatch):
    first = load(f"folder:{classes}", "test", size=8)
    files = list(cache_module.FOLDER.glob("*.images"))
    assert len(files) == 1 and files[0].suffix == ".images"
    read_once.cache_clear()
    from lib.data import folder

    monkeypatch.setattr(folder, "decode", lambda *arguments: pytest.fail("decoded again"))
    assert torch.equal(load(f"folder:{classes}", "test", size=8).images, first.images)
    monkeypatch.undo()
    monkeypatch.setattr(cache_module, "FOLDER", files[0].parent)
    files[0].write_bytes(files[0].read_bytes()[:50])
    read_once.cache_clear()
    assert torch.equal(load(f"folder:{classes}", "test", size=8).images, first.images)
    paint(classes / "red" / "0.png", (9, 9, 9))
    read_once.cache_clear()
    before = len(list(files[0].parent.iterdir()))
    for split in ("train", "validation", "test"):
        load(f"folder:{classes}", split, size=8)
    assert len(list(files[0].parent.iterdir())) >= before + 2, "what changed was decoded anew"


def test_a_folder_with_its_own_test_set_is_carved_as_all_other_sets_are(tmp_path):
    """The published runs rest on this split: the last tenth of a fixed permutation validates."""
    for number in range(40):
        for part in ("train", "test"):
            (tmp_path / part / "a").mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2), number).save(tmp_path / part / "a" / f"{number:02}.png")
    for split in ("train", "validation"):
        shades = load(f"folder:{tmp_path}", split).images[:, 0, 0, 0].tolist()
        assert shades == carve(split, 40, 4).tolist()
