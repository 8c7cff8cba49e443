"""Where a record comes from: its data, its model, the code and the machine.

Nothing here names the machine or a path on it.
"""

import datetime
import importlib.metadata
import subprocess
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.data.registry import Images
from lib.files import ROOT
from lib.masking import draw
from lib.models.family import MODELS
from lib.run.settings import Experiment
from lib.streams import stream

CODE = ("lib", "notebooks", "pyproject.toml", "requirements.lock")  # what a result depends on
PACKAGES = ("torch", "numpy", "scikit-image", "scikit-learn", "pillow")


def of_data(experiment: Experiment, splits: dict[str, Images]) -> dict[str, Any]:
    """What a record says of its data."""
    train = splits["train"]
    return {
        "name": experiment.dataset_name,
        "variant": train.variant,
        "sha256": {split: images.sha256 for split, images in splits.items()},
        "counts": {split: len(images) for split, images in splits.items()},
        "classes": len(train.classes),
        "skipped": sum(len(images.skipped) for images in splits.values()),
    }


def of_model(model: nn.Module, experiment: Experiment) -> dict[str, Any]:
    """What a record says of its model."""
    family = MODELS[experiment.model]
    return {
        "family": family.name,
        "label": family.label,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops": forward_flops(model, experiment) if family.trained else None,
    }


def forward_flops(model: nn.Module, experiment: Experiment) -> int:
    """Operations of one image's forward pass at the training's ratio; a multiply-add is 2."""
    shape = model.space.shape
    device = model.space.mean.device
    image = torch.zeros(1, shape.channels, shape.height, shape.width, device=device)
    mask = draw(
        "random",
        batch=1,
        grid=shape.grid,
        ratio=experiment.mask_ratio,
        generator=stream(0, "flops"),
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.reconstruct(image, mask.to(device))
    return counter.get_total_flops()


def beginning() -> dict[str, Any]:
    """What provenance says of the moment and the code, before anything is done."""
    head, dirty = commit()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"commit": head, "dirty": dirty, "versions": versions(), "started": started}


def versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def commit() -> tuple[str | None, bool | None]:
    """The commit of this checkout and whether the code that makes results differs from it.

    None outside a checkout.
    """
    try:
        head = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    if head.returncode != 0:
        return None, None
    return head.stdout.strip(), bool(changes.stdout.strip())


def git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20)
