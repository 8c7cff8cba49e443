"""Weights and training state on disk: safetensors and JSON, never a pickle.

A file is written aside and then renamed, so one that exists is whole; it carries a
sha256 of its content, so one that rotted is noticed. The last two states are kept:
a damaged one is named in a warning and the one before it is used.
"""

import hashlib
import json
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lib.files import replace_file

KEEP = 2  # states on disk


class DamagedCheckpoint(ValueError):
    """A file that cannot be trusted; the message names it."""


def save(file: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Write tensors and JSON data to one file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(about)
    metadata = {"about": text, "sha256": digest(tensors, text)}
    replace_file(file, lambda aside: save_file(tensors, aside, metadata))


def load(file: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the JSON data of a file. Raises DamagedCheckpoint."""
    try:
        with safe_open(file, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata() or {}
        about = json.loads(metadata["about"])
        if not isinstance(about, dict):
            raise ValueError("its JSON data is no object")
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{file} is not a whole checkpoint ({error}): delete it to train again") from error
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


def save_state(folder: Path, step: int, tensors: dict[str, Tensor], about: dict) -> Path:
    """Write the state at a step and drop all but the last two, later ones too: they were damaged, or of another run."""
    file = state_file(folder, step)
    save(file, tensors, about | {"step": step})
    there = states(folder)
    last = there.index(file) + 1
    for old in [*there[: max(0, last - KEEP)], *there[last:]]:
        old.unlink(missing_ok=True)
    return file


def state_file(folder: Path, step: int) -> Path:
    return folder / f"state-{step:09d}.safetensors"


def states(folder: Path) -> list[Path]:
    """The states in a folder, oldest first."""
    return sorted(folder.glob("state-*.safetensors")) if folder.is_dir() else []


def latest_state(folder: Path, run: str) -> tuple[dict[str, Tensor], dict] | None:
    """The newest whole state of a run, None where there is none; damaged ones are named in a warning."""
    for file in reversed(states(folder)):
        try:
            tensors, about = load(file)
        except DamagedCheckpoint as error:
            warnings.warn(f"{error}; trying the one before it", stacklevel=2)
            continue
        if about.get("run") == run:
            return tensors, about
    return None


def drop_states(folder: Path) -> None:
    """Remove all states, and what a kill in the middle of writing has left."""
    for file in [*states(folder), *folder.glob("*.tmp")]:
        file.unlink(missing_ok=True)
