"""What a reader's browser makes of the page: at desktop and phone width, by day and by night.

Chromium, driven by Playwright; where there is none these tests are skipped. Screenshots of what
was tested lie in reports/screenshots, for people to look at.
"""

import os
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pytest

from engine import notebooks, report
from lib import figures
from lib.files import NOTEBOOKS, REPORTS, ROOT
from lib.run import records
from lib.run.experiment import run
from lib.run.settings import Execution, Experiment

SCREENSHOTS = REPORTS / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SERIOUS = ("serious", "critical")
# `make test` has one notebook run in JupyterLab, one that trains nothing; `make test-browser` all.
EVERY = sorted(file.stem for file in NOTEBOOKS.glob("[0-9]*.ipynb"))
IN_LAB = EVERY if os.environ.get("EVERY_NOTEBOOK") else ["06_larger_data"]
# And `make test` looks at the page in two ways, each of which differs in both from the other.
LOOKS = [("desktop", "dark"), ("phone", "light")]
if os.environ.get("EVERY_NOTEBOOK"):
    LOOKS += [("desktop", "light"), ("phone", "dark")]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright  # here: it costs each worker half a second

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The page of two notebooks as they are committed, with a figure and runs of their own; with
    `make test-browser`, and after `make report`, the page of that.
    """
    if os.environ.get("EVERY_NOTEBOOK") and report.PAGE.exists():
        return report.PAGE
    place = tmp_path_factory.mktemp("reports")
    books = sorted(NOTEBOOKS.glob("0[13]*.ipynb"))
    small = {"dataset": "digits", "subset": 60, "evaluate_images": 10, "probe_images": 40}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda shown: None)
        patch.setattr(report, "EXECUTED", place / "notebooks")
        patch.setattr(report, "all_notebooks", lambda: books)
        for book in books:
            own = Execution(output=str(place / "notebooks" / book.stem), progress=False, threads=1)
            for model in ("mean_fill", "pca", "biharmonic", "raw_pixels"):
                run(Experiment(model=model, **small), own)
            drawn = figures.bars({"One": {"a": (0.5, 0.1), "b": (0.2, 0.1)}})
            name = f"{book.stem[:2]}-bars"
            figures.publish(drawn, name, "Two bars.", "Two bars that differ.", own.figures)
        assert records.read_all(own.results)
        page = place / "index.html"
        page.write_text(report.page([notebooks.Outcome(one.stem, 1.0, None) for one in books]))
    return page


def opened(browser, file, size="desktop", scheme="light"):
    """The page in a window, and what the browser said and asked for meanwhile."""
    width, height = SIZES[size]
    window = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    told = []
    window.on("console", lambda message: told.append(message.text))
    window.on("pageerror", lambda error: told.append(str(error)))
    window.on("request", lambda request: told.append(request.url))
    window.goto(file.as_uri())
    asked = [one for one in told if not one.startswith("data:") and one != file.as_uri()]
    return window, asked


def unfold(window) -> None:
    """Open all that is folded but the records."""
    for folded in window.query_selector_all("section > details:not(.records) > summary"):
        folded.click()


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_the_page_is_whole_quiet_and_readable_for_everybody(browser, page_file, size, scheme):
    """Nothing said on the console, nothing asked of the network, no finding of axe, all pictures
    decoded, nothing that scrolls sideways but what is framed.
    """
    from axe_playwright_python.sync_playwright import Axe

    assert page_file.stat().st_size < report.LARGEST, "it goes by mail"
    window, said = opened(browser, page_file, size, scheme)
    assert said == []
    unfold(window)
    broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
    assert window.evaluate(broken) == 0
    assert window.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    found = Axe().run(window).response["violations"]
    serious = {
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in SERIOUS or one["id"] == "landmark-unique"
    }
    assert not serious
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    window.screenshot(path=SCREENSHOTS / f"page-{size}-{scheme}.png", full_page=True)
    window.close()


def test_a_table_sorts_by_the_heading_that_is_pressed(browser, page_file):
    window, _ = opened(browser, page_file)
    unfold(window)
    table = window.locator("table").first
    headings = table.locator("thead th").all_inner_texts()
    column = headings.index("SSIM all")
    button = table.locator("thead button").nth(column)

    def values():
        return [
            float(cell)
            for cell in table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts()
        ]

    button.click()
    assert values() == sorted(values(), reverse=True) and len(values()) >= 3
    button.focus()
    window.keyboard.press("Enter")
    assert values() == sorted(values())
    assert table.locator("thead th").nth(column).get_attribute("aria-sort") == "ascending"
    window.close()


def test_a_row_leads_to_its_record_and_unfolds_it(browser, page_file):
    window, _ = opened(browser, page_file)
    unfold(window)
    link = window.locator("tbody td a").first
    target = window.locator(link.get_attribute("href"))
    assert not target.locator("pre").is_visible()
    link.click()
    assert target.locator("pre").is_visible() and '"metrics"' in target.inner_text()
    window.close()


def test_of_the_strategies_the_chosen_one_is_shown(browser, page_file):
    window, _ = opened(browser, page_file)
    first, second = window.locator(".tabs input").all()[:2]
    tabs = window.locator(".tab")
    assert first.is_checked()
    assert [tab.is_visible() for tab in tabs.all()].count(True) == 1
    assert tabs.nth(0).is_visible()
    first.focus()
    window.keyboard.press("ArrowDown")
    assert second.is_checked() and tabs.nth(1).is_visible() and not tabs.nth(0).is_visible()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    window.locator("#compared").screenshot(path=SCREENSHOTS / "page-compared.png")
    window.close()


def test_everything_but_the_records_is_printed_and_no_figure_is_cut(browser, page_file, tmp_path):
    window, _ = opened(browser, page_file)
    window.emulate_media(media="print")
    window.evaluate("dispatchEvent(new Event('beforeprint'))")
    closed = window.evaluate(
        "document.querySelectorAll('details:not(.records):not([open])').length"
    )
    assert closed == 0 and window.locator("table").first.is_visible()
    printed = window.pdf(path=tmp_path / "page.pdf", format="A4")
    assert printed[:4] == b"%PDF"
    paper = 25.7 * 96 / 2.54  # height of what an A4 sheet holds between margins, in CSS pixels
    tallest = window.evaluate("Math.max(...[...document.images].map(i => i.height))")
    assert 0 < tallest < paper
    window.close()


# --- JupyterLab

CORNER = """
from lib.data.embedded import photograph
from lib.models.published import load_pretrained
from lib.run.explore import explore

tried = {name: photograph(name, 128) for name in ("cat", "coffee")}
explore(load_pretrained("imagenette-mae").eval(), tried, ["random", "block"], print)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `make lab` starts it, on copies of the notebooks: its address and folder."""
    place = tmp_path_factory.mktemp("lab")
    (place / "notebooks").mkdir()
    for file in NOTEBOOKS.glob("[0-9]*.ipynb"):
        book = nbformat.read(file, 4)
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, place / "notebooks" / file.name)
    sliders = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CORNER)])
    sliders.metadata = book.metadata
    nbformat.write(sliders, place / "notebooks" / "sliders.ipynb")
    shutil.copy(ROOT / "README.md", place)
    shutil.copytree(ROOT / "docs" / "pictures", place / "docs" / "pictures")
    own = {"HOME": str(place), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    own |= {"JUPYTER_CONFIG_PATH": str(ROOT / "engine" / "lab")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    words += [f"--ServerApp.root_dir={place}", "--ServerApp.port_retries=0"]
    words += ["--IdentityProvider.token=secret", "--LabApp.default_url=/lab/tree/README.md"]
    log = place / "server.log"
    with log.open("w") as told:
        server = subprocess.Popen(words, env=os.environ | own, stdout=told, stderr=told, cwd=place)
    try:
        until(lambda: "is running at" in log.read_text(), log)
        yield f"http://127.0.0.1:{port}", place
    finally:
        server.terminate()
        server.wait(30)


def until(condition, log, patience=120):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.2)


def pictures(book) -> int:
    """How many a notebook shows; sliders, where somebody looks, are one."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    return sum(kind.startswith(("image/", "application/vnd.jupyter.widget-view")) for kind in kinds)


def errors(book) -> list[str]:
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return [output.evalue for output in outputs if output.output_type == "error"]


def test_jupyterlab_opens_on_the_front_page_and_asks_nothing(browser, lab):
    address, _ = lab
    window = browser.new_page(viewport={"width": 1400, "height": 1000})
    window.goto(f"{address}/?token=secret")
    page = window.locator(".jp-RenderedMarkdown h1")
    page.wait_for(timeout=120_000)
    assert page.inner_text().startswith("Uncovering hidden patterns")
    window.wait_for_function("document.querySelector('.jp-RenderedMarkdown img')?.naturalWidth > 0")
    window.wait_for_timeout(3000)
    assert window.locator(".jp-Dialog, .Toastify__toast").count() == 0
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    window.screenshot(path=SCREENSHOTS / "lab.png")
    window.close()


def run_all(browser, address, name):
    """A notebook opened in JupyterLab, with all of its cells begun.

    Each in a workspace of its own: JupyterLab opens again what the last window had open, and a
    notebook of before would be the one that is run.
    """
    window = browser.new_page(viewport={"width": 1400, "height": 1000})
    window.goto(f"{address}/lab/workspaces/{name}/tree/notebooks/{name}.ipynb?token=secret")
    window.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    tabs = window.locator("#jp-main-dock-panel .lm-TabBar-tabLabel").all_inner_texts()
    assert tabs == [f"{name}.ipynb"]
    window.get_by_role("menuitem", name="Run", exact=True).click()
    window.get_by_text("Run All Cells", exact=True).click()
    return window


@pytest.mark.parametrize("name", IN_LAB)
def test_run_all_ends_without_an_error_and_with_every_figure(browser, lab, name):
    address, place = lab
    window = run_all(browser, address, name)
    copy = place / "notebooks" / f"{name}.ipynb"

    def ended() -> bool:
        """Told by what is saved: a kernel is idle between any two cells."""
        window.keyboard.press("Control+s")
        window.wait_for_timeout(1000)
        book = nbformat.read(copy, 4)
        last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
        return last.execution_count is not None or errors(book) != []

    until(ended, place / "server.log", patience=1800)
    book, committed = nbformat.read(copy, 4), nbformat.read(NOTEBOOKS / copy.name, 4)
    assert errors(book) == []
    assert pictures(book) == pictures(committed) >= 4
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    window.screenshot(path=SCREENSHOTS / f"lab-{name}.png")
    window.close()


def test_a_slider_redraws(browser, lab):
    window = run_all(browser, lab[0], "sliders")
    drawn, words = (
        window.locator("img.widget-image"),
        window.locator(".jp-OutputArea .widget-label"),
    )
    drawn.wait_for(timeout=120_000)
    before = drawn.get_attribute("src")
    assert any("on the hidden 75%" in text for text in words.all_inner_texts())
    handle = window.locator(".noUi-handle").first
    handle.focus()
    handle.press("ArrowRight")
    window.get_by_text("on the hidden 85%").wait_for(timeout=60_000)
    assert drawn.get_attribute("src") != before
    window.screenshot(path=SCREENSHOTS / "lab-sliders.png")
    window.close()
