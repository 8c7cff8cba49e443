"""One self-contained page, reports/index.html, from what the notebooks have made: `python -m lib.report`.

Figures with their captions and alt texts, tables from the records of the quick
scale, published tables of larger runs, links to the executed notebooks and where the
numbers come from. Nothing on the page refers to another site. Exits with 1 where a
notebook failed; its section says so, with the cell and the error. `make report` has
the notebooks run first (see report.smk).
"""

import base64
import json
import sys
from pathlib import Path

import jinja2
import nbformat
import pandas as pd

from lib import records, tables
from lib.files import replace_file
from lib.notebooks import EXECUTED, Outcome, all_notebooks, outcome
from lib.paths import REPORTS

TEMPLATES = Path(__file__).parent / "templates"


def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    first = nbformat.read(notebook, as_version=4).cells[0].source
    return first.splitlines()[0].lstrip("# ")


def figures_of(name: str) -> list[dict[str, str]]:
    """The figures that a notebook has saved, in its order."""
    found = []
    for about in sorted((EXECUTED / name / "figures" / "quick").glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        svg = about.with_suffix(".svg")
        if svg.exists():
            found.append(json.loads(about.read_text()) | {"svg": base64.b64encode(svg.read_bytes()).decode()})
    return found


def table_of(found: list[records.Record]) -> list[dict[str, str]]:
    """A notebook's runs: one table for each test mask, a row a run."""
    masks = sorted({name.split("/")[0] for record in found for name in record.metrics.get("test", {}) if "/" in name})
    made = []
    for mask in masks:
        chosen = [record for record in found if any(name.startswith(f"{mask}/") for name in record.metrics.get("test", {}))]
        frame = pd.DataFrame({describe(record): tables.row(record, mask) for record in chosen}).T.dropna(axis=1, how="all")
        html = frame.to_html(na_rep="", float_format=lambda value: f"{value:.3g}", border=0)
        title = "Whole test images, nothing hidden" if mask == "none" else f"Test images under {mask.replace('@', ' masks, ratio ')}"
        made.append({"title": title, "html": html})
    return made


def describe(record: records.Record) -> str:
    """A run in a few words: what distinguishes it from its neighbours in a table."""
    parameters, options = record.parameters, record.parameters["options"]
    epochs = parameters["recipe"]["epochs"]
    words = [tables.trained_as(record.model.label, parameters)]
    words += [f"{options[name]} numbers" for name in ("latent", "components") if name in options]
    words += [str(options["prior"])] if "prior" in options else []
    words += ["linear"] if options.get("hidden") == [] else []
    if options.get("loss_on"):
        words += [f"{epochs} epochs", f"seed {parameters['seed']}"]
    return ", ".join(words)


def write_html(notebook: Path) -> None:
    """The executed notebook as a page of its own."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_file=str(TEMPLATES / "notebook.html.j2"), extra_template_basedirs=[str(TEMPLATES)])
    page, _ = exporter.from_filename(str(EXECUTED / notebook.name))
    replace_file(EXECUTED / f"{notebook.stem}.html", lambda aside: aside.write_text(page))


def published_tables() -> list[dict[str, str]]:
    """The published views, as in README."""
    from lib.publish import views

    return [{"title": title, "html": frame.to_html(index=False, border=0)} for title, frame in views().items()]


def page(outcomes: list[Outcome]) -> str:
    """The report as HTML; everything that is text is escaped."""
    found, parts = [], []
    for notebook, went in zip(all_notebooks(), outcomes, strict=True):
        own = records.read_all(EXECUTED / notebook.stem / "results" / "quick")
        about = {"name": notebook.stem, "title": title_of(notebook), "seconds": went.seconds, "error": went.error}
        parts.append(about | {"figures": figures_of(notebook.stem), "tables": table_of(own)})
        found += own
    last = max(found, key=lambda record: record.provenance.started, default=None)
    where = last.provenance.model_dump() if last else {"machine": {}, "versions": {}, "commit": None, "dirty": None}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    for part in parts:
        part["tables"] = [table | {"html": safe(table["html"])} for table in part["tables"]]
    return environment.get_template("page.html.j2").render(
        parts=parts,
        published=[table | {"html": safe(table["html"])} for table in published_tables()],
        count=len(found),
        machine=", ".join(f"{name} {value}" for name, value in where["machine"].items()),
        versions=", ".join(f"{name} {value}" for name, value in where["versions"].items()),
        commit=where["commit"],
        dirty=where["dirty"],
    )


def safe(html: str):
    """A table that pandas has made, and escaped."""
    import markupsafe

    return markupsafe.Markup(html)


def main() -> int:
    """Write the page from what has been run; 1 where a notebook failed."""
    outcomes = [outcome(notebook) for notebook in all_notebooks()]
    for notebook in all_notebooks():
        copy, rendered = EXECUTED / notebook.name, EXECUTED / f"{notebook.stem}.html"
        if copy.exists() and (not rendered.exists() or rendered.stat().st_mtime < copy.stat().st_mtime):
            write_html(notebook)
    html = page(outcomes)
    replace_file(REPORTS / "index.html", lambda aside: aside.write_text(html))
    print("wrote", (REPORTS / "index.html").relative_to(REPORTS.parent))
    return int(any(went.error for went in outcomes))


if __name__ == "__main__":
    sys.exit(main())
