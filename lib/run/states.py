"""Weights and training states on disk: safetensors and JSON, never a pickle.

A file is written aside and then renamed, so one that exists is whole; it carries a sha256 of
its content, so one that rotted is noticed. The last two states of a training are kept: a
damaged one is named in a warning and the one before it is used. A state belongs to a run, and
is not taken for another's.
"""

import hashlib
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lib.files import replace_file
from lib.training import State

KEEP = 2  # states on disk


class DamagedCheckpoint(ValueError):
    """A file that cannot be trusted; the message names it."""


def save(file: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and JSON data to one file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(about)
    metadata = {"about": text, "sha256": digest(tensors, text)}
    replace_file(file, lambda aside: save_file(tensors, aside, metadata))


def load(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON data of a file. Raises DamagedCheckpoint."""
    try:
        with safe_open(file, "pt") as stored:
            names = list(stored.keys())
            tensors = {name: stored.get_tensor(name) for name in names}
            metadata = stored.metadata() or {}
        about = json.loads(metadata["about"])
        if not isinstance(about, dict):
            raise ValueError("its JSON data is no object")
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(
            f"{file} is not a whole checkpoint ({error}): delete it to train again"
        ) from error
    if digest(tensors, metadata["about"]) != metadata.get("sha256"):
        raise DamagedCheckpoint(f"{file} does not match its own checksum: delete it to train again")
    return tensors, about


def digest(tensors: dict[str, Tensor], about: str = "") -> str:
    """sha256 over names, types, bytes and the JSON text beside them."""
    total = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        flat = tensors[name].contiguous().reshape(-1)
        total.update(f"{name} {flat.dtype} {tuple(tensors[name].shape)}".encode())
        total.update(flat.view(torch.uint8).numpy())
    return total.hexdigest()


class States:
    """The states of one training: found again, and saved every so many seconds."""

    def __init__(self, folder: Path, run: str, every: float):
        self.folder = folder
        self.run = run  # what the state belongs to: the run's key and its data
        self.every = every
        self.saved = self.began = time.monotonic()
        self.earlier = 0.0  # seconds that earlier sittings took up to the state that was found

    def latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest whole state of this run; damaged ones are named in a warning."""
        for file in reversed(files(self.folder)):
            try:
                tensors, about = load(file)
            except DamagedCheckpoint as error:
                warnings.warn(f"{error}; trying the one before it", stacklevel=2)
                continue
            if about.get("run") == self.run:
                self.earlier = about.get("seconds", 0.0)
                self.began = time.monotonic()
                return tensors, about
        return None

    def at(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state of a step. Raises DamagedCheckpoint."""
        return load(file_of(self.folder, step))

    def due(self, state: State) -> bool:
        """Whether a state should be saved: in time, and at the end."""
        return time.monotonic() - self.saved >= self.every or state.step == state.total

    def save(self, state: State) -> None:
        """Save, and drop all but the last two; later ones too, which are of another run."""
        file = file_of(self.folder, state.step)
        self.saved = time.monotonic()
        seconds = self.earlier + self.saved - self.began
        save(file, state.tensors(), state.numbers() | {"run": self.run, "seconds": seconds})
        there = files(self.folder)
        last = there.index(file) + 1
        for old in [*there[: max(0, last - KEEP)], *there[last:]]:
            old.unlink(missing_ok=True)


def file_of(folder: Path, step: int) -> Path:
    return folder / f"state-{step:09d}.safetensors"


def files(folder: Path) -> list[Path]:
    """The states in a folder, oldest first."""
    return sorted(folder.glob("state-*.safetensors")) if folder.is_dir() else []


def drop(folder: Path) -> None:
    """Remove all states, and what a kill in the middle of writing has left."""
    for file in [*files(folder), *folder.glob("*.tmp")]:
        file.unlink(missing_ok=True)
