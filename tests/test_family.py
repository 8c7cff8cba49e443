"""What a batch, a group and the register promise, apart from any model."""

import sys

import pytest
import torch
from torch import nn

from lib.models.family import MODELS, Batch, Family, Model, build
from lib.pixels import Shape
from lib.register import Register
from lib.streams import stream

SHAPE = Shape(1, 4, 4, (2, 2))


def batch(count=7, whole=None, first=0, **changes):
    """Images and labels that know their place in the whole step."""
    places = torch.arange(first, first + count)
    images = places[:, None, None, None].float().expand(-1, 1, 4, 4)
    mask = torch.zeros(count, 4, dtype=torch.bool)
    mask[torch.arange(count), places % 4] = True
    return Batch(images, mask, whole or count, first, labels=places, **changes)


def draw(count, generator):
    return torch.rand(count, 2, generator=generator)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7, 20])
def test_parts_are_all_images_in_order_and_none_is_empty(parts):
    cut = batch().split(parts)
    assert len(cut) <= parts and all(len(part) for part in cut)
    assert torch.cat([part.labels for part in cut]).tolist() == list(range(7))
    for part in cut:
        rows = batch().rows(part.first, part.first + len(part))
        assert torch.equal(part.images, rows.images) and torch.equal(part.mask, rows.mask)
        assert part.labels.tolist() == list(range(part.first, part.first + len(part)))
        assert part.whole == 7


def test_parts_of_nothing_are_none():
    """A process may have no image of a short last batch."""
    assert batch(0, whole=7).split(3) == []


def test_a_part_of_a_share_knows_its_place_in_the_step():
    share = batch(4, whole=10, first=5)
    assert [part.first for part in share.split(2)] == [5, 7]
    assert share.split(2)[1].labels.tolist() == [7, 8]


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_noise_does_not_depend_on_how_the_step_was_divided(parts):
    whole = batch(seed=3, step=5).noise(draw)
    assert torch.equal(whole, draw(7, stream(3, "noise/5")))
    cut = batch(seed=3, step=5).split(parts)
    assert torch.equal(torch.cat([part.noise(draw) for part in cut]), whole)


def test_noise_is_another_at_another_seed_step_or_purpose():
    one = batch(seed=3, step=5).noise(draw)
    others = [
        batch(seed=4, step=5).noise(draw),
        batch(seed=3, step=6).noise(draw),
        batch(seed=3, step=5).noise(draw, "other"),
    ]
    assert not any(torch.equal(one, other) for other in others)


class Line(Model):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 1)

    def loss(self, images, mask):
        return self.layer(images.flatten(1)).mean()


def test_a_model_has_one_loss_that_moves_everything_and_is_watched():
    model = Line()
    (group,) = model.groups().items()
    assert group[0] == "loss" and group[1].parameters == list(model.parameters())
    (phase,) = model.phases(batch())
    assert phase == ("loss", model.watched(batch()))
    with pytest.raises(NotImplementedError):
        Model().loss(batch().images, batch().mask)


def test_the_register_says_what_each_family_is():
    for name, family in MODELS.items():
        assert isinstance(family, Family) and family.name == name
        assert family.trained == issubclass(family.module, Model)
        assert family.trained or hasattr(family.module, "fit")
    labels = [family.label for family in MODELS.values()]
    assert len(set(labels)) == len(labels), "figures would mix them up"


def test_an_unknown_family_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown model 'mea', did you mean mae?"):
        build("mea", {}, SHAPE, torch.zeros(1), torch.ones(1), stream(0, "w"))


def test_a_file_that_is_dropped_in_is_found_and_imported_when_it_is_asked_for(
    tmp_path, monkeypatch
):
    place = tmp_path / "somebodys"
    place.mkdir()
    (place / "__init__.py").touch()
    adds = "import somebodys\nsomebodys.register.add('{0}', '{0} entry', __name__)\n"
    (place / "one.py").write_text(adds.format("one"))
    (place / "two.py").write_text(adds.format("two"))
    monkeypatch.syspath_prepend(tmp_path)
    package = __import__("somebodys")
    package.register = Register("somebodys")
    assert "somebodys.one" not in sys.modules, "nobody has asked"
    assert package.register["two"] == "two entry"
    assert list(package.register) == ["one", "two"] and len(package.register) == 2
    with pytest.raises(KeyError):
        package.register["three"]


def test_a_file_with_a_mistake_is_asked_for_again_once_it_is_mended(tmp_path, monkeypatch):
    place = tmp_path / "hasty"
    place.mkdir()
    (place / "__init__.py").touch()
    (place / "one.py").write_text("import hasty\nhasty.register.add('one', 1, __name__)\nx = = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = __import__("hasty")
    package.register = Register("hasty")
    for _ in range(2):
        with pytest.raises(SyntaxError):
            list(package.register)
    (place / "one.py").write_text("import hasty\nhasty.register.add('one', 1, __name__)\n")
    assert list(package.register) == ["one"]


def test_a_file_that_is_imported_by_itself_is_found_without_the_others(tmp_path, monkeypatch):
    register = Register("a package that does not exist")
    register.add("one", 1, "a file")
    assert register["one"] == 1


def test_a_name_is_given_once_and_its_own_file_may_be_loaded_again():
    register = Register("a package that does not exist")
    register.add("one", 1, "a file")
    register.add("one", 2, "a file")
    assert register["one"] == 2
    with pytest.raises(ValueError, match="'one' is in a file already: another"):
        register.add("one", 3, "another")
