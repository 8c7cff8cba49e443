"""Results on disk: one JSON record a run, its per-image errors beside it, and tables made of them.

A record says what was run (parameters, component versions, data and its sha256),
what came out (measures with n on validation and test, history) and where from
(commit, versions, machine, seconds). It is checked when written and when read, by its
schema and by a sha256 of its content and of the per-image file; it is written aside
and renamed as the last act of a run, and holds no path. Records of the
quick scale are this machine's own and ignored by git; those of `standard` and `full`
are committed, found by their key and never overwritten by a quicker one.
"""

import hashlib
import importlib.metadata
import io
import json
import subprocess
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.files import replace_file
from lib.paths import ROOT

Scale = Literal["quick", "standard", "full"]
CODE = ("lib", "notebooks", "pyproject.toml", "requirements.lock")  # what a result depends on
PACKAGES = ("torch", "numpy", "scikit-image", "scikit-learn", "pillow")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measure(Strict):
    value: float | None  # None: not finite or not defined, such as the PSNR of an exact copy
    n: int = Field(ge=0)  # images it was taken over


class DataRecord(Strict):
    name: str
    variant: str
    sha256: dict[str, str]  # split -> of the bytes read
    counts: dict[str, int]
    classes: int
    skipped: int


class ModelRecord(Strict):
    family: str
    label: str
    parameters: int = Field(ge=0)
    flops: int | None = Field(ge=0)  # of one image's forward pass under the training mask, a multiply-add is 2


class Provenance(Strict):
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    machine: dict[str, str | int]
    seconds: dict[str, float]  # training and evaluation
    started: str  # UTC


class Record(Strict):
    key: str = Field(pattern=r"^[0-9a-f]{16}$")
    scale: Scale
    notebook: str
    parameters: dict[str, Any]
    components: dict[str, int]  # behaviour version of each component used
    data: DataRecord
    model: ModelRecord
    metrics: dict[str, dict[str, Measure]]  # split -> name -> measure
    history: list[dict[str, float]]
    provenance: Provenance
    images_sha256: str | None = None  # of the per-image file beside it, None where there is none
    sha256: str | None = None  # of everything above, set when written

    @property
    def name(self) -> str:
        return f"{self.data.variant}_{self.model.family}_{self.key}"

    def digest(self) -> str:
        """sha256 of the content."""
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def value(self, name: str, split: str = "test") -> float | None:
        """One measure. Raises KeyError naming those there are."""
        if name not in self.metrics.get(split, {}):
            raise KeyError(f"record {self.name} has no {name!r} on {split}: it has {', '.join(self.metrics.get(split, {}))}")
        return self.metrics[split][name].value


class DamagedRecord(ValueError):
    """A record that cannot be trusted; the message names the file."""


def key_of(identity: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for identity parameters and component versions."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def write(record: Record, per_image: pd.DataFrame, folder: Path) -> Record:
    """Write a record and its per-image errors and return it with its sums; it comes last, so one that exists is complete."""
    file, images = folder / f"{record.name}.json", None
    if len(per_image):
        packed = per_image.to_parquet(None, compression="zstd", index=False)
        images = hashlib.sha256(packed).hexdigest()
        replace_file(file.with_suffix(".parquet"), lambda aside: aside.write_bytes(packed))
    record = Record.model_validate_json(record.model_copy(update={"images_sha256": images, "sha256": None}).model_dump_json())
    record = record.model_copy(update={"sha256": record.digest()})
    replace_file(file, lambda aside: aside.write_text(record.model_dump_json(indent=1) + "\n"))
    return record


def read(file: Path) -> Record:
    """A record from its file. Raises DamagedRecord."""
    try:
        record = Record.model_validate_json(file.read_text())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DamagedRecord(f"{file} is not a valid record ({error}): delete it and run again") from error
    if record.sha256 != record.digest():
        raise DamagedRecord(f"{file} does not match its own sha256, a byte of it has changed: delete it and run again")
    return record


def read_images(file: Path, record: Record) -> pd.DataFrame:
    """The per-image errors beside a record; empty for one that reconstructs nothing. Raises DamagedRecord."""
    beside = file.with_suffix(".parquet")
    if record.images_sha256 is None:
        return pd.DataFrame()
    packed = beside.read_bytes() if beside.exists() else b""
    if hashlib.sha256(packed).hexdigest() != record.images_sha256:
        raise DamagedRecord(f"{beside} is missing or damaged: delete {file} and run again")
    return pd.read_parquet(io.BytesIO(packed))


def find(folder: Path, key: str) -> Path | None:
    """The file of a finished run, None where there is none."""
    return next(iter(sorted(folder.glob(f"*_{key}.json"))), None)


def read_all(folder: Path) -> list[Record]:
    """Every record below a folder, sorted by file name."""
    return [read(file) for file in sorted(folder.rglob("*.json"))]


def tidy(records: list[Record]) -> pd.DataFrame:
    """One row per record, split and measure, the parameters beside it."""
    rows = [
        {"key": r.key, "scale": r.scale, "variant": r.data.variant, "model_label": r.model.label, **flat(r.parameters)}
        | {"split": split, "measure": name, "value": measure.value, "n": measure.n}
        for r in records
        for split, measures in r.metrics.items()
        for name, measure in measures.items()
    ]
    return pd.DataFrame(rows)


def flat(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the model's options lifted to `option.NAME` and lists as text."""
    lifted = {k: v for k, v in parameters.items() if k != "options"}
    lifted |= {f"option.{k}": v for k, v in parameters.get("options", {}).items()}
    return {k: ",".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in lifted.items()}


def versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def commit() -> tuple[str | None, bool | None]:
    """The commit of this checkout and whether the code that makes results differs from it; None outside a checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=20)
        changes = subprocess.run(["git", "status", "--porcelain", "--", *CODE], cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    return (head.stdout.strip(), bool(changes.stdout.strip())) if head.returncode == 0 else (None, None)
