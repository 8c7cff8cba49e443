"""The reader's own pictures: all of them, whole, and friendly where there is nothing to see."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.embedded import PHOTOS
from lib.data.own import own_pictures, read_picture
from lib.data.registry import DataError
from lib.streams import stream


def painted(file, size=(40, 40), colour=(255, 0, 0)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)
    return file


def test_without_a_path_the_embedded_photographs_are_shown():
    found = own_pictures(shorter=32)
    assert list(found.pictures) == list(PHOTOS) and not found.skipped
    for picture in found.pictures.values():
        assert min(picture.shape[1:]) == 32 and picture.dtype == torch.float32
        assert 0 <= picture.min() < picture.max() <= 1


def test_every_picture_of_files_and_folders_is_there_with_its_own_shape(tmp_path):
    one = painted(tmp_path / "one.png", (80, 40))
    painted(tmp_path / "more" / "a.jpg", (40, 60))
    painted(tmp_path / "more" / "cats" / "b.webp")
    painted(tmp_path / "more" / "dogs" / "b.png", colour=(0, 0, 255))
    (tmp_path / "more" / "notes.txt").write_text("no picture")
    found = own_pictures([one, str(tmp_path / "more")], shorter=32)
    assert list(found.pictures) == ["one", "a", "b", "dogs/b.png"]
    assert len(found.skipped) == 1 and "notes.txt" in found.skipped[0]
    shapes = [tuple(picture.shape[1:]) for picture in found.pictures.values()]
    assert shapes == [(32, 64), (48, 32), (32, 32), (32, 32)]
    assert found.pictures["dogs/b.png"][2].mean() == 1, "each is itself"


def test_a_picture_keeps_its_shape_and_a_long_one_its_middle(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 300, dtype=np.uint8)[None, :, None], (40, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "long.png")
    found = read_picture(tmp_path / "long.png", 32)
    assert found.shape == (3, 32, 64)
    assert found.mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_broken_file_of_a_folder_is_skipped_by_name_and_a_named_one_refused(tmp_path):
    painted(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    found = own_pictures([tmp_path])
    assert list(found.pictures) == ["good"]
    assert len(found.skipped) == 1 and "bad.jpg is no picture that can be read" in found.skipped[0]
    with pytest.raises(DataError, match=r"bad\.jpg is no picture"):
        own_pictures([tmp_path / "bad.jpg"])


def test_a_picture_of_too_many_pixels_is_skipped_like_a_broken_one(tmp_path, monkeypatch):
    """Pillow warns beyond its limit, and beyond twice of it raises an error of its own kind."""
    painted(tmp_path / "good.png", (10, 10))
    painted(tmp_path / "large.png", (60, 25))
    painted(tmp_path / "huge.png", (60, 60))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found = own_pictures([tmp_path], shorter=8)
    assert list(found.pictures) == ["good"]
    assert ["huge.png" in found.skipped[0], "large.png" in found.skipped[1]] == [True, True]


def test_of_a_large_folder_some_are_taken_evenly_and_the_rest_is_counted(tmp_path):
    for number in range(10):
        painted(tmp_path / f"{number}.png")
    one = painted(tmp_path / "elsewhere" / "one.png")
    found = own_pictures([tmp_path, one], at_most=4, shorter=16)
    assert list(found.pictures) == ["0", "2", "5", "8", "one"] and len(found.left_out) == 7
    assert own_pictures([tmp_path], at_most=11, shorter=16).left_out == []


def test_names_are_short_and_differ(tmp_path):
    long = "Screenshot from 2024-05-11 10-22-3"
    for place, name in (("a", f"{long}3"), ("a", f"{long}4"), ("b", f"{long}3"), ("b", "c" * 99)):
        painted(tmp_path / place / f"{name}.png")
    again = tmp_path / "b" / f"{'c' * 99}.png"
    found = own_pictures([tmp_path, again, again, again], shorter=16)
    assert len(found.pictures) == 7 and max(map(len, found.pictures)) <= 24
    assert list(found.pictures)[:2] == ["Screensh...5-11 10-22-33", "Screensh...5-11 10-22-34"]


def test_a_name_that_is_no_utf8_can_be_drawn_and_drawn_by(tmp_path):
    """As old archives leave them; masks are drawn from a picture's name."""
    painted(tmp_path / os.fsdecode(b"Foto_\xfc.png"))
    (name,) = own_pictures([tmp_path], shorter=16).pictures
    assert name == "Foto_?"
    stream(0, f"mask/{name}")


def test_a_folder_that_may_not_be_read_is_skipped_by_name(tmp_path, locked):
    painted(tmp_path / "a.png")
    painted(tmp_path / "lost+found" / "b.png")
    locked.add("lost+found")
    found = own_pictures([tmp_path], shorter=16)
    assert list(found.pictures) == ["a"]
    assert found.skipped[0] == "the folder lost+found may not be read"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "there is no picture in .* or one level below"),
        (["a.jpg", "b.png"], "none of the 2 pictures in .* can be read: .*a.jpg"),
        (None, "there is no .*mine: look at how it is spelt"),
    ],
)
def test_where_there_is_nothing_to_see_the_path_is_named(tmp_path, made, message):
    place = tmp_path / "mine"
    if made is not None:
        place.mkdir()
    for name in made or []:
        (place / name).write_bytes(b"")
    with pytest.raises(DataError, match=message):
        own_pictures([place])


def test_what_is_cut_and_what_is_not_looked_at_is_told(tmp_path):
    painted(tmp_path / "long.png", (100, 40))
    painted(tmp_path / "wide.png", (80, 40))
    painted(tmp_path / "cats" / "deep" / "a.png")
    (tmp_path / "phone.heic").write_bytes(b"a kind that is not read")
    (tmp_path / ".hidden").write_text("nobody's business")
    found = own_pictures([tmp_path], shorter=32)
    assert list(found.pictures) == ["long", "wide"] and found.cut == ["long"]
    assert found.skipped == [
        "of no kind that can be read: phone.heic",
        "folders a level too deep: deep",
    ]
    said = found.told()
    assert said[0] == "of these the middle alone, they are very long: long"
    assert said[1:] == [f"skipped: {sentence}" for sentence in found.skipped]


def test_what_is_enlarged_is_told_and_of_many_names_a_few(tmp_path):
    for number in range(7):
        painted(tmp_path / f"{number}.png", (40, 31))
    painted(tmp_path / "large.png", (32, 40))
    found = own_pictures([tmp_path], shorter=32)
    (said,) = found.told()
    assert said.startswith("enlarged to 32 pixels,") and said.endswith("0, 1, 2, 3, 4 and 2 more")
    assert own_pictures([tmp_path], at_most=2, shorter=16).told() == [
        "6 more were left out: at_most says how many are taken"
    ]


def test_a_folder_of_another_kind_says_which_kinds_there_are(tmp_path):
    (tmp_path / "phone.heic").write_bytes(b"a kind that is not read")
    with pytest.raises(DataError, match=r"save them as one of \.bmp.*\.png"):
        own_pictures([tmp_path])
