"""The executed notebooks as pages: each a file that stands alone, beside the report.

nbconvert makes them, without a script and without an outside reference. Links lead to the other
pages and to the literature on the report; of one to a file of the repository only the words
remain, since a reader of pages need not have it. Equations become MathML, which browsers draw by
themselves; pictures of the first screen are put into the page.
"""

import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from engine.notebooks import EXECUTED
from engine.story import NOTEBOOK, place_of
from lib.files import ROOT, write_text

TEMPLATES = Path(__file__).parent / "templates"
MAKERS = (Path(__file__), TEMPLATES / "notebook.html.j2")  # what a page is made with
FOLD = re.compile(r"^(?:<details><summary>[^<>]*</summary>|</details>)$", re.MULTILINE)
MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)
PICTURE = re.compile(r"(!\[[^\]]*\]\()\.\./")  # from the repository, as a notebook names it
KEPT = "⟦kept {}⟧"  # stands for HTML that nbconvert would take apart
LINK = re.compile(r"(?<!!)\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\])+)\]\((?P<url>[^)\s]+)\)")


def write_html(notebook: Path) -> None:
    """The page of an executed notebook, where it lies."""
    write_text(EXECUTED / f"{notebook.stem}.html", html_of(EXECUTED / notebook.name))


def html_of(executed: Path) -> str:
    """A notebook as the text of a page."""
    exporter = HTMLExporter(
        template_file=str(TEMPLATES / "notebook.html.j2"),
        extra_template_basedirs=[str(TEMPLATES)],
        embed_images=True,
    )
    book = nbformat.read(executed, as_version=4)
    tags: list[str] = []

    def kept(html: str) -> str:
        tags.append(html)
        return KEPT.format(len(tags) - 1)

    for cell in book.cells:
        if cell.cell_type == "markdown":
            text = PICTURE.sub(r"\1", LINK.sub(on_pages, cell.source))
            text = FOLD.sub(lambda found: kept(found[0]), text)
            cell.source = MATH.sub(lambda found: kept(drawn_by_browsers(found)), text)
    book.metadata.title = book.cells[0].source.partition("\n")[0].lstrip("# ")
    page, _ = exporter.from_notebook_node(book, {"metadata": {"path": str(ROOT)}})
    for number, html in enumerate(tags):
        stands = KEPT.format(number)
        paragraph = f"<p>{stands}</p>" if "details>" in html else stands
        page = page.replace(paragraph, html)
    return page


def on_pages(link: re.Match[str]) -> str:
    """A link of a notebook as one of its page."""
    words, url = link["words"], link["url"]
    other, place = NOTEBOOK.fullmatch(url), place_of(url)
    if other:
        return f"[{words}]({other[1]}.html{other[2] or ''})"
    if place:
        return f"[{words}](../index.html{place})"
    return link[0] if url.startswith("https://") else words


def drawn_by_browsers(formula: re.Match[str]) -> str:
    """LaTeX as MathML; a tag in it stays text, which latex2mathml does not see to."""
    kind = "block" if formula["block"] else "inline"
    return convert(formula[kind].replace("<", r"\lt ").replace(">", r"\gt "), display=kind)
