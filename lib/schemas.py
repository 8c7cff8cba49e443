"""What each notebook accepts: one class per notebook holds its names, types, ranges and declared values.

A test holds the notebook's parameters cell to its class. The notebook's claims are
about the declared values: under others it runs and claims nothing. From parameters
come experiments (`experiment`, `baseline`) and the way to run them (`execution`).
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

EXECUTION = ("data_root", "output", "device", "threads", "processes", "accumulate", "rerun")  # how, not what: claims do not depend on them

BASELINES = ("pca", "biharmonic", "mean_fill", "raw_pixels")

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


class VanillaAutoencoder(NotebookParameters):
    notebook: ClassVar[str] = "01_vanilla_autoencoder"
    models: ClassVar[tuple[str, ...]] = ("autoencoder", *BASELINES)

    dataset: str = "digits"
    patch_size: Count = 2
    epochs: Annotated[int, Field(ge=1)] = 150
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.003
    hidden: Ints = (128, 64)
    latent: Count = 16
    latents: Ints = (2, 4, 8, 16)
    seed: Annotated[int, Field(ge=0)] = 1


class AdversarialAutoencoder(NotebookParameters):
    notebook: ClassVar[str] = "02_adversarial_autoencoder"
    models: ClassVar[tuple[str, ...]] = ("adversarial", "autoencoder", *BASELINES)

    dataset: str = "digits"
    patch_size: Count = 2
    epochs: Annotated[int, Field(ge=1)] = 80
    batch_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.001
    hidden: Ints = (128, 128)
    discriminator: Ints = (128, 128)
    adversary_rate: Annotated[float, Field(gt=0)] = 1.0
    priors: Priors = ("gaussian", "mixture", "swiss_roll")
    seed: Annotated[int, Field(ge=0)] = 1


class VisionTransformer(NotebookParameters):
    """What notebooks with a ViT-MAE share: its size."""

    dim: Annotated[int, Field(ge=4, multiple_of=4)] = 96
    depth: Count = 3
    heads: Count = 3
    decoder_dim: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    decoder_depth: Count = 1
    decoder_heads: Count = 4
    augment: Literal["none", "flip", "crop_flip"] = "none"

    @model_validator(mode="after")
    def heads_share_widths(self):
        for width, heads in ((self.dim, self.heads), (self.decoder_dim, self.decoder_heads)):
            if width % heads:
                raise ValueError(f"a width of {width} cannot be shared by {heads} heads: it must be a multiple")
        return self

    @property
    def vit(self) -> dict[str, int]:
        """Options of the ViT-MAE."""
        return {name: getattr(self, name) for name in ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")}


class ViTMAE(VisionTransformer):
    notebook: ClassVar[str] = "03_vit_mae"
    models: ClassVar[tuple[str, ...]] = ("mae", "autoencoder", "adversarial", *BASELINES)

    dataset: str = "photos"
    patch_size: AllOr = 0
    epochs: Annotated[int, Field(ge=1)] = 7
    batch_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.0015
    evaluate_images: AllOr = 200
    probe_images: AllOr = 600
    augment: Literal["none", "flip", "crop_flip"] = "flip"
    hidden: Ints = (256,)
    latent: Count = 64
    seed: Annotated[int, Field(ge=0)] = 1


class MaskingStrategies(VisionTransformer):
    notebook: ClassVar[str] = "04_masking_strategies"

    dataset: str = "digits"
    patch_size: Count = 1
    epochs: Annotated[int, Field(ge=1)] = 80
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.002
    model: Literal["autoencoder", "mae"] = "autoencoder"
    hidden: Ints = (256, 128)
    latent: Count = 32
    strategies: Names = ("random", "block", "grid")
    ratios: Ratios = (0.25, 0.5, 0.9)
    seeds: Seeds = (1, 2, 3)

    @property
    def trained_under(self) -> tuple[str, ...]:
        from lib.masking import STRATEGIES

        return tuple(name for name in self.strategies if STRATEGIES[name].defined_at(self.mask_ratio))

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *BASELINES)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the model that is trained under every strategy."""
        return self.vit if self.model == "mae" else {"hidden": self.hidden, "latent": self.latent}


class FewLabels(VisionTransformer):
    """Fine-tuning on shares of the labels, from a masked, an unmasked and no pre-training."""

    notebook: ClassVar[str] = "05_few_labels"
    models: ClassVar[tuple[str, ...]] = ("mae",)

    dataset: str = "digits"
    patch_size: Count = 2
    dim: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    decoder_dim: Annotated[int, Field(ge=4, multiple_of=4)] = 32
    heads: Count = 4
    epochs: Annotated[int, Field(ge=1)] = 100
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.002
    finetune_epochs: Annotated[int, Field(ge=1)] = 20
    finetune_rate: Annotated[float, Field(gt=0, lt=1)] = 0.001
    finetune_augment: Literal["none", "flip", "crop_flip"] = "none"
    least_steps: Count = 150
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (0.02, 0.1, 1.0)
    seeds: Seeds = (1, 2, 3)

    def starts(self, seed: int) -> dict[str, Any]:
        """What is fine-tuned, by name: after masked and unmasked pre-training of the same length, and two supervised controls.

        `scratch` has the fine-tuning's epochs, `scratch, long` those of the pre-training as well; neither has
        layer decay, which is for layers that know something.
        """
        tune = {"shares": self.shares, "least_steps": self.least_steps, "batch_size": self.batch_size, "drop_path": self.drop_path}
        tune |= {"learning_rate": self.finetune_rate, "augment": self.finetune_augment}
        tuned = tune | {"epochs": self.finetune_epochs, "layer_decay": self.layer_decay}
        scratch = tune | {"epochs": self.finetune_epochs, "layer_decay": 1.0}
        untrained = {"recipe": {"epochs": 0}, "seed": seed}
        return {
            "masked": self.experiment("mae", self.vit, fine_tune=tuned, seed=seed),
            "not masked": self.experiment("mae", self.vit | {"loss_on": "all"}, fine_tune=tuned, mask_ratio=0.0, seed=seed),
            "scratch": self.experiment("mae", self.vit, fine_tune=scratch, **untrained),
            "scratch, long": self.experiment(
                "mae", self.vit, fine_tune=scratch | {"epochs": self.finetune_epochs + self.epochs}, **untrained
            ),
        }


SCHEMAS = {schema.notebook: schema for schema in (VanillaAutoencoder, AdversarialAutoencoder, ViTMAE, MaskingStrategies, FewLabels)}
