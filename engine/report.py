"""One self-contained page, reports/index.html, from what the notebooks have made.

`python -m engine.report` writes it; `make report` has the notebooks run first (see report.smk).
It tells the study: the answers of all notebooks; of each its question, its answer, its main
picture, its claims and what they measured, its conclusion, and folded below them all figures and
runs; the published tables of larger runs; the literature; where the numbers come from, with the
records themselves. Nothing on the page refers to another site, everything that is text is escaped,
and a policy in its head lets no script run but the page's own. It can be mailed: only the links to
the executed notebooks need files beside it. Exits with 1 where a notebook failed; its section says
so, with the cell and the error.
"""

import base64
import hashlib
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from nbconvert import HTMLExporter

from engine import publish
from engine.compared import compared
from engine.notebooks import EXECUTED, Outcome, all_notebooks, outcome
from engine.story import Story, references, story_of
from lib import figures
from lib.files import REPORTS, ROOT, write_text
from lib.run import claims, records, tables
from lib.run.records import Record

TEMPLATES = Path(__file__).parent / "templates"
PAGE = REPORTS / "index.html"
LOCK = ROOT / "requirements.lock"
HERO = "03-photographs"  # the figure that the page opens with


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    same: str  # what all of its rows share, in words
    columns: list[str]
    rows: list[tuple[str, list[Any]]]  # key of its record, empty for none; texts and numbers


def figures_of(name: str) -> list[dict[str, str]]:
    """The figures that a notebook has saved, in the order in which it made them."""
    folder = EXECUTED / name / "figures" / "quick"
    drawn = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [figures.saved(about) for about in drawn]


def tables_of(found: list[Record]) -> list[Table]:
    """A notebook's runs: one table for each test mask, a row a run. None of them is empty."""
    made = []
    for mask in sorted({mask for record in found for mask in masks_of(record)}):
        judged = sorted(
            (record for record in found if mask in masks_of(record)),
            key=lambda record: filled_best_first(record, mask),
        )
        frame = pd.DataFrame([row_of(record, mask) for record in judged]).dropna(axis=1, how="all")
        if mask == "none":
            title = "Whole test images, nothing hidden"
        else:
            title = f"Test images under {mask.replace('@', ' masks, ratio ')}"
        made.append(table_of(title, frame, [record.key for record in judged]))
    return made


def filled_best_first(record: Record, mask: str) -> float:
    """By which a table's rows are ordered, before a reader orders them otherwise."""
    found = record.metrics["test"]
    measures = [found.get(f"{mask}/{what}") for what in ("psnr_hidden", "psnr_all")]
    values = [one.value for one in measures if one is not None and one.value is not None]
    return -values[0] if values else math.inf


def table_of(title: str, frame: pd.DataFrame, keys: list[str] | None = None) -> Table:
    """A frame for the page, what all rows share said once instead of in each.

    The first column says what a row is, so it stays.
    """
    shared = [c for c in frame.columns[1:] if len(frame) > 1 and frame[c].nunique(False) == 1]
    texts = [name for name in shared if not isinstance(frame[name].iloc[0], float)]
    words = [f"{name}: {frame[name].iloc[0]}" for name in texts if frame[name].iloc[0] != ""]
    shown = frame.drop(columns=texts)
    rows = shown.astype(object).where(shown.notna(), "").to_numpy().tolist()
    of_rows = zip(keys or [""] * len(rows), rows, strict=True)
    return Table(title, "; ".join(words), [str(c) for c in shown], list(of_rows))


def claims_of(name: str) -> list[dict[str, Any]]:
    """What a notebook claimed, and what it measured."""
    file = claims.file_of(EXECUTED / name, "quick", name)
    if not file.exists():
        return []
    return [claim | {"bounds": claims.bounds(claim)} for claim in json.loads(file.read_text())]


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
    opening = [one["main"] for one in parts if one["main"] and one["main"]["name"] == HERO]
    published = [table_of(title, frame) for title, frame in publish.views().items()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    style, script = ((TEMPLATES / f"page.{kind}").read_text() for kind in ("css", "js"))
    return environment.get_template("page.html.j2").render(
        parts=parts,
        hero=opening[0] if opening else None,
        published=published,
        compared=compared(),
        references=references(),
        records=embedded(found),
        style=Markup(style),
        script=Markup(script),
        sums=[checksum(style), checksum(script)],
        lock=hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16],
        **provenance_of(found),
    )


def part(notebook: Path, went: Outcome, own: list[Record]) -> dict[str, Any]:
    """The section of one notebook."""
    told: Story = story_of(notebook)
    drawn = figures_of(notebook.stem)
    made = claims_of(notebook.stem)
    return {
        "name": notebook.stem,
        "story": told,
        "seconds": went.seconds,
        "error": went.error,
        "main": next((figure for figure in drawn if figure["name"] == told.picture), None),
        "figures": [figure for figure in drawn if figure["name"] != told.picture],
        "claims": made,
        "held": sum(claim["holds"] for claim in made),
        "tables": tables_of(own),
    }


def embedded(found: list[Record]) -> list[dict[str, str]]:
    """Each record once, as text: what every number of a notebook's tables is traced to."""
    once = {record.key: record for record in found}
    return [
        {"key": key, "what": describe(one), "text": one.model_dump_json(exclude={"history"})}
        for key, one in sorted(once.items())
    ]


def number(value: Any) -> str:
    """What a cell of a table shows."""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 2 else f"{value:.2f}"
    return f"{value}"


def checksum(text: str) -> str:
    """By which a page's policy knows its own style and script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
    failed = sum(went.error is not None for went in outcomes)
    print(f"Notebooks done: {len(outcomes) - failed}, failed: {failed}.")
    print(
        f"The page is {PAGE.relative_to(ROOT)}: open it in a browser, it begins with the answers."
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
