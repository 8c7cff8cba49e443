"""Shapes are checked in tests: every function of `lib` is wrapped by jaxtyping and beartype."""

import itertools
import os
from pathlib import Path

from jaxtyping import install_import_hook

_hook = install_import_hook("lib", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

from lib.pixels import Shape  # noqa: E402
from lib.streams import stream  # noqa: E402

SHAPES = [Shape(1, 8, 8, (2, 2)), Shape(3, 16, 12, (4, 2)), Shape(2, 9, 15, (3, 5))]


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Folders, each asked for once; `mktemp` looks at all that there are, each time."""
    place = tmp_path_factory.mktemp("caches")
    return (place / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(caches, monkeypatch):
    """Decoded images of a test are not cached in the repository."""
    from lib.data import cache

    folder = next(caches)
    folder.mkdir()
    monkeypatch.setattr(cache, "FOLDER", folder)


@pytest.fixture(scope="module")
def few_photos():
    """The data set `photos` with a few windows of each photograph: cutting all takes seconds."""
    from lib.data import embedded, registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "WINDOWS", {"train": 20, "validation": 10, "test": 10})
        registry.read_once.cache_clear()
        yield
    registry.read_once.cache_clear()


@pytest.fixture
def locked(monkeypatch) -> set[str]:
    """Names of folders that may not be read: root, who runs tests, may read any."""
    names: set[str] = set()
    scan = os.scandir

    def refused(place):
        if Path(place).name in names:
            raise PermissionError(place)
        return scan(place)

    monkeypatch.setattr("os.scandir", refused)
    return names


@pytest.fixture
def generator() -> torch.Generator:
    return stream(0, "test")


@pytest.fixture(params=SHAPES, ids=lambda s: f"{s.channels}x{s.height}x{s.width}")
def shape(request) -> Shape:
    """Square, rectangular, and odd images and patches."""
    return request.param


@pytest.fixture
def images(shape, generator) -> torch.Tensor:
    """A batch of five images in [0, 1]."""
    return torch.rand(5, shape.channels, shape.height, shape.width, generator=generator)
