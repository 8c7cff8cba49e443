"""What an experiment is asked to do: identity and execution.

`Experiment` holds the *identity*, whatever decides the numbers, and so the record's key;
`Execution` holds how and where it runs, and never enters a key. A key is made of what differs
from the defaults and of the behaviour version of every component used, so a record made by
code that behaved otherwise is not taken for a result of today's.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lib import augment, finetune, masks, measures, training
from lib.augment import AUGMENTATIONS
from lib.config import Config, as_tuple, unknown
from lib.data.registry import LARGEST, SMALLEST, find
from lib.evaluate import EVERY
from lib.files import REPORTS, resolve
from lib.machine import MOST_THREADS, resolve_device, resolve_precision
from lib.masking import STRATEGIES
from lib.masks import parse_mask
from lib.models.family import MODELS, Family
from lib.run import records
from lib.training import Recipe

VERSION = 1  # raise it when a default below changes, or how a run goes about its work
LONGEST_NAME = 180  # bytes of a data set's name: a record's file, of at most 255, is called by it
MOST_PICTURED = 4  # test masks of which a record keeps pictures
MOST_PROCESSES = max(64, os.cpu_count() or 1)  # beyond some, they take the machine's memory
Side = Annotated[int, Field(ge=1)]  # in pixels


def named_masks(value: Any) -> Any:
    """Test masks as they are listed; "every" stands for those of the sweeps of masks."""
    return EVERY if value == "every" else as_tuple(value)


def as_side(value: Any) -> Any:
    """Height and width of a patch, or the side of a square one: each is said in one way."""
    sides = as_tuple(value)
    square = isinstance(sides, tuple) and len(sides) == 2 and sides[0] == sides[1]
    return sides[0] if square else sides


def there(path: str) -> str:
    """A path as it was given. Raises ValueError where there is nothing."""
    try:
        resolve(path).stat()
    except (OSError, ValueError, RuntimeError):  # too long; a NUL; `~somebody`
        raise ValueError(
            "there is no such file or folder; relative paths mean the repository"
        ) from None
    return path


PatchSize = Annotated[Side | tuple[Side, Side], BeforeValidator(as_side)]


def check_spelling(test_masks: Sequence[str]) -> None:
    """A mask is drawn by its name: raises ValueError for one that has two, or stands twice."""
    for name in test_masks:
        strategy, ratio = parse_mask(name)
        plain = f"{strategy}@{ratio:g}"
        if name not in ("none", plain):
            raise ValueError(f"test mask {name[:200]!r}: write it {plain}, as everywhere")
    if len(set(test_masks)) < len(test_masks):
        raise ValueError("test_masks: one stands twice: give each once")


TestMasks = Annotated[tuple[str, ...], BeforeValidator(named_masks), Field(min_length=1)]
Paths = Annotated[tuple[Annotated[str, AfterValidator(there)], ...], BeforeValidator(as_tuple)]


class Experiment(Config):
    """Identity: what decides the numbers."""

    dataset: str
    image_size: int | None = Field(None, ge=SMALLEST, le=LARGEST)  # side; None = as the set has it
    subset: int | None = Field(None, ge=2)  # training images used; None = all
    model: str
    options: dict[str, Any] = Field(default_factory=dict)  # of the model's own configuration
    patch_size: PatchSize = 4  # in pixels; (height, width)
    strategy: str = "random"  # masks of training
    mask_ratio: float = Field(0.75, ge=0, lt=1)  # share of hidden patches; 0 = unmasked control
    test_masks: TestMasks = ("random@0.75",)  # see evaluate
    recipe: Recipe = Recipe(epochs=0)
    evaluate_images: int | None = Field(None, ge=1)  # of validation and of test; None = all
    probe_images: int | None = Field(None, ge=1)  # training images of the probe; None = all
    probe: bool = True  # whether features are probed
    seed: int = Field(0, ge=0, lt=2**63)
    fine_tune: finetune.FineTune | None = None  # what is measured instead, after the training

    @model_validator(mode="after")
    def known_names(self):
        find(self.dataset)
        check_name(self.dataset_name)
        if self.model not in MODELS:
            raise ValueError(unknown("model", self.model, MODELS))
        MODELS[self.model].config(**self.options)
        if self.fine_tune and self.fine_tune.method == "all" and not self.family.trained:
            raise ValueError(
                f"fine_tune: {self.model} has no weights to tune, "
                "method must be 'linear' or 'nearest'"
            )
        check_spelling(self.test_masks)
        for name, ratio in [(self.strategy, self.mask_ratio), *self.judged_on]:
            if name not in STRATEGIES:
                raise ValueError(unknown("masking strategy", name, STRATEGIES))
            if ratio and not STRATEGIES[name].defined_at(ratio):
                defined = STRATEGIES[name].ratios
                raise ValueError(
                    f"strategy {name!r} is not defined at ratio {ratio}: it is for {defined}"
                )
        if self.trains and self.mask_ratio:
            self.check_masked()
        return self

    def check_masked(self) -> None:
        """Raises ValueError for a model that is not masked by patches, or not by this strategy."""
        if not self.family.module.hides_patches:
            raise ValueError(
                f"mask_ratio = {self.mask_ratio:g}: {self.model!r} hides no patches but something "
                "else: give mask_ratio 0"
            )
        asked = STRATEGIES[self.strategy].looks_at
        if asked == "attention" and not hasattr(self.family.module, "attention"):
            raise ValueError(
                f"strategy {self.strategy!r} looks at the attention of the model that learns, and "
                f"{self.model!r} has none: take 'mae', or another strategy"
            )

    @property
    def family(self) -> Family:
        return MODELS[self.model]

    @property
    def patch(self) -> tuple[int, int]:
        size = self.patch_size
        return (size, size) if isinstance(size, int) else size

    @property
    def judged_on(self) -> list[tuple[str, float]]:
        """Strategy and ratio of each test mask."""
        return [parse_mask(name) for name in self.test_masks]

    @property
    def pictured(self) -> tuple[str, ...]:
        """The test masks of its picture sheet: the first, the random ones of its own ratio, those
        of its own strategy, and the next.
        """
        own = (self.strategy, STRATEGIES[self.strategy].ends_as)

        def kind(name: str) -> int:
            if name == f"random@{self.mask_ratio:g}":
                return 0
            return 1 if parse_mask(name)[0] in own else 2

        first, *others = self.test_masks
        return (first, *sorted(others, key=kind))[:MOST_PICTURED]

    @property
    def ratios(self) -> list[tuple[str, float]]:
        """Every ratio at which patches are hidden, with the parameter that says so."""
        judged = [("test_masks", ratio) for _, ratio in self.judged_on]
        return [("mask_ratio", self.mask_ratio), *judged]

    @property
    def trains(self) -> bool:
        return self.family.trained and self.recipe.epochs > 0

    @property
    def pretraining(self) -> "Experiment":
        """The experiment whose model is fine-tuned: the same without it.

        A model that is not trained is the same at every seed.
        """
        seed = self.seed if self.family.trained else 0
        return self.model_copy(update={"fine_tune": None, "seed": seed})

    @property
    def dataset_name(self) -> str:
        """The data set; a folder by its name alone, not by where it lies."""
        base, path = find(self.dataset)
        return f"{base.name}:{Path(path).name}" if path else base.name

    def components(self) -> dict[str, int]:
        """The behaviour version of everything that the numbers depend on, and of nothing else."""
        data = find(self.dataset)[0]
        used = {"experiment": VERSION, f"data.{data.name}": data.version}
        used[f"model.{self.model}"] = self.family.version
        if self.trains:
            used |= training_components(self.recipe.augment)
            used |= masks.components(self.strategy, self.mask_ratio, training=True)
        if self.fine_tune is None:
            return dict(sorted((used | self.measuring()).items()))
        used["finetuning"] = finetune.VERSION
        if self.fine_tune.method == "all":
            used |= training_components(self.fine_tune.augment)
        if self.fine_tune.method == "linear":
            used["probes"] = measures.PROBES
        if self.fine_tune.mixup or self.fine_tune.cutmix:
            used["mixing"] = augment.MIXING
        return dict(sorted(used.items()))

    def measuring(self) -> dict[str, int]:
        """The behaviour version of what a model is measured by."""
        used = {}
        if hasattr(self.family.module, "reconstruct"):
            used["measures"] = measures.MEASURES
            for strategy, ratio in self.judged_on:
                used |= masks.components(strategy, ratio, training=False)
        if self.probe and hasattr(self.family.module, "embed"):
            used["probes"] = measures.PROBES
        return used

    def parameters(self) -> dict[str, Any]:
        """Everything as JSON data, all defaults spelt out, a folder by its name alone."""
        plain = self.model_dump(mode="json")
        plain["options"] = self.family.config(**self.options).model_dump(mode="json")
        return plain | {"dataset": self.dataset_name}

    def identity(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON data."""
        plain = super().identity()
        options = self.family.config(**self.options).identity()
        plain.pop("options", None)
        if options:
            plain["options"] = options
        return plain | {"dataset": self.dataset_name}

    @property
    def key(self) -> str:
        return records.key_of({"parameters": self.identity(), "components": self.components()})


def check_name(dataset: str) -> None:
    """Raises ValueError for a data set after which no record's file can be called."""
    shown = f"dataset = {dataset[:200]!a}: records are called after it, and the name"
    try:
        size = len(dataset.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{shown} is no UTF-8 text: rename the folder") from None
    if size > LONGEST_NAME:
        raise ValueError(
            f"{shown} is too long: rename the folder to at most {LONGEST_NAME} bytes, it has {size}"
        )


def training_components(name: str) -> dict[str, int]:
    """The behaviour version of the loop and of an augmentation."""
    used = {"training": training.VERSION}
    if name != "none":
        used[f"augment.{name}"] = AUGMENTATIONS[name].version
    return used


class Execution(Config):
    """How and where: never part of a key."""

    data_root: str = "data"
    output: str = "reports"
    scale: records.Scale = "quick"
    notebook: str = ""
    device: str = "auto"
    threads: int | None = Field(None, ge=1, le=MOST_THREADS)  # of each process
    processes: int = Field(1, ge=1, le=MOST_PROCESSES)  # training together here (see parallel)
    accumulate: int = Field(1, ge=1)  # parts in which a process takes its share of a batch
    save_every: float = Field(60.0, ge=0)  # seconds between states: what a kill costs at most
    rerun: bool = False
    published: bool = False  # whether records that came with the code are read, too
    progress: bool = True

    @property
    def keeps(self) -> bool:
        """Whether finished runs are read and unfinished ones taken up again."""
        return self.scale != "quick"

    def or_published(self) -> "Execution":
        """This one where runs are kept, else one that reads records that came with the code."""
        if self.keeps:
            return self
        return self.model_copy(update={"scale": "standard", "published": True})

    @property
    def results(self) -> Path:
        return resolve(self.output) / "results" / self.scale

    @property
    def shelves(self) -> list[Path]:
        """Where finished runs are looked for."""
        came_with_the_code = REPORTS / "results" / self.scale
        return [self.results, came_with_the_code] if self.published else [self.results]

    @property
    def figures(self) -> Path:
        return resolve(self.output) / "figures" / self.scale

    def checkpoints(self, key: str) -> Path:
        return resolve(self.output) / "checkpoints" / self.scale / key


class Showing(Config):
    """Which of the reader's own pictures are looked at, and by which model."""

    images: Paths = ()  # files and folders; none = the photographs that come with the code
    weights: str = "imagenette-mae"  # of a ViT-MAE, as `published.load_pretrained` takes them
    stride: int = Field(4, ge=1)  # patches from one window to the next
    at_most: int = Field(24, ge=1)  # pictures of a folder
    in_detail: int = Field(3, ge=1)  # of the pictures, under every mask


def settle(device: str, precision: str) -> str:
    """The precision that `auto` stands for here, settled before a key is made of it."""
    if precision != "auto":
        return precision  # which the recipe checks
    return resolve_precision(precision, resolve_device(device))
