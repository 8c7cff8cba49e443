"""Sets larger than memory: the same images, and memory that does not grow with them."""

import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from families import VIT
from PIL import Image

from lib import mapped
from lib.data import cache, folder
from lib.data.registry import Images, shared_images
from lib.masks import Masks
from lib.models.family import build
from lib.pixels import Shape, channel_statistics
from lib.streams import stream
from lib.training import Recipe, train

MB = 2**20


def details(count: int) -> cache.Details:
    return cache.Details(
        labels=[i % 2 for i in range(count)],
        classes=("a", "b"),
        variant="made",
        sha256="0",
        licence="",
        citation="",
    )


def made(count: int, side: int):
    """A decoder of made-up pictures, each from its own number."""

    def decode(keep):
        for number in range(count):
            keep(np.random.default_rng(number).integers(0, 256, (3, side, side), dtype=np.uint8))
        return details(count)

    return decode


@pytest.fixture
def both(monkeypatch) -> tuple[Images, Images]:
    """One set in memory and mapped."""
    held = cache.cached("small", made(20, 16))
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    monkeypatch.setattr(mapped, "PART", 3 * 16 * 16 * 7)  # pieces of seven images
    return held, cache.cached("small", lambda keep: pytest.fail("decoded again"))


def test_a_mapped_set_is_the_set(both):
    held, far = both
    assert any(len(memory) == far.images.nbytes for memory in mapped.mappings), "it is mapped"
    assert torch.equal(held.images, far.images) and torch.equal(held.labels, far.labels)
    assert held.fingerprint == far.fingerprint and shared_images({"train": held, "test": far}) == 20
    assert torch.equal(held.some(5).images, far.some(5).images)
    one, other = channel_statistics(held.images), channel_statistics(far.images)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    exact = held.images.double().div(255).transpose(0, 1).flatten(1)
    assert torch.allclose(one[0].double(), exact.mean(1)) and torch.allclose(
        one[1].double(), exact.std(1, correction=0)
    )


def trained(images: Images) -> list[torch.Tensor]:
    """The parameters of a small model after two epochs."""
    shape = Shape(3, 16, 16, (4, 4))
    statistics = channel_statistics(images.images)
    model = build("mae", VIT, shape, *statistics, stream(0, "weights"))
    masks = Masks("random", 0.75, shape.patch, seed=0)
    recipe = Recipe(epochs=2, batch_size=8, augment="crop_flip")
    train(model, images.images, images.images[:4], masks, recipe, seed=0)
    return list(model.parameters())


def test_training_does_not_notice(both):
    held, far = both
    assert all(torch.equal(a, b) for a, b in zip(trained(held), trained(far), strict=True))


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the system decides when pages are given back"
)
def test_memory_is_given_back(monkeypatch, tmp_path):
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    (tmp_path / "bytes").write_bytes(bytes(64 * MB))
    images = mapped.stored(tmp_path / "bytes", (64, 1, 1024, 1024))

    def grown(read) -> float:
        mapped.release()
        before = psutil.Process().memory_info().rss
        read()
        return (psutil.Process().memory_info().rss - before) / MB

    assert grown(lambda: images.max()) > 50, "what is read counts"
    assert grown(lambda: (images.max(), mapped.release())) < 10
    assert grown(lambda: [part.max() for part in mapped.parts(images)]) < 10


def test_decoding_holds_one_picture_at_a_time(monkeypatch):
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    tracemalloc.start()
    found = cache.cached("many", made(60, 256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.images.nbytes > 11 * MB and peak < 3 * MB


def test_a_file_that_promises_more_than_it_holds_is_made_anew():
    first = cache.cached("anything", made(3, 4))
    (file,) = cache.FOLDER.glob("*.images")
    for shape in ((4, 3, 4, 4), (10**6, 3, 10**6, 10**6)):
        text = cache.text_of(cache.Ending(shape=shape, details=details(3), checksum=""))
        file.write_bytes(bytes(100) + text + len(text).to_bytes(cache.ENDING, "little"))
        assert torch.equal(cache.cached("anything", made(3, 4)).images, first.images)


def test_what_a_kill_left_is_removed():
    cache.FOLDER.mkdir(exist_ok=True)
    found = cache.cached("anything", made(3, 4))
    (file,) = cache.FOLDER.glob("*.images")
    left = file.with_name(f"{file.name}.123.tmp")
    left.write_bytes(b"half")
    file.unlink()
    assert (
        torch.equal(cache.cached("anything", made(3, 4)).images, found.images) and not left.exists()
    )


def test_a_full_disk_is_no_broken_picture(tmp_path):
    """What fails while an image is kept is not taken for a fault of the picture."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    part = folder.Part(tmp_path, "train", [folder.Picture("", tmp_path / "a.png")], ())

    def full(array):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        folder.decode(part, None, full, variant="v", licence="l", citation="c")


def test_a_file_that_shrinks_while_it_is_read_is_no_set(monkeypatch, tmp_path):
    (tmp_path / "bytes").write_bytes(bytes(40))
    monkeypatch.setattr(Path, "stat", lambda file: SimpleNamespace(st_size=48))
    with pytest.raises(ValueError, match="shorter"):
        mapped.stored(tmp_path / "bytes", (1, 3, 4, 4))


def test_parts_are_the_set_in_order_and_hold_so_many_bytes(monkeypatch):
    monkeypatch.setattr(mapped, "PART", 7 * 48)
    images = torch.arange(20 * 48).remainder(251).to(torch.uint8).view(20, 3, 4, 4)
    found = list(mapped.parts(images))
    assert [len(part) for part in found] == [7, 7, 6]
    assert torch.equal(torch.cat(found), images)
