"""Whoever watches a training sees it, whoever does not finds nothing in the output."""

import contextlib
import re

import pytest
import torch

from lib.models.family import build
from lib.pixels import Shape
from lib.run import live, progress
from lib.streams import stream
from lib.training import State

GREY = Shape(1, 8, 8, (2, 2))
HISTORY = [
    {"step": 5, "loss": 1.0, "validation_loss": 0.9},
    {"step": 10, "loss": 0.5, "validation_loss": 0.6},
]
SMALL = {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}


class Handle:
    """Of IPython's display, which shows nothing here."""

    def __init__(self):
        self.shown = []

    def update(self, what):
        self.shown.append(what)


@pytest.fixture
def handle(monkeypatch):
    """What a notebook is given to show."""
    made = Handle()

    def display(first, display_id):
        made.update(first)
        return made

    monkeypatch.setattr("IPython.display.display", display)
    return made


def model():
    return build("mae", SMALL, GREY, torch.zeros(1), torch.ones(1), stream(0, "weights"))


def state(step=10, history=HISTORY):
    return State(model(), {}, total=20, step=step, history=list(history))


def sample(count=3):
    images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=stream(0, "images"))
    mask = torch.zeros(count, 16, dtype=torch.bool)
    mask[:, :12] = True
    return images, mask


def test_nobody_is_shown_anything_where_nobody_looks(monkeypatch, handle, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    asked = []
    with progress.shown(True, "a run", lambda: asked.append(1)) as show:
        show(state())
    with progress.shown(False, "a run") as show:
        show(state())
    assert not handle.shown and not asked
    assert capsys.readouterr() == ("", "")


def test_a_log_has_a_line_an_epoch(monkeypatch, handle, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with progress.shown(True, "a run", logged=True) as show:
        for step, rows in ((4, 0), (5, 1), (7, 1), (10, 2), (11, 2)):
            show(state(step, HISTORY[:rows]))
    with progress.shown(False, "a run", logged=True) as show:
        show(state())
    first, second = capsys.readouterr().out.splitlines()
    assert first == "a run: step 5 of 20, loss 1.0000, validation loss 0.9000, 0 s"
    assert second.startswith("a run: step 10 of 20, loss 0.5000,")


def test_of_things_that_are_done_one_by_one_it_is_said_how_many(monkeypatch, handle, capsys):
    names = {"a": 1, "b": 2}
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert list(progress.each(names.items(), True, "done")) == [("a", 1), ("b", 2)]
    assert not handle.shown and capsys.readouterr() == ("", "")
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/08.ipynb")
    assert list(progress.each(names, False, "done")) == ["a", "b"]
    assert not handle.shown
    assert list(progress.each(names, True, "done")) == ["a", "b"]
    said = [one.data for one in handle.shown]
    assert said == ["done: 0 of 2", "done: 1 of 2, 0 s", "done: 2 of 2, 0 s"]


def test_in_jupyterlab_a_training_is_a_curve_and_pictures_and_ends_as_a_line(monkeypatch, handle):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01.ipynb")
    monkeypatch.setattr(live, "EVERY", 0.0)
    with progress.shown(True, "a <b>", sample) as show:
        show(state())
    first, during, last = handle.shown
    assert "a &lt;b&gt;: begun" in first.data
    assert "step 10 of 20" in during.data and 'value="10" max="20"' in during.data
    assert during.data.count("<polyline") == 2 and "data:image/png;base64," in during.data
    assert "validation loss 0.600" in during.data
    assert len(during.data) < 20_000, "light on the notebook"
    assert re.fullmatch(r"a <b>: \d+ s, 10 of 20 steps, validation loss 0.6000", last.data)


def test_a_training_that_fails_leaves_its_line_too(monkeypatch, handle):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01.ipynb")
    with contextlib.suppress(RuntimeError), progress.shown(True, "a run") as show:
        show(state(step=7, history=[]))
        raise RuntimeError
    assert handle.shown[-1].data.endswith("7 of 20 steps")


def test_it_is_looked_at_every_two_seconds_at_most(monkeypatch, handle):
    view = live.LiveView("a run")
    for step in range(1, 6):
        view(state(step=step))
    assert len(handle.shown) == 1, "begun"
    monkeypatch.setattr(live.time, "monotonic", lambda: view.began + 100)
    view(state())
    view(state())
    assert len(handle.shown) == 2
    assert "about 100 s more" in handle.shown[1].data, "half is done after 100 s"


def test_looking_leaves_a_model_in_training_as_it_was():
    looked_at = model().train()
    before = {name: value.clone() for name, value in looked_at.state_dict().items()}
    random = torch.get_rng_state()
    drawn = live.strip(looked_at, *sample())
    assert drawn == live.strip(looked_at, *sample())
    assert looked_at.training and torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in looked_at.state_dict().items())
    assert all(parameter.grad is None for parameter in looked_at.parameters())


@pytest.mark.parametrize("history", [[], HISTORY[:1]])
def test_a_curve_needs_two_points(history):
    assert live.curve(history) == ""


def test_a_loss_that_does_not_move_is_drawn_too():
    flat = [row | {"loss": 1.0, "validation_loss": 1.0} for row in HISTORY]
    assert live.curve(flat).count("<polyline") == 2
