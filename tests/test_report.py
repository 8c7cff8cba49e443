"""The default target: notebooks that run, one that fails, and the page of both."""

import json
import os
import shutil

import checkout
import pytest

from lib import notebooks
from lib.files import replace_file

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
    """A checkout of three small notebooks after `make report`: one that fails, one that is good, and one that was run before."""
    place = checkout.make(tmp_path_factory.mktemp("checkout with a space"))
    checkout.write_notebook(place, "01_bad", "output = ''", "raise ValueError('a <b>bold</b> error')", title="What is bad?")
    checkout.write_notebook(place, "02_good", "output = ''", DRAW, title="What is good & <i>why</i>?")
    done = checkout.write_notebook(place, "03_done", "output = ''", "raise ValueError('not run again')", title="What was done?")
    with pytest.MonkeyPatch.context() as patch:
        in_checkout(patch, place)
        stamp = notebooks.stamp_of(done)
        replace_file(notebooks.EXECUTED / done.name, lambda aside: shutil.copy(done, aside))
    replace_file(stamp, lambda aside: aside.write_text('{"label": "03_done", "seconds": 7.0, "records": []}'))
    os.utime(stamp, (4e9, 4e9))  # a clock that has jumped back since
    return place, checkout.command(place, "-m", "lib.engine")


def in_checkout(patch, place):
    """Paths of `notebooks` lead into a checkout."""
    folders = {"ROOT": place, "NOTEBOOKS": place / "notebooks", "REPORTS": place / "reports", "EXECUTED": place / "reports" / "notebooks"}
    for name, folder in folders.items():
        patch.setattr(notebooks, name, folder)


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


def test_what_was_run_before_is_not_run_again_and_what_failed_is_open(place, monkeypatch):
    place, done = place
    assert "03_done" not in done.stdout and "What was done?" in (place / "reports" / "index.html").read_text()
    in_checkout(monkeypatch, place)
    bad, good, old = notebooks.all_notebooks()
    assert not notebooks.stamp_of(bad).exists() and notebooks.stamp_of(good).exists() and notebooks.outcome(old).seconds == 7
    assert "ValueError" in notebooks.outcome(bad).error
    replace_file(notebooks.stamp_of(bad), lambda aside: aside.write_text('{"label": "01_bad", "seconds": 1.0, "records": []}'))
    assert notebooks.outcome(bad).error is None, "a later success counts"


def test_a_change_of_the_notebook_or_the_code_makes_a_run_out_of_date(tmp_path, monkeypatch):
    for name in ("notebooks", "lib", "reports"):
        (tmp_path / name).mkdir()
    (tmp_path / "requirements.lock").write_text("")
    book = tmp_path / "notebooks" / "01_good.ipynb"
    book.write_text("{}")
    in_checkout(monkeypatch, tmp_path)
    seen = {notebooks.stamp_of(book).name}
    (tmp_path / "lib" / "new.py").write_text("x = 1\n")
    seen.add(notebooks.stamp_of(book).name)
    book.write_text(json.dumps({"cells": []}))
    seen.add(notebooks.stamp_of(book).name)
    assert len(seen) == 3
    assert "make report" in notebooks.outcome(book).error
