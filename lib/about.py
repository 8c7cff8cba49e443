"""What a record says of its data, its model and its run, beside what was measured."""

import datetime

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

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
    shape = model.space.shape
    image = torch.zeros(1, shape.channels, shape.height, shape.width, device=device)
    mask = draw(experiment.strategy, batch=1, grid=shape.grid, ratio=experiment.mask_ratio, generator=stream(0, "flops"))
    with Flops() as counter, torch.no_grad():
        model.reconstruct(image, mask.to(device))
    return counter.total


class Flops(TorchDispatchMode):
    """Adds up torch's own formulas for matrix products, attention and convolutions; `FlopCounterMode` without its imports."""

    def __init__(self):
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # here: it imports triton, a second in each process

        self.total, self.formulas = 0, flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the first operation would import the compiler, four seconds

    def __torch_dispatch__(self, function, types, arguments=(), names=None):
        count, names = self.formulas.get(function._overloadpacket), names or {}
        if count is None:
            with self:  # what has no formula may be made of operations that have one
                found = function.decompose(*arguments, **names)
            if found is not NotImplemented:
                return found
        found = function(*arguments, **names)
        self.total += count(*arguments, **names, out_val=found) if count else 0
        return found


def beginning() -> dict[str, object]:
    """What provenance says of the moment and the code, before anything is done."""
    head, dirty = records.commit()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"commit": head, "dirty": dirty, "versions": records.versions(), "started": started}


def seconds(clock: list[float]) -> dict[str, float]:
    """Of training and of evaluation, from three readings of a clock."""
    return {"training": round(clock[1] - clock[0], 2), "evaluation": round(clock[2] - clock[1], 2)}
