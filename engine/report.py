"""One self-contained page, reports/index.html, from what the notebooks have made.

`python -m engine.report` writes it; `make report` has the notebooks run first (see Snakefile), and
says when it began. It tells the study: the answers of all notebooks; of each its question, its
answer, its main picture, its claims and what they measured, its conclusion, and folded below them
all figures and runs; the published tables of larger runs; the literature; where the numbers come
from, with the records themselves. Nothing on the page refers to another site, everything that is
text is escaped, and a policy in its head lets no script run but the page's own. It can be mailed:
only the links to the executed notebooks need files beside it. Exits with 1 where a notebook
failed; its section says so, with the cell and the error.
"""

import base64
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from engine import grids, publish
from engine.compared import compared
from engine.executed import MAKERS, TEMPLATES, write_html
from engine.notebooks import EXECUTED, Outcome, all_notebooks, outcome
from engine.story import Story, references, story_of
from lib import figures
from lib.files import REPORTS, ROOT, write_text
from lib.run import claims, records
from lib.run.records import Record

PAGE = REPORTS / "index.html"
LOCK = ROOT / "requirements.lock"
HERO = "03-photographs"  # the figure that the page opens with; its section refers to it
LARGEST = 10_000_000  # bytes that most mail servers let through: tests hold the page to it


def figures_of(name: str) -> list[dict[str, str]]:
    """The figures that a notebook has saved, in the order in which it made them."""
    folder = EXECUTED / name / "figures" / "quick"
    drawn = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [figures.saved(about) for about in drawn]


def claims_of(name: str) -> list[dict[str, Any]]:
    """What a notebook claimed, and what it measured."""
    file = claims.file_of(EXECUTED / name, "quick", name)
    if not file.exists():
        return []
    return [claim | {"bounds": claims.bounds(claim)} for claim in json.loads(file.read_text())]


def page(outcomes: list[Outcome]) -> str:
    """The report as HTML."""
    found: list[Record] = []
    parts = []
    for notebook, went in zip(all_notebooks(), outcomes, strict=True):
        own = records.read_all(EXECUTED / notebook.stem / "results" / "quick")
        found += own
        parts.append(part(notebook, went, own + longer_runs(went)))
    opening = [one["main"] for one in parts if one["main"] and one["main"]["name"] == HERO]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((TEMPLATES / f"page.{kind}").read_text() for kind in ("css", "js"))
    return environment.get_template("page.html.j2").render(
        parts=parts,
        hero=opening[0] if opening else None,
        published=grids.published(),
        compared=compared(),
        references=references(),
        runs=len({record.key for record in found}),
        cite=citation(),
        records=embedded([*found, *publish.current("standard")]),
        style=Markup(style),
        script=Markup(script),
        sums=[checksum(style), checksum(script)],
        lock=hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16],
        **provenance_of(found),
    )


def longer_runs(went: Outcome) -> list[Record]:
    """Those of larger scales that a notebook read, or trained since nobody had."""
    shelves = [EXECUTED / went.name / "results", REPORTS / "results"]
    larger = [name for name in went.records if not name.startswith("quick/")]
    found = [[shelf / name for shelf in shelves if (shelf / name).exists()] for name in larger]
    return [records.read(files[0]) for files in found if files]


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
        "tables": grids.tables_of(own),
        "runs": len({record.key for record in own}),
    }


def embedded(found: list[Record]) -> list[dict[str, str]]:
    """Each record once, as text: what every number of a table is traced to."""
    once = {record.key: record for record in found}
    left_out: Any = {"history": True, "metrics": {"validation"}}
    return [
        {"key": key, "what": told_of(one), "text": one.model_dump_json(exclude=left_out)}
        for key, one in sorted(once.items())
    ]


def told_of(record: Record) -> str:
    """A record in a line."""
    epochs, seed = record.parameters["recipe"]["epochs"], record.parameters["seed"]
    return f"{grids.describe(record)}; {publish.data_of(record)}, {epochs} epochs, seed {seed}"


def citation() -> dict[str, str]:
    """Who made the study, when, and what it is called: of CITATION.cff."""
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    names = [" ".join(one.values()) for one in told["authors"]]
    return {
        "authors": ", ".join(names),
        "year": str(told["date-released"])[:4],
        "title": told["title"],
    }


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
    """Whether an executed notebook, or what makes pages of them, is newer than its page."""
    newest = max(file.stat().st_mtime for file in (copy, *MAKERS))
    return not rendered.exists() or rendered.stat().st_mtime < newest


def minutes(seconds: float) -> str:
    """A time in words."""
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def main() -> int:
    """Write the page from what has been run; 1 where a notebook failed."""
    outcomes = [outcome(notebook) for notebook in all_notebooks()]
    for notebook in all_notebooks():
        copy = EXECUTED / notebook.name
        if copy.exists() and out_of_date(EXECUTED / f"{notebook.stem}.html", copy):
            write_html(notebook)
    write_text(PAGE, page(outcomes))
    failed = sum(went.error is not None for went in outcomes)
    took = f", in {minutes(time.time() - float(sys.argv[1]))}" if len(sys.argv) > 1 else ""
    print(f"Notebooks done: {len(outcomes) - failed}, failed: {failed}{took}.")
    size = f"{PAGE.stat().st_size / 1e6:.1f} MB"
    print(f"The page is {PAGE.relative_to(ROOT)} ({size}): open it in a browser, answers first.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
