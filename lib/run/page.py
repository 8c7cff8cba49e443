"""What a notebook has drawn, as one page that can be kept or sent.

Every figure of it is inside the file, so nothing else has to lie beside it.
"""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from lib.figures import saved
from lib.files import write_text

TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif }
img { max-width: 100%; background: white }
td, th { padding: .1rem .8rem; text-align: right }
</style>
<h1>{{ title }}</h1>
{% for sentence in words %}
<p>{{ sentence }}</p>
{% endfor %}
{% for name, numbers in tables.items() %}
<h2>{{ name }}</h2>
{{ numbers }}
{% endfor %}
{% for each in figures %}
<figure><img src="{{ each.source }}" alt="{{ each.alt }}">
<figcaption>{{ each.caption }}</figcaption></figure>
{% endfor %}
</html>
"""


def write_page(
    file: Path,
    title: str,
    words: Sequence[str],
    tables: dict[str, pd.DataFrame],
    figures: list[str],
    folder: Path,
) -> Path:
    """Write a page of sentences, tables by title, and figures.

    figures   names under which `figures.publish` has saved them in `folder`
    """
    drawn = [saved(folder / f"{name}.json") for name in figures]
    page = jinja2.Environment(autoescape=True).from_string(TEMPLATE)
    numbers = {
        name: Markup(table.to_html(border=0, na_rep=""))  # which escapes what it writes
        for name, table in tables.items()
    }
    write_text(file, page.render(title=title, words=words, tables=numbers, figures=drawn))
    return file
