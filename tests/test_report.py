import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lib import notebooks, report


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository of two small notebooks, one of which fails."""
    for name in ("notebooks", "lib", "reports"):
        (tmp_path / name).mkdir()
    (tmp_path / "requirements.lock").write_text("")
    cells = {"01_good": "print(1)", "02_bad": "raise ValueError('a <b>bold</b> error')"}
    for name, source in cells.items():
        book = new_notebook(cells=[new_markdown_cell(f"# What is {name} & <i>why</i>?"), new_code_cell(source)])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / "notebooks" / f"{name}.ipynb")
    reports = tmp_path / "reports"
    for module in (notebooks, report):
        monkeypatch.setattr(module, "REPORTS", reports)
        monkeypatch.setattr(module, "EXECUTED", reports / "notebooks")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(report, "FIGURES", reports / "figures" / "quick")
    monkeypatch.setattr(report, "RESULTS", reports / "results" / "quick")
    (reports / "figures" / "quick").mkdir(parents=True)
    (reports / "figures" / "quick" / "01-a.json").write_text(json.dumps({"alt": 'an "alt"', "caption": "<script>alert(1)</script>"}))
    (reports / "figures" / "quick" / "01-a.svg").write_text("<svg/>")
    return tmp_path


def test_a_failed_notebook_does_not_stop_the_others_and_is_shown(place, capsys):
    (place / "notebooks" / "01_good.ipynb").rename(place / "notebooks" / "03_good.ipynb")
    assert report.main() == 1
    said = capsys.readouterr().out
    assert "papermill notebooks/02_bad.ipynb" in said and "FAILED" in said and "papermill notebooks/03_good.ipynb" in said
    page = (place / "reports" / "index.html").read_text()
    assert "This notebook failed." in page and "cell 1" in page and "ValueError: a &lt;b&gt;bold" in page


def test_the_page_is_inert_self_contained_and_a_second_run_does_nothing(place, capsys, monkeypatch):
    (place / "notebooks" / "02_bad.ipynb").unlink()
    assert report.main() == 0
    page = (place / "reports" / "index.html").read_text()
    assert (
        "<script" not in page
        and "&lt;script&gt;" in page
        and 'alt="an &#34;alt&#34;"' in page
        and "What is 01_good &amp; &lt;i&gt;why" in page
    )
    assert "http://" not in page and "https://" not in page
    executed = (place / "reports" / "notebooks" / "01_good.html").read_text()
    assert "<script src=" not in executed and "cdnjs" not in executed and "unpkg" not in executed
    capsys.readouterr()
    monkeypatch.setattr(notebooks.subprocess, "run", lambda *a, **k: pytest.fail("ran again"))
    assert report.main() == 0
    assert "01_good.ipynb: up to date" in capsys.readouterr().out


def test_a_change_of_the_notebook_or_the_code_makes_it_stale(place):
    book = place / "notebooks" / "01_good.ipynb"
    before = notebooks.inputs_digest(book)
    (place / "lib" / "new.py").write_text("x = 1\n")
    assert notebooks.inputs_digest(book) != before
