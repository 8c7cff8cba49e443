"""The default target: notebooks that run, one that fails, and the page of both."""

import json
import os

import checkout
import pytest

from lib import notebooks

DRAW = """
from pathlib import Path
from lib.paths import resolve
shelf = resolve(output) / 'figures' / 'quick'
shelf.mkdir(parents=True)
(shelf / '01-a.json').write_text('{"alt": "an \\\\"alt\\\\"", "caption": "<script>alert(1)</script>"}')
(shelf / '01-a.svg').write_text('<svg/>')
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkout of two small notebooks, one of which fails, after `make report`."""
    place = checkout.make(tmp_path_factory.mktemp("checkout with a space"))
    checkout.write_notebook(place, "01_bad", "output = ''", "raise ValueError('a <b>bold</b> error')", title="What is bad?")
    checkout.write_notebook(place, "02_good", "output = ''", DRAW, title="What is good & <i>why</i>?")
    return place, checkout.command(place, "-m", "lib.engine")


def test_a_failed_notebook_does_not_stop_the_others_and_is_shown(place):
    place, done = place
    assert done.returncode == 1 and "02_good: done in" in done.stdout
    assert "01_bad: FAILED" in done.stdout and "ValueError" in done.stdout
    page = (place / "reports" / "index.html").read_text()
    assert "This notebook failed." in page and "cell 2" in page and "ValueError: a &lt;b&gt;bold" in page


def test_the_page_is_inert_and_self_contained(place):
    page = (place[0] / "reports" / "index.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and 'alt="an &#34;alt&#34;"' in page
    assert "What is good &amp; &lt;i&gt;why" in page and "http://" not in page and "https://" not in page
    executed = (place[0] / "reports" / "notebooks" / "02_good.html").read_text()
    assert "<script src=" not in executed and "cdnjs" not in executed and "unpkg" not in executed


def test_a_second_call_runs_only_what_failed_or_changed(place):
    place, _ = place
    checkout.write_notebook(place, "01_bad", "output = ''", "x = 1", title="What was bad?")
    for stamp in (place / "reports" / "notebooks" / "done").glob("02_good-*"):
        os.utime(stamp, (4e9, 4e9))  # a clock that has jumped back since
    done = checkout.command(place, "-m", "lib.engine")
    assert done.returncode == 0 and "01_bad: done in" in done.stdout and "02_good" not in done.stdout
    page = (place / "reports" / "index.html").read_text()
    assert "What was bad?" in page and "This notebook failed." not in page
    done = checkout.command(place, "-m", "lib.engine")
    assert done.returncode == 0 and "done in" not in done.stdout and "wrote reports/index.html" in done.stdout


def test_a_change_of_the_notebook_or_the_code_makes_a_run_out_of_date(tmp_path, monkeypatch):
    for name in ("notebooks", "lib", "reports"):
        (tmp_path / name).mkdir()
    (tmp_path / "requirements.lock").write_text("")
    book = tmp_path / "notebooks" / "01_good.ipynb"
    book.write_text("{}")
    for name, place in (
        ("ROOT", tmp_path),
        ("NOTEBOOKS", tmp_path / "notebooks"),
        ("REPORTS", tmp_path / "reports"),
        ("EXECUTED", tmp_path),
    ):
        monkeypatch.setattr(notebooks, name, place)
    seen = {notebooks.stamp_of(book).name}
    (tmp_path / "lib" / "new.py").write_text("x = 1\n")
    seen.add(notebooks.stamp_of(book).name)
    book.write_text(json.dumps({"cells": []}))
    seen.add(notebooks.stamp_of(book).name)
    assert len(seen) == 3
    assert "make report" in notebooks.outcome(book).error
