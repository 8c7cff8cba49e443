"""A notebook's figures as one page."""

import base64
import re

import pandas as pd
import torch

from lib import figures
from lib.run.page import write_page


def test_a_page_holds_its_tables_and_figures_and_asks_for_nothing_else(tmp_path):
    shown = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    for name in ("08-one", "08-two"):
        drawn = figures.titled_pictures([[("a", shown)]])
        figures.publish(drawn, name, alt=f"<{name}>.", caption="It's & is.", folder=tmp_path)
    table = pd.DataFrame({"model": [21.5, float("nan")]}, index=["<b>mine", "other"])
    words = ["In <dB>.", "skipped: notes.txt"]
    tables = {"First <one>": table, "Second": table + 1}
    page = write_page(tmp_path / "page.html", "Mine & <yours>", words, tables, ["08-two"], tmp_path)
    text = page.read_text()
    assert "<h2>First &lt;one&gt;</h2>" in text and "22.5" in text
    assert "<h1>Mine &amp; &lt;yours&gt;</h1>" in text
    assert "<p>In &lt;dB&gt;.</p>" in text and "<p>skipped: notes.txt</p>" in text
    assert "&lt;b&gt;mine" in text and "21.5" in text and "NaN" not in text
    (source,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(source) == (tmp_path / "08-two.png").read_bytes()
    assert 'alt="&lt;08-two&gt;."' in text and "It&#39;s &amp; is." in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
