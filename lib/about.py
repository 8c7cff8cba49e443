"""What a record says of its data and of its model, beside what was measured."""

import torch
from torch import nn

from lib import records
from lib.data import Images
from lib.masking import draw
from lib.models import MODELS
from lib.settings import Experiment
from lib.streams import stream


def data(experiment: Experiment, splits: dict[str, Images]) -> records.DataRecord:
    return records.DataRecord(
        name=experiment.identity()["dataset"],
        variant=splits["train"].variant,
        sha256={split: images.sha256 for split, images in splits.items()},
        counts={split: len(images) for split, images in splits.items()},
        classes=len(splits["train"].classes),
        skipped=sum(len(images.skipped) for images in splits.values()),
    )


def model(trained: nn.Module, experiment: Experiment, device: torch.device) -> records.ModelRecord:
    family = MODELS[experiment.model]
    return records.ModelRecord(
        family=family.name,
        label=family.label,
        parameters=sum(parameter.numel() for parameter in trained.parameters()),
        flops=forward_flops(trained, experiment, device) if family.trained else None,
    )


def forward_flops(model: nn.Module, experiment: Experiment, device: torch.device) -> int:
    """Floating-point operations of one image's forward pass under the training mask."""
    from torch.utils.flop_counter import FlopCounterMode

    shape = model.space.shape
    image = torch.zeros(1, shape.channels, shape.height, shape.width, device=device)
    mask = draw(experiment.strategy, batch=1, grid=shape.grid, ratio=experiment.mask_ratio, generator=stream(0, "flops"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.reconstruct(image, mask.to(device))
    return counter.get_total_flops()
