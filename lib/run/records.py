"""Results on disk: one JSON record a run, its per-image errors beside it, and tables made of them.

A record says what was run (parameters, component versions, data and its sha256), what came
out (measures with n on validation and test, history) and where from (commit, versions,
machine, seconds). It is checked when written and when read, by its schema, by a sha256 of its
content, of the per-image file and of the pictures beside it, and by its own name: it belongs to
its key. It is written aside and renamed as the last act of a run, and holds no path. Records of
the quick scale are this machine's own and ignored by git; those of `standard` and `full` are
committed, found by their key and never overwritten by a quicker one.
"""

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.files import replace_file, write_text

Scale = Literal["quick", "standard", "full"]
DIGITS = 12  # binary ones, of the measures of images


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
    flops: int | None = Field(ge=0)  # of one image's forward pass under the training mask


class Provenance(Strict):
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    machine: dict[str, str | int]
    seconds: dict[str, float]  # training and evaluation
    started: str  # UTC


class SheetRecord(Strict):
    """What lies in the picture beside a record (see lib.run.sheets)."""

    sha256: str  # of its file
    count: int  # test images
    size: tuple[int, int]  # height and width of each, in pixels
    patch: tuple[int, int]  # of a patch
    # Test mask, a row of completed images each -> of each image, which patches are hidden (1).
    masks: dict[str, list[Annotated[str, Field(pattern="^[01]+$")]]]
    photographs: list[str]


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
    warnings: list[str] = Field(default_factory=list)  # what a reader should know of the measures
    provenance: Provenance
    images_sha256: str | None = None  # of the per-image file beside it, None where there is none
    sheet: SheetRecord | None = None  # the pictures beside it, None where there are none
    sha256: str | None = None  # of everything above, set when written

    @property
    def name(self) -> str:
        return f"{self.data.variant}_{self.model.family}_{self.key}"

    def digest(self) -> str:
        """sha256 of the content."""
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def value(self, name: str) -> float | None:
        """One measure on test images. Raises KeyError naming those there are."""
        found = self.metrics.get("test", {})
        if name not in found:
            there = ", ".join(found)
            raise KeyError(f"record {self.name} has no {name!r} on test: it has {there}")
        return found[name].value


class DamagedRecord(ValueError):
    """A record that cannot be trusted; the message names the file."""


def key_of(identity: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for identity parameters and component versions."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def write(
    record: Record, per_image: pd.DataFrame, folder: Path, sheet: bytes | None = None
) -> Record:
    """Write a record, its per-image errors and its pictures, and return it with its sums.

    sheet   the file of which `record.sheet` tells

    The record comes last, so one that exists is complete.
    """
    file = folder / f"{record.name}.json"
    images = None
    if len(per_image):
        packed = packed_images(per_image)
        images = hashlib.sha256(packed).hexdigest()
        replace_file(file.with_suffix(".parquet"), lambda aside: aside.write_bytes(packed))
    if sheet is not None:
        replace_file(file.with_suffix(".webp"), lambda aside: aside.write_bytes(sheet))
    record = record.model_copy(update={"images_sha256": images, "sha256": None})
    record = Record.model_validate_json(record.model_dump_json())  # as it will be read
    record = record.model_copy(update={"sha256": record.digest()})
    write_text(file, record.model_dump_json(indent=1) + "\n")
    return record


def packed_images(per_image: pd.DataFrame) -> bytes:
    """As parquet; bytes of like meaning lie together, which halves what measures need."""
    numbers = list(per_image.select_dtypes("float"))
    texts = list(per_image.columns.difference(numbers))
    return per_image.to_parquet(
        None,
        compression="zstd",
        compression_level=19,
        use_dictionary=texts,
        use_byte_stream_split=numbers,
        index=False,
    )


def rounded(per_image: pd.DataFrame) -> pd.DataFrame:
    """Measures of images to `DIGITS` binary digits, off by a part in 4,096 at most: the rest would
    be most of a record's bytes.
    """
    numbers = per_image.select_dtypes("float")
    fraction, exponent = np.frexp(numbers.to_numpy())
    kept = np.ldexp(np.round(np.ldexp(fraction, DIGITS)), exponent - DIGITS)
    return per_image.assign(**pd.DataFrame(kept, numbers.index, numbers.columns))


def read(file: Path) -> Record:
    """A record from its file. Raises DamagedRecord."""
    try:
        record = Record.model_validate_json(file.read_text())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DamagedRecord(
            f"{file} is not a valid record ({error}): delete it and run again"
        ) from error
    if record.sha256 != record.digest():
        raise DamagedRecord(
            f"{file} does not match its own sha256, a byte of it has changed: "
            "delete it and run again"
        )
    if record.name != file.stem:
        raise DamagedRecord(
            f"{file} is the record of {record.name} under another name: delete it and run again"
        )
    return record


def read_images(file: Path, record: Record) -> pd.DataFrame:
    """The per-image errors beside a record; empty for one that reconstructs nothing.

    Raises DamagedRecord.
    """
    if record.images_sha256 is None:
        return pd.DataFrame()
    beside = file.with_suffix(".parquet")
    packed = beside.read_bytes() if beside.exists() else b""
    if hashlib.sha256(packed).hexdigest() != record.images_sha256:
        raise DamagedRecord(f"{beside} is missing or damaged: delete {file} and run again")
    return pd.read_parquet(io.BytesIO(packed))


def find(folder: Path, key: str) -> Path | None:
    """The file of a finished run, None where there is none; a damaged one is named and left out."""
    for file in sorted(folder.glob(f"*_{key}.json")):
        try:
            read(file)
        except DamagedRecord as error:
            warnings.warn(f"{error}; it is not used", stacklevel=2)
            continue
        return file
    return None


def read_all(folder: Path) -> list[Record]:
    """Every record below a folder, sorted by file name."""
    return [read(file) for file in sorted(folder.rglob("*.json"))]


def tidy(records: list[Record]) -> pd.DataFrame:
    """One row per record, split and measure, the parameters beside it."""
    return pd.DataFrame([row for record in records for row in rows_of(record)])


def rows_of(record: Record) -> list[dict[str, Any]]:
    """A record's rows of the tidy table."""
    about = {
        "key": record.key,
        "scale": record.scale,
        "variant": record.data.variant,
        "model_label": record.model.label,
        **flat(record.parameters),
    }
    rows = []
    for split, measures in record.metrics.items():
        for name, measure in measures.items():
            rows.append(
                about | {"split": split, "measure": name, "value": measure.value, "n": measure.n}
            )
    return rows


def flat(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the model's options lifted to `option.NAME` and lists as text."""
    options = parameters.get("options", {})
    lifted = {name: value for name, value in parameters.items() if name != "options"}
    lifted |= {f"option.{name}": value for name, value in options.items()}
    return {name: as_text(value) for name, value in lifted.items()}


def as_text(value: Any) -> Any:
    """Lists as text, which a table can group by; all else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value
