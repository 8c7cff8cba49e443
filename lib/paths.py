"""Where things lie, whatever the working directory.

papermill runs a notebook in the caller's folder, nbval in the notebook's own,
JupyterLab wherever it was started. So a relative path given as a parameter
means "relative to the repository", and every path comes from here.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
REPORTS = ROOT / "reports"


def resolve(path: str | Path) -> Path:
    """An absolute path: relative ones are taken from the repository's root, `~` is the home folder."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else ROOT / path
