"""What all notebooks' parameters share: types and ranges, and how experiments come of them.

From parameters come experiments (`experiment`, `baseline`) and the way to run them
(`execution`). The classes of the notebooks are in `schemas`.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

EXECUTION = ("data_root", "output", "device", "threads", "processes", "accumulate", "rerun")  # how, not what: claims do not depend on them

BASELINES = ("pca", "biharmonic", "mean_fill", "raw_pixels")


def known_augmentation(name: str) -> str:
    from lib.augment import known

    return known(name)


Augment = Annotated[str, AfterValidator(known_augmentation)]
AllOr = Annotated[int, Field(ge=0)]  # 0 stands for "all" or "as it is"
Ratio = Annotated[float, Field(gt=0, lt=1)]


def as_tuple(value: Any) -> Any:
    """Lists, which YAML and notebooks have, as the tuples that frozen objects need."""
    return tuple(value) if isinstance(value, list) else value


Ints = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple), Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)]
Priors = Annotated[tuple[Literal["gaussian", "mixture", "swiss_roll"], ...], BeforeValidator(as_tuple), Field(min_length=1)]
Ratios = Annotated[tuple[Ratio, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


class NotebookParameters(BaseModel):
    """What all notebooks share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    notebook: ClassVar[str]
    models: ClassVar[tuple[str, ...]]  # that the notebook runs: a sweep's cell is done again when one of them changes

    dataset: str
    image_size: AllOr = 0
    subset: AllOr = 0
    patch_size: Count
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Count = 128
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    precision: Literal["auto", "float32", "bf16"] = "float32"
    evaluate_images: AllOr = 0
    probe_images: AllOr = 0
    scale: Literal["quick", "standard", "full"] = "quick"
    data_root: str = "data"
    output: str = "reports"
    device: str = "auto"
    threads: AllOr = 0
    processes: Count = 1
    accumulate: Count = 1
    rerun: bool = False

    @property
    def declared(self) -> bool:
        """Whether everything that decides the numbers has its declared value."""
        fields = type(self).model_fields
        return all(getattr(self, name) == field.default for name, field in fields.items() if name not in EXECUTION)

    @property
    def test_masks(self) -> tuple[str, ...]:
        """On which masks models are judged: random ones at the quick scale, three kinds beyond it."""
        from lib.evaluate import JUDGED_ON
        from lib.masking import STRATEGIES

        names = ["random"] if self.scale == "quick" else [name for name in JUDGED_ON if STRATEGIES[name].defined_at(self.mask_ratio)]
        return tuple(f"{name}@{self.mask_ratio:g}" for name in names)

    def identity(self) -> dict[str, Any]:
        """What decides the numbers of a whole notebook, and the behaviour version of everything that it uses."""
        from lib.data import settle_variant
        from lib.settings import settle

        plain = {name: value for name, value in self.model_dump(mode="json").items() if name not in EXECUTION}
        plain |= {"dataset": settle_variant(self.dataset, self.data_root), "precision": settle(self.device, self.precision)}
        return {"notebook": self.notebook, "parameters": plain, "components": self.components()}

    def components(self) -> dict[str, int]:
        """The behaviour version of everything that the notebook uses under these parameters."""
        used = [self.experiment(model, strategy=name, patch_size=1) for model in self.models for name in self.trained_under]
        return {name: version for experiment in used for name, version in experiment.components().items()}

    @property
    def trained_under(self) -> tuple[str, ...]:
        """Strategies of training."""
        return ("random",)

    def quarter(self) -> int | tuple[int, int]:
        """A quarter of the images' sides: what a patch size of 0 stands for."""
        from lib.data import load

        height, width = load(self.dataset, "test", self.data_root, self.image_size or None).images.shape[2:]
        return height // 4 if height == width else (height // 4, width // 4)

    def recipe(self, **changes):
        """How to train under these parameters."""
        from lib.settings import settle
        from lib.training import Recipe

        plain = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        plain |= {"augment": getattr(self, "augment", "none"), "precision": settle(self.device, self.precision)}
        return Recipe(**plain | changes)

    def experiment(self, model: str, options: dict[str, Any] | None = None, *, recipe: dict[str, Any] | None = None, **changes):
        """One experiment under these parameters; `changes` are identity fields, `recipe` fields of the recipe."""
        from lib.data import settle_variant
        from lib.settings import Experiment

        plain = {"dataset": settle_variant(self.dataset, self.data_root), "mask_ratio": self.mask_ratio, "seed": getattr(self, "seed", 0)}
        if "patch_size" not in changes:
            plain["patch_size"] = self.patch_size or self.quarter()
        plain |= {name: getattr(self, name) or None for name in ("image_size", "subset", "evaluate_images", "probe_images")}
        plain |= {"test_masks": self.test_masks, "recipe": self.recipe(**recipe or {})}
        return Experiment(model=model, options=options or {}, **plain | changes)

    def baseline(self, model: str, options: dict[str, Any] | None = None, **changes):
        """An experiment that trains nothing: the same for every seed and recipe."""
        from lib.training import Recipe

        return self.experiment(model, options, **{"seed": 0} | changes).model_copy(update={"recipe": Recipe(epochs=0)})

    def execution(self):
        """The execution parameters, for `experiment.run`."""
        from lib.settings import Execution

        plain = {name: getattr(self, name) for name in EXECUTION} | {"threads": self.threads or None}
        return Execution(notebook=self.notebook, scale=self.scale, **plain)
