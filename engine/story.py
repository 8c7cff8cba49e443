"""What a notebook says, for the report: its question, its answer, its picture, its conclusion.

Every notebook has one form: the first cell holds the title, which is a question, a picture of the
result and a paragraph with the answer after "**In short:**"; the last one a section "Conclusion"
that ends with exercises. The page tells these, so that it can be read without opening a notebook.
Text is turned into HTML with everything escaped that is not Markdown; links to other notebooks and
to REFERENCES.md lead to their places on the page, and of those to files only the words remain,
since a page that was mailed has no files beside it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import mistune
import nbformat
from markupsafe import Markup

from lib.files import ROOT

REFERENCES = ROOT / "REFERENCES.md"
PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*/([\w-]+)\.\w+\)")
IN_SHORT = "**In short:**"
NOTEBOOK = re.compile(r"(\d\d_\w+)\.ipynb(#.*)?")
REFERENCE = re.compile(r'- <a id="(\w+)"></a>(.*)')
SECTION = re.compile(r'<a id="(\w+)"></a>')


@dataclass(frozen=True)
class Story:
    """What is told of one notebook, as HTML but for its question and the picture's name."""

    question: str
    picture: str  # the figure on the first screen, such as 04-strategies; empty: none
    summary: Markup  # the paragraph that holds the answer
    answer: Markup  # what stands in it after "In short"
    conclusion: Markup


def story_of(notebook: Path) -> Story:
    """What a notebook says of itself; empty where it does not."""
    texts = [c.source for c in nbformat.read(notebook, 4).cells if c.cell_type == "markdown"]
    first = texts[0] if texts else ""
    picture = PICTURE.search(first)
    paragraphs = [part for part in first.split("\n\n") if IN_SHORT in part]
    told = paragraphs[0] if paragraphs else ""
    answer = told.partition(IN_SHORT)[2].strip()
    last = texts[-1].partition("## Conclusion")[2] if texts else ""
    return Story(
        question=first.partition("\n")[0].lstrip("# "),
        picture=picture[1] if picture else "",
        summary=html(told),
        answer=html(answer[:1].upper() + answer[1:]),
        conclusion=html(last.partition("**Exercises.**")[0].strip()),
    )


class OnPage(mistune.HTMLRenderer):
    """HTML whose links stay on the page."""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        place = place_of(url)
        return f'<a href="{mistune.escape(place)}">{text}</a>' if place else text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return ""  # pictures of a notebook stand on the page as figures


def place_of(url: str) -> str:
    """Where on the page a link leads; empty for one that leads elsewhere."""
    file, _, key = url.partition("#")
    notebook = NOTEBOOK.fullmatch(file)
    if notebook:
        return f"#{notebook[1]}"
    if Path(file).name == REFERENCES.name:
        return f"#{key or 'references'}"
    return ""


def html(text: str) -> Markup:
    """Markdown as HTML."""
    return Markup(mistune.create_markdown(renderer=OnPage(escape=True))(text))


@dataclass(frozen=True)
class Shelf:
    """A section of the bibliography."""

    title: str
    key: str  # by which it is cited as a whole; empty: it is not
    works: list[tuple[str, Markup]]  # key and text of each


def references() -> list[Shelf]:
    """The bibliography."""
    shelves: list[Shelf] = []
    key = ""
    for line in REFERENCES.read_text().splitlines():
        work = REFERENCE.fullmatch(line)
        section = SECTION.fullmatch(line)
        if section:
            key = section[1]
        elif line.startswith("## "):
            shelves.append(Shelf(line.lstrip("# "), key, []))
            key = ""
        elif work and shelves:
            shelves[-1].works.append((work[1], html(work[2])))
    return shelves
