"""What an experiment is asked to do: identity and execution.

`Experiment` holds the *identity*, whatever decides the numbers, and so the record's
key; `Execution` holds how and where it runs, and never enters a key. The key also
covers the behaviour version of every component used, so a record made by code that
behaved otherwise is not taken for a result of today's.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from lib import evaluate, finetune, metrics, mixing, probes, records, training
from lib.augment import AUGMENTATIONS
from lib.data.registry import find
from lib.machine import resolve_device, resolve_precision
from lib.masking import STRATEGIES
from lib.models import MODELS
from lib.models.registry import Config, later
from lib.paths import resolve
from lib.training import Recipe


class Experiment(Config):
    """Identity: what decides the numbers."""

    dataset: str
    image_size: int | None = Field(None, ge=1)  # side in pixels; None = as the set has it
    subset: int | None = Field(None, ge=1)  # training images used; None = all
    model: str
    options: dict[str, Any] = Field(default_factory=dict)  # of the model's own configuration
    patch_size: int | tuple[int, int] = 4  # side in pixels, or (height, width)
    strategy: str = "random"  # masks of training
    mask_ratio: float = Field(0.75, ge=0, lt=1)  # share of hidden patches in training; 0 = the unmasked control
    test_masks: tuple[str, ...] = ("random@0.75",)  # see evaluate
    recipe: Recipe = Recipe(epochs=0)
    evaluate_images: int | None = Field(None, ge=1)  # images of validation and of test that are measured; None = all
    probe_images: int | None = Field(None, ge=1)  # training images of probe and k-NN; None = all
    probe: bool = True  # whether features are probed
    seed: int = Field(0, ge=0)
    fine_tune: finetune.FineTune | None = later(None, before=None)  # what is measured instead, after the same training (see finetune)

    @model_validator(mode="after")
    def known_names(self):
        find(self.dataset)
        if self.model not in MODELS:
            raise ValueError(f"unknown model {self.model!r}: choose one of {', '.join(MODELS)}")
        MODELS[self.model].config(**self.options)
        for name, ratio in [(self.strategy, self.mask_ratio), *map(evaluate.parse_mask, self.test_masks)]:
            if name not in STRATEGIES:
                raise ValueError(f"unknown masking strategy {name!r}: choose one of {', '.join(STRATEGIES)}")
            if ratio and not STRATEGIES[name].defined_at(ratio):
                raise ValueError(f"strategy {name!r} is not defined at ratio {ratio}: it is for {STRATEGIES[name].ratios}")
        return self

    @property
    def patch(self) -> tuple[int, int]:
        return (self.patch_size, self.patch_size) if isinstance(self.patch_size, int) else self.patch_size

    @property
    def pretraining(self) -> "Experiment":
        """The experiment whose model is fine-tuned: the same without it. A model that is not trained is the same at every seed."""
        return self.model_copy(update={"fine_tune": None, "seed": self.seed if MODELS[self.model].trained else 0})

    def components(self) -> dict[str, int]:
        """The behaviour version of everything that the numbers depend on, and of nothing else."""
        family, data = MODELS[self.model], find(self.dataset)[0]
        trains, judged = family.trained and self.recipe.epochs > 0, self.fine_tune is None
        reconstructs = judged and hasattr(family.module, "reconstruct")
        masks = [evaluate.parse_mask(name) for name in self.test_masks if reconstructs]
        masks += [(self.strategy, self.mask_ratio)] if trains else []
        used = {f"data.{data.name}": data.version, f"model.{family.name}": family.version}
        used |= {f"masking.{name}": STRATEGIES[name].version for name, ratio in sorted(masks) if ratio}
        if trains:
            used["training"] = training.VERSION
            used |= augmentations(self.recipe.augment)
        if reconstructs:
            used["metrics"] = metrics.VERSION
        if judged and self.probe and hasattr(family.module, "embed"):
            used["probes"] = probes.VERSION
        if self.fine_tune is not None:
            used |= {"finetuning": finetune.VERSION}
            used |= {"training": training.VERSION} | augmentations(self.fine_tune.augment) if family.trained else {"probes": probes.VERSION}
            used |= {"mixing": mixing.VERSION} if self.fine_tune.mixup or self.fine_tune.cutmix else {}
        return used

    def identity(self) -> dict[str, Any]:
        """Everything as JSON data, the model's defaults spelt out, a folder by its name alone."""
        plain = super().identity()
        plain["options"] = MODELS[self.model].config(**self.options).identity()
        base, path = find(self.dataset)
        plain["dataset"] = f"{base.name}:{Path(path).name}" if path else base.name
        return plain

    @property
    def key(self) -> str:
        return records.key_of({"parameters": self.identity(), "components": self.components()})


def augmentations(name: str) -> dict[str, int]:
    """The behaviour version of an augmentation; nothing for none."""
    return {} if name == "none" else {f"augment.{name}": AUGMENTATIONS[name].version}


class Execution(Config):
    """How and where: never part of a key."""

    data_root: str = "data"
    output: str = "reports"
    scale: records.Scale = "quick"
    notebook: str = ""
    device: str = "auto"
    threads: int | None = Field(None, ge=1)  # of each process
    processes: int = Field(1, ge=1)  # that train together on this machine (see parallel)
    accumulate: int = Field(1, ge=1)  # parts in which a process takes its share of a batch: less memory, the same result
    save_every: float = Field(60.0, ge=0)  # seconds between states of a training, so what a kill costs at most
    rerun: bool = False
    progress: bool = True

    @property
    def results(self) -> Path:
        return resolve(self.output) / "results" / self.scale

    @property
    def figures(self) -> Path:
        return resolve(self.output) / "figures" / self.scale

    def checkpoints(self, key: str) -> Path:
        return resolve(self.output) / "checkpoints" / self.scale / key


def settle(device: str, precision: Literal["auto", "float32", "bf16"]) -> str:
    """The precision that `auto` stands for here; it belongs to the identity, so it is settled before a key is made."""
    return precision if precision != "auto" else resolve_precision(precision, resolve_device(device))
