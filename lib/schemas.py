"""What each notebook accepts: one class per notebook holds its names, types, ranges and declared values.

A test holds the notebook's parameters cell to its class. The notebook's claims are
about the declared values: under others it runs and claims nothing. From parameters
come experiments (`experiment`, `baseline`) and the way to run them (`execution`).
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from lib.notebook_parameters import BASELINES, AllOr, Augment, Count, Ints, Names, NotebookParameters, Priors, Ratios, Seeds, as_tuple


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
    augment: Augment = "none"

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
    augment: Augment = "flip"
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
    """Classifiers on shares of the labels: fine-tuned from a masked, an unmasked and no pre-training, and a linear one on pixels."""

    notebook: ClassVar[str] = "05_few_labels"
    models: ClassVar[tuple[str, ...]] = ("mae", *BASELINES)

    dataset: str = "digits"
    patch_size: Count = 2
    dim: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    decoder_dim: Annotated[int, Field(ge=4, multiple_of=4)] = 32
    depth: Count = 2
    heads: Count = 4
    epochs: Annotated[int, Field(ge=1)] = 40
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.002
    finetune_epochs: Annotated[int, Field(ge=1)] = 12
    finetune_rate: Annotated[float, Field(gt=0, lt=1)] = 0.001
    finetune_augment: Augment = "none"
    least_steps: Count = 100
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], BeforeValidator(as_tuple), Field(min_length=1)] = (0.1, 1.0)
    seeds: Seeds = (1,)

    def starts(self, seed: int) -> dict[str, Any]:
        """What is fine-tuned, by name: after masked and unmasked pre-training of the same length, and two supervised controls.

        `scratch` has the steps of the fine-tuning, `scratch, long` those of the pre-training as well, at any share of the
        labels; neither has layer decay, which is for layers that know something. `raw pixels` is a linear classifier.
        """
        tune = {"shares": self.shares, "least_steps": self.least_steps, "batch_size": self.batch_size, "drop_path": self.drop_path}
        tune |= {"learning_rate": self.finetune_rate, "augment": self.finetune_augment, "mixup": self.mixup, "cutmix": self.cutmix}
        tuned = tune | {"epochs": self.finetune_epochs, "layer_decay": self.layer_decay}
        scratch = tune | {"epochs": self.finetune_epochs, "layer_decay": 1.0}
        long = {"epochs": self.finetune_epochs + self.epochs, "least_steps": self.least_steps + self.pretraining_steps()}
        untrained = {"recipe": {"epochs": 0}, "seed": seed}
        return {
            "masked": self.experiment("mae", self.vit, fine_tune=tuned, seed=seed),
            "not masked": self.experiment("mae", self.vit | {"loss_on": "all"}, fine_tune=tuned, mask_ratio=0.0, seed=seed),
            "scratch": self.experiment("mae", self.vit, fine_tune=scratch, **untrained),
            "scratch, long": self.experiment("mae", self.vit, fine_tune=scratch | long, **untrained),
            "raw pixels": self.baseline("raw_pixels", fine_tune={"shares": self.shares}, seed=seed),
        }

    def components(self) -> dict[str, int]:
        tuned = {"shares": self.shares, "augment": self.finetune_augment, "mixup": self.mixup, "cutmix": self.cutmix}
        used = [self.experiment(model, patch_size=1, fine_tune=tuned) for model in ("mae", "raw_pixels")]
        return super().components() | {name: version for experiment in used for name, version in experiment.components().items()}

    def pretraining_steps(self) -> int:
        """How many steps a pre-training takes."""
        from lib.data import load

        count = len(load(self.dataset, "train", self.data_root, self.image_size or None, self.subset or None))
        return self.epochs * (count // min(self.batch_size, count))


SCHEMAS = {schema.notebook: schema for schema in (VanillaAutoencoder, AdversarialAutoencoder, ViTMAE, MaskingStrategies, FewLabels)}
