"""The default target: notebooks that run, one that fails, and the page of both."""

import base64
import hashlib
import html
import json
import os
import re
import shutil

import checkout
import nbformat
import pandas as pd
import pytest

from engine import executed, grids, notebooks, publish, report
from engine.notebooks import Outcome
from engine.story import html as html_of
from engine.story import references, story_of
from lib.files import NOTEBOOKS, replace_file
from lib.run import records
from lib.run.experiment import run
from lib.run.records import Measure
from lib.run.settings import Execution, Experiment
from lib.run.tables import FEATURES

OUTPUT = "execution = {}"
DRAW = """
from pathlib import Path
shelf = Path(execution["output"]) / "figures" / "quick"
shelf.mkdir(parents=True)
about = '{"alt": "an \\\\"alt\\\\"", "caption": "<script>alert(1)</script>"}'
(shelf / "01-a.json").write_text(about)
(shelf / "01-a.svg").write_text("<svg/>")
"""
STAMP = '{{"label": "a notebook", "seconds": {seconds}, "records": []}}'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkout after `make report`: a notebook that fails, a good one, one that was run before."""
    place = checkout.make(tmp_path_factory.mktemp("checkout with a space"))
    error = "raise ValueError('a <b>bold</b> error')"
    checkout.write_notebook(place, "01_bad", OUTPUT, error, title="What is bad?")
    checkout.write_notebook(place, "02_good", OUTPUT, DRAW, title="What is good & <i>why</i>?")
    again = "raise ValueError('not run again')"
    done = checkout.write_notebook(place, "03_done", OUTPUT, again, title="What was done?")
    with pytest.MonkeyPatch.context() as patch:
        in_checkout(patch, place)
        stamp = notebooks.stamp_of(done)
        replace_file(notebooks.EXECUTED / done.name, lambda aside: shutil.copy(done, aside))
    replace_file(stamp, lambda aside: aside.write_text(STAMP.format(seconds=7.0)))
    os.utime(stamp, (4e9, 4e9))  # a clock that has jumped back since
    return place, checkout.command(place, "-m", "engine.snakemake")


def in_checkout(patch, place):
    """Paths of `notebooks` lead into a checkout."""
    patch.setattr(notebooks, "ROOT", place)
    patch.setattr(notebooks, "NOTEBOOKS", place / "notebooks")
    patch.setattr(notebooks, "REPORTS", place / "reports")
    patch.setattr(notebooks, "EXECUTED", place / "reports" / "notebooks")


def test_a_failed_notebook_does_not_stop_the_others_and_is_shown(place):
    place, done = place
    assert done.returncode == 1, done.stderr
    assert "02_good: done in" in done.stdout
    assert "01_bad: FAILED" in done.stdout
    assert "ValueError" in done.stdout
    assert re.search(r"Notebooks done: 2, failed: 1, in \d+ min \d+ s\.", done.stdout)
    assert "Complete log" not in done.stdout + done.stderr, "the engine's own words"
    page = (place / "reports" / "index.html").read_text()
    assert "This notebook failed." in page
    assert "cell 2" in page
    assert "ValueError: a &lt;b&gt;bold" in page
    assert checkout.command(place, "-m", "engine.report").returncode == 1, "the page alone too"


def test_the_page_runs_its_own_script_alone_and_is_self_contained(place):
    page = (place[0] / "reports" / "index.html").read_text()
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert scripts == [(report.TEMPLATES / "page.js").read_text()] and page.count("<script") == 1
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    own = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{own}'" in html.unescape(policy)
    assert "&lt;script&gt;" in page
    assert 'alt="an &#34;alt&#34;"' in page
    assert "What is good &amp; &lt;i&gt;why" in page
    for outside in ("http://", "https://"):
        assert outside not in page
    executed = (place[0] / "reports" / "notebooks" / "02_good.html").read_text()
    for outside in ("<script src=", "cdnjs", "unpkg"):
        assert outside not in executed


def test_what_was_run_before_is_not_run_again_and_what_failed_is_open(place, monkeypatch):
    place, done = place
    assert "03_done" not in done.stdout
    assert "What was done?" in (place / "reports" / "index.html").read_text()
    in_checkout(monkeypatch, place)
    bad, good, old = notebooks.all_notebooks()
    assert not notebooks.stamp_of(bad).exists()
    assert notebooks.stamp_of(good).exists()
    assert notebooks.outcome(old).seconds == 7
    assert "ValueError" in notebooks.outcome(bad).error
    later = STAMP.format(seconds=1.0)
    replace_file(notebooks.stamp_of(bad), lambda aside: aside.write_text(later))
    assert notebooks.outcome(bad).error is None, "a later success counts"


def test_longer_runs_that_a_notebook_read_stand_in_its_section(tmp_path, monkeypatch):
    """Those that came with the code, and what it trained itself; quick ones are read by folder."""
    small = {"dataset": "digits", "subset": 60, "evaluate_images": 10, "probe": False}
    made = []
    for folder, seed in (("reports", 0), ("executed/06_larger", 1)):
        how = Execution(output=str(tmp_path / folder), scale="standard", progress=False)
        made.append(run(Experiment(model="mean_fill", seed=seed, **small), how).record)
    monkeypatch.setattr(report, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(report, "EXECUTED", tmp_path / "executed")
    names = tuple(f"standard/{record.name}.json" for record in made)
    went = Outcome("06_larger", 1.0, None, ("quick/x.json", *names, "standard/gone.json"))
    assert report.longer_runs(went) == made


def test_of_many_kinds_of_gaps_the_usual_ones_have_tables():
    few = {"block@0.75", "rows@0.75", "random@0.75"}
    assert grids.shown_masks(few) == sorted(few)
    many = few | {f"{name}@0.75" for name in ("grid", "units", "uniform", "edges", "centre")}
    assert grids.shown_masks(many) == ["block@0.75", "grid@0.75", "random@0.75"]


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


def test_a_page_is_made_anew_when_its_notebook_or_what_makes_pages_is_newer(tmp_path, monkeypatch):
    copy, maker, made = (tmp_path / name for name in ("01.ipynb", "executed.py", "01.html"))
    monkeypatch.setattr(report, "MAKERS", (maker,))
    for second, file in enumerate((copy, maker)):
        file.touch()
        os.utime(file, (second, second))
    assert report.out_of_date(made, copy), "there is none"
    made.touch()
    assert not report.out_of_date(made, copy)
    for newer, older in ((copy, maker), (maker, copy)):
        for file, second in ((older, 1), (made, 2), (newer, 3)):
            os.utime(file, (second, second))
        assert report.out_of_date(made, copy)


# --- the tables of the page


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Records of two baselines: one that fills gaps, one whose features are probed."""
    how = Execution(output=str(tmp_path_factory.mktemp("runs")), progress=False, threads=1)
    small = {"dataset": "digits", "subset": 60, "evaluate_images": 10, "probe_images": 40}
    masks = ("none", "random@0.75")
    for name in ("mean_fill", "pca", "raw_pixels"):
        run(Experiment(model=name, test_masks=masks, **small), how)
    return records.read_all(how.results)


def test_a_table_for_each_mask_says_what_each_row_is_of(found):
    *made, features = grids.tables_of(found)
    titles = ["Whole test images, nothing hidden", "Test images under random masks, ratio 0.75"]
    assert [table.title for table in made] == titles
    keys = {record.model.family: record.key for record in found}
    for table in made:
        assert table.same == "data: digits, 60 training images; epochs: 0; images: 10"
        assert {key for row in table.rows for key in row.keys.values()} == {
            keys["mean_fill"],
            keys["pca"],
        }, "raw pixels fill no gaps"
    assert {key for row in features.rows for key in row.keys.values()} == {
        keys["raw_pixels"],
        keys["pca"],
    }, "the mean image has no features"
    assert "images: 300" in features.same and features.columns == ["linear probe", "k-NN"]


def test_what_is_best_stands_first(found):
    for table in grids.tables_of(found)[1:]:
        best, worst = (row.cells[table.columns[0]].value for row in table.rows)
        assert best > worst


def test_seeds_are_one_row_with_their_mean_and_interval(found):
    (one,) = [record for record in found if record.model.family == "pca"]
    shifted = []
    for seed, by in enumerate((-0.1, 0.0, 0.1)):
        told = one.metrics["test"]["probe_accuracy"]
        changed = told.model_copy(update={"value": 0.5 + by})
        metrics = one.metrics | {"test": {"probe_accuracy": changed}}
        own = {"key": f"{seed}" * 16, "parameters": one.parameters | {"seed": seed}}
        shifted.append(one.model_copy(update=own | {"metrics": metrics}))
    (table,) = grids.tables_of(shifted[::-1])
    (row,) = table.rows
    assert list(row.keys) == ["0", "1", "2"], "in order"
    assert row.keys == {"0": "0" * 16, "1": "1" * 16, "2": "2" * 16}
    half = 4.3027 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    assert row.cells["linear probe"] == grids.Entry(f"0.500 ± {half:.3f}", pytest.approx(0.5))


def test_few_labels_have_their_accuracies(found):
    told = found[0].metrics["test"] | {"accuracy@0.01": Measure(value=0.25, n=7)}
    few = found[0].model_copy(update={"metrics": {"test": told}})
    table = grids.tables_of([few])[0]
    assert (table.title, table.columns[-1]) == ("Accuracy with few labels", "1% of the labels")
    assert table.rows[0].cells["1% of the labels"] == grids.Entry("0.250", 0.25)


def test_shares_that_are_close_have_a_column_each(found):
    some = {f"accuracy@{share}": Measure(value=0.2, n=7) for share in (0.001, 0.004, 0.125)}
    few = found[0].model_copy(update={"metrics": {"test": some}})
    shares = [f"{share}% of the labels" for share in ("0.1", "0.4", "12.5")]
    assert grids.tables_of([few])[0].columns[-3:] == shares


def test_a_row_leads_to_its_record_which_is_on_the_page(found, monkeypatch):
    monkeypatch.setattr(
        report, "all_notebooks", lambda: [NOTEBOOKS / "01_vanilla_autoencoder.ipynb"]
    )
    monkeypatch.setattr(records, "read_all", lambda folder: found)
    page = report.page([Outcome("01_vanilla_autoencoder", 1.0, None)])
    linked = set(re.findall(r'href="#record-(\w+)"', page))
    there = set(re.findall(r'id="record-(\w+)"', page))
    assert {record.key for record in found} <= linked <= there
    for record in found:
        (text,) = re.findall(rf'id="record-{record.key}"><summary>.*?<pre>(.*?)</pre>', page)
        told = json.loads(html.unescape(text))
        assert told["metrics"]["test"] == json.loads(record.model_dump_json())["metrics"]["test"]


def test_a_published_number_is_the_mean_of_the_records_that_it_leads_to():
    named = publish.FILLED | publish.GAPS | FEATURES
    of = {title: name for name, title in named.items()}
    made = {one.key: one for one in publish.current("standard")}
    checked = 0
    for row in [row for table in grids.published() for row in table.rows]:
        for title in of.keys() & row.cells.keys():
            text = row.cells[title].text.partition(" ")[0]
            values = [made[key].metrics["test"].get(of[title]) for key in row.keys.values()]
            if None in values:
                assert text == ""
            else:
                mean = sum(one.value for one in values) / len(values)
                assert float(text) == pytest.approx(mean, abs=0.51 * 0.1 ** len(text.split(".")[1]))
                checked += 1
    assert checked > 30


def test_a_section_says_on_how_many_runs_its_claims_were_measured(found, monkeypatch):
    (book,) = NOTEBOOKS.glob("01_*.ipynb")
    monkeypatch.setattr(report, "all_notebooks", lambda: [book])
    monkeypatch.setattr(records, "read_all", lambda folder: found)
    claim = {"claim": 1, "statement": "s", "value": 1.0, "above": 0.0, "below": None, "holds": True}
    monkeypatch.setattr(report, "claims_of", lambda name: [claim | {"bounds": "above 0"}])
    page = report.page([Outcome(book.stem, 1.0, None)])
    assert f"Measured on {len(found)} runs, which stand at the end of this section" in page


def test_every_link_on_the_page_leads_to_something_on_it(monkeypatch):
    """But those to executed notebooks, which lie beside it."""
    books = sorted(NOTEBOOKS.glob("0*.ipynb"))
    monkeypatch.setattr(report, "all_notebooks", lambda: books)
    page = report.page([Outcome(book.stem, 1.0, None) for book in books])
    links = set(re.findall(r'href="([^"]*)"', page))
    beside = {f"notebooks/{book.stem}.html" for book in books}
    there = {f"#{place}" for place in re.findall(r'id="([^"]*)"', page)}
    assert beside <= links and links - beside <= there
    assert any(link.startswith("#he2022") for link in links), "works are cited on the page"


def test_the_page_of_what_is_committed_goes_by_mail(monkeypatch, tmp_path):
    """Its text and records, with the pictures as notebooks hold them: larger than as WebP."""
    books = sorted(NOTEBOOKS.glob("0*.ipynb"))
    monkeypatch.setattr(report, "all_notebooks", lambda: books)
    monkeypatch.setattr(report, "EXECUTED", tmp_path)
    page = report.page([Outcome(book.stem, 1.0, None) for book in books])
    cells = [cell for book in books for cell in nbformat.read(book, 4).cells]
    data = [out.get("data", {}) for cell in cells for out in cell.get("outputs", [])]
    pictures = [text for one in data for kind, text in one.items() if kind.startswith("image/")]
    assert len(pictures) > 40
    assert len(page.encode()) + sum(map(len, pictures)) < report.LARGEST


def test_the_picture_that_the_page_opens_with_is_in_it_once(monkeypatch, tmp_path):
    (book,) = NOTEBOOKS.glob("03_*.ipynb")
    shelf = tmp_path / book.stem / "figures" / "quick"
    shelf.mkdir(parents=True)
    (shelf / f"{report.HERO}.json").write_text('{"alt": "photographs", "caption": "Ten."}')
    (shelf / f"{report.HERO}.svg").write_text("<svg/>")
    monkeypatch.setattr(report, "all_notebooks", lambda: [book])
    monkeypatch.setattr(report, "EXECUTED", tmp_path)
    page = report.page([Outcome(book.stem, 1.0, None)])
    assert page.count('alt="photographs"') == 1
    assert page.index('id="hero"') < page.index('href="#hero"')


def test_the_page_tells_what_each_notebook_found(monkeypatch):
    books = sorted(NOTEBOOKS.glob("0*.ipynb"))
    monkeypatch.setattr(report, "all_notebooks", lambda: books)
    page = report.page([Outcome(book.stem, 1.0, None) for book in books])
    for book in books:
        told = story_of(book)
        assert told.question.endswith("?") and len(told.answer) > 60 and len(told.conclusion) > 60
        assert page.count(told.answer) == 1 and told.conclusion in page


def test_numbers_of_a_table_are_those_of_the_record(found):
    (record,) = [record for record in found if record.model.family == "pca"]
    table = grids.tables_of(found)[1]
    (row,) = [row for row in table.rows if record.key in row.keys.values()]
    value = record.value("random@0.75/psnr_hidden")
    assert row.cells["PSNR hidden [dB]"] == grids.Entry(f"{value:.2f}", value)


def test_no_run_gives_no_table():
    assert grids.tables_of([]) == []


def test_text_of_a_notebook_is_escaped_and_links_stay_on_the_page():
    told = html_of("**A** <b>b</b> [x](04_y.ipynb) [z](../REFERENCES.md#he2022) [w](../README.md)")
    assert "<strong>A</strong> &lt;b&gt;b&lt;/b&gt;" in told
    assert '<a href="#04_y">x</a> <a href="#he2022">z</a> w' in told
    assert "javascript" not in html_of("[a](javascript:alert(1)) ![b](javascript:alert(1))")


def test_published_views_are_on_the_page_where_there_are_any(monkeypatch):
    monkeypatch.setattr(report, "all_notebooks", list)
    view = pd.DataFrame({"data": ["a"], "training": ["<b>"], "k-NN": ["0.5"]})
    monkeypatch.setattr(publish, "views", lambda: {"A view": view})
    page = report.page([])
    assert "A view" in page
    assert "&lt;b&gt;" in page
    monkeypatch.setattr(publish, "views", dict)
    assert "Published runs" not in report.page([])


# --- the executed notebooks as pages


@pytest.mark.parametrize("book", sorted(NOTEBOOKS.glob("0*.ipynb")), ids=lambda book: book.stem)
def test_the_page_of_a_notebook_stands_alone(book):
    """Links lead to pages that are made, pictures are inside, equations are drawn."""
    page = executed.html_of(book)
    told = story_of(book)
    assert f"<title>{html.escape(told.question, quote=False)}</title>" in page
    stems = {f"{other.stem}.html" for other in NOTEBOOKS.glob("0*.ipynb")}
    keys = {key for shelf in references() for key in (shelf.key, *(key for key, _ in shelf.works))}
    on_report = {f"../index.html#{key}" for key in keys | {"references"}}
    links = {link for link in re.findall(r'<a\b[^>]*href="([^"]*)"', page) if link[0] != "#"}
    outside = {link for link in links if link.startswith("https://")}
    assert stems & links and links - outside <= stems | on_report
    pictures = re.findall(r"<img\b[^>]*>", page)
    assert len(pictures) >= 4
    for picture in pictures:
        assert 'src="data:image/' in picture
        assert re.search(r'alt="[^"]{10,}"', picture) and "No description" not in picture
    prose = "".join(
        cell.source
        for cell in nbformat.read(book, as_version=4).cells
        if cell.cell_type == "markdown"
    )
    assert page.count("<math") == len(executed.MATH.findall(prose))
    drawn = "".join(re.findall(r"<math.*?</math>", page))
    assert "\\" not in drawn, "a command that is not known is left as it is"
