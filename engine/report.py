"""One self-contained page, reports/index.html, from what the notebooks have made.

`python -m engine.report` writes it; `make report` has the notebooks run first (see report.smk).
Figures with their captions and alt texts, tables from the records of the quick scale, published
tables of larger runs, links to the executed notebooks and where the numbers come from. Nothing
on the page refers to another site, and everything that is text is escaped. Exits with 1 where a
notebook failed; its section says so, with the cell and the error.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import pandas as pd
from markupsafe import Markup
from nbconvert import HTMLExporter

from engine import publish
from engine.notebooks import EXECUTED, Outcome, all_notebooks, outcome
from lib.files import REPORTS, ROOT, write_text
from lib.run import claims, records, tables
from lib.run.records import Record

TEMPLATES = Path(__file__).parent / "templates"
PAGE = REPORTS / "index.html"


def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    first = nbformat.read(notebook, as_version=4).cells[0].source
    return first.splitlines()[0].lstrip("# ")


def figures_of(name: str) -> list[dict[str, str]]:
    """The figures that a notebook has saved, in the order in which it made them."""
    folder = EXECUTED / name / "figures" / "quick"
    found = []
    for about in sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        svg = about.with_suffix(".svg")
        if svg.exists():
            drawn = base64.b64encode(svg.read_bytes()).decode()
            found.append(json.loads(about.read_text()) | {"svg": drawn})
    return found


def tables_of(found: list[Record]) -> list[dict[str, str]]:
    """A notebook's runs: one table for each test mask, a row a run. None of them is empty."""
    made = []
    for mask in sorted({mask for record in found for mask in masks_of(record)}):
        rows = [row_of(record, mask) for record in found if mask in masks_of(record)]
        frame = pd.DataFrame(rows).dropna(axis=1, how="all")
        if mask == "none":
            title = "Whole test images, nothing hidden"
        else:
            title = f"Test images under {mask.replace('@', ' masks, ratio ')}"
        made.append(shown(title, frame))
    return made


def claims_of(name: str) -> list[dict[str, str]]:
    """What a notebook claimed, what it measured, and how much room is left."""
    file = claims.file_of(EXECUTED / name, "quick", name)
    if not file.exists():
        return []
    made = json.loads(file.read_text())
    frame = claims.table(made).reset_index()
    frame.insert(1, "statement", [claim["statement"] for claim in made])
    frame.insert(2, "holds", ["yes" if claim["holds"] else "NO" for claim in made])
    return [shown("Claims", frame)]


def masks_of(record: Record) -> set[str]:
    """The test masks that a record was judged on."""
    return {name.split("/")[0] for name in record.metrics.get("test", {}) if "/" in name}


def row_of(record: Record, mask: str) -> dict[str, Any]:
    """One run under one test mask: what it is, its data, epochs and images, its measures."""
    measures = record.metrics["test"]
    filled = [measure.n for name, measure in measures.items() if name.startswith(f"{mask}/")]
    probed = [measures[name].n for name in tables.FEATURES if name in measures]
    about = {
        "run": describe(record),
        "data": publish.data_of(record),
        "epochs": record.parameters["recipe"]["epochs"],
        "images filled": filled[0],
        "images probed": str(probed[0]) if probed else "",
    }
    values = tables.row(record, mask)
    return about | {title: values[title] for title in values if title not in ("epochs", "n")}


def describe(record: Record) -> str:
    """A run in a few words: what distinguishes it from its neighbours in a table."""
    options = record.parameters["options"]
    words = [publish.trained_as(record)]
    words += [f"{options[name]} numbers" for name in ("latent", "components") if name in options]
    if "prior" in options:
        words.append(str(options["prior"]))
    if options.get("hidden") == []:
        words.append("linear")
    if record.parameters["recipe"]["epochs"]:
        words.append(f"seed {record.parameters['seed']}")
    return ", ".join(words)


def shown(title: str, frame: pd.DataFrame) -> dict[str, str]:
    """A table for the page; pandas escapes its text, so it goes in as it is."""
    html = frame.to_html(index=False, na_rep="", float_format="{:.3g}".format, border=0)
    return {"title": title, "html": Markup(html)}


def write_html(notebook: Path) -> None:
    """The executed notebook as a page of its own."""
    template = str(TEMPLATES / "notebook.html.j2")
    exporter = HTMLExporter(template_file=template, extra_template_basedirs=[str(TEMPLATES)])
    html, _ = exporter.from_filename(str(EXECUTED / notebook.name))
    write_text(EXECUTED / f"{notebook.stem}.html", html)


def page(outcomes: list[Outcome]) -> str:
    """The report as HTML."""
    found: list[Record] = []
    parts = []
    for notebook, went in zip(all_notebooks(), outcomes, strict=True):
        own = records.read_all(EXECUTED / notebook.stem / "results" / "quick")
        found += own
        parts.append(part(notebook, went, own))
    published = [shown(title, frame) for title, frame in publish.views().items()]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    template = environment.get_template("page.html.j2")
    return template.render(
        parts=parts, published=published, count=len(found), **provenance_of(found)
    )


def part(notebook: Path, went: Outcome, own: list[Record]) -> dict[str, Any]:
    """The section of one notebook."""
    return {
        "name": notebook.stem,
        "title": title_of(notebook),
        "seconds": went.seconds,
        "error": went.error,
        "figures": figures_of(notebook.stem),
        "tables": [*claims_of(notebook.stem), *tables_of(own)],
    }


def provenance_of(found: list[Record]) -> dict[str, Any]:
    """Where the newest of the records comes from, in words."""
    if not found:
        return {"machine": "", "versions": "", "commit": None, "dirty": None}
    last = max((record.provenance for record in found), key=lambda origin: origin.started)
    return {
        "machine": ", ".join(f"{name} {value}" for name, value in last.machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in last.versions.items()),
        "commit": last.commit,
        "dirty": last.dirty,
    }


def out_of_date(rendered: Path, copy: Path) -> bool:
    """Whether an executed notebook is newer than its page."""
    return not rendered.exists() or rendered.stat().st_mtime < copy.stat().st_mtime


def main() -> int:
    """Write the page from what has been run; 1 where a notebook failed."""
    outcomes = [outcome(notebook) for notebook in all_notebooks()]
    for notebook in all_notebooks():
        copy = EXECUTED / notebook.name
        if copy.exists() and out_of_date(EXECUTED / f"{notebook.stem}.html", copy):
            write_html(notebook)
    write_text(PAGE, page(outcomes))
    print("wrote", PAGE.relative_to(ROOT))
    return int(any(went.error for went in outcomes))


if __name__ == "__main__":
    sys.exit(main())
