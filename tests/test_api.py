"""The pages of functions that `make api` makes."""

import html
import inspect
import re
import subprocess
import sys

from lib import patches
from lib.files import ROOT


def test_pages_of_functions_are_made_from_docstrings_and_ask_for_nothing(tmp_path):
    command = [sys.executable, "-m", "pdoc", "lib.patches", "--output-directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "lib" / "patches.html").read_text()
    for name in ("patchify", "unpatchify", "grid_of"):
        summary = inspect.getdoc(getattr(patches, name)).splitlines()[0]
        assert f'id="{name}"' in page and summary[:40] in html.unescape(page)
    assert not re.search(r'src="http', page)
