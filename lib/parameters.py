"""What each notebook accepts, and the check of what it was given.

papermill runs `-p sead 1` without a word and turns `-p epochs abc` into text. So the
first call of every notebook, straight after its parameters cell, is `check`, which
refuses unknown names, wrong types and values out of range, all of them at once and
before anything is loaded. One class per notebook holds its names, types, ranges and
declared values; a test holds the notebook's parameters cell to them. The notebook's
claims are about the declared values: under others it runs and claims nothing.
"""

import ast
import difflib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

EXECUTION = ("data_root", "output", "device", "threads", "rerun")  # how, not what: claims do not depend on them

AllOr = Annotated[int, Field(ge=0)]  # 0 stands for "all" or "as it is"
Ratio = Annotated[float, Field(ge=0, lt=1)]


def as_tuple(value: Any) -> Any:
    """Lists, which YAML and notebooks have, as the tuples that frozen objects need."""
    return tuple(value) if isinstance(value, list) else value


Ints = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple), Field(min_length=1)]
Ratios = Annotated[tuple[Ratio, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


class ParameterError(ValueError):
    """Parameters that a notebook does not accept; the message names each."""


class NotebookParameters(BaseModel):
    """What all notebooks share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    notebook: ClassVar[str]

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
    rerun: bool = False

    @property
    def declared(self) -> bool:
        """Whether everything that decides the numbers has its declared value."""
        fields = type(self).model_fields
        return all(getattr(self, name) == field.default for name, field in fields.items() if name not in EXECUTION)

    @property
    def test_masks(self) -> tuple[str, ...]:
        """On which masks models are judged: random ones at the quick scale, those of every strategy beyond it."""
        from lib.masking import STRATEGIES

        names = ["random"] if self.scale == "quick" else [n for n, s in STRATEGIES.items() if s.defined_at(self.mask_ratio)]
        return tuple(f"{name}@{self.mask_ratio:g}" for name in names)

    def recipe(self, **changes):
        """How to train under these parameters."""
        from lib.settings import settle
        from lib.training import Recipe

        plain = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        plain |= {"augment": getattr(self, "augment", "none"), "precision": settle(self.device, self.precision)}
        return Recipe(**plain | changes)

    def experiment(self, model: str, options: dict[str, Any] | None = None, *, recipe: dict[str, Any] | None = None, **changes):
        """One experiment under these parameters; `changes` are identity fields, `recipe` fields of the recipe."""
        from lib.settings import Experiment

        plain = {name: getattr(self, name) for name in ("dataset", "patch_size", "mask_ratio")} | {"seed": getattr(self, "seed", 0)}
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

    dataset: str = "digits"
    patch_size: Count = 2
    epochs: Annotated[int, Field(ge=1)] = 80
    batch_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.001
    hidden: Ints = (128, 128)
    discriminator: Ints = (128, 128)
    adversary_rate: Annotated[float, Field(gt=0)] = 1.0
    priors: Names = ("gaussian", "mixture", "swiss_roll")
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

    @property
    def vit(self) -> dict[str, int]:
        """Options of the ViT-MAE."""
        return {name: getattr(self, name) for name in ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads")}


class ViTMAE(VisionTransformer):
    notebook: ClassVar[str] = "03_vit_mae"

    dataset: str = "photos"
    patch_size: Count = 8
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
    seeds: Ints = (1, 2, 3)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the model that is trained under every strategy."""
        return self.vit if self.model == "mae" else {"hidden": self.hidden, "latent": self.latent}


SCHEMAS = {schema.notebook: schema for schema in (VanillaAutoencoder, AdversarialAutoencoder, ViTMAE, MaskingStrategies)}


def check(notebook: str, names: dict[str, Any]) -> NotebookParameters:
    """The validated parameters of a notebook, from its `globals()`.

    Raises ParameterError naming every parameter that is unknown, ill-typed, out of
    range or not a registered data set or strategy.
    """
    schema = SCHEMAS[notebook]
    given = assigned(names)
    problems = [unknown(name, schema) for name in given if name not in schema.model_fields]
    try:
        parameters = schema(**{name: value for name, value in given.items() if name in schema.model_fields})
    except ValidationError as error:
        problems += [f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
    else:
        problems += unregistered(parameters)
    if problems:
        raise ParameterError(f"notebook {notebook} cannot run with these parameters:\n  " + "\n  ".join(problems))
    return parameters


def assigned(names: dict[str, Any]) -> dict[str, Any]:
    """The names that cells of literal assignments have set: the parameters cell and papermill's injected one.

    Without a kernel's history (`In`) all public names count.
    """
    if "In" not in names:
        return {name: value for name, value in names.items() if not name.startswith("_")}
    targets = [name for source in names["In"] for name in literal_targets(source)]
    return {name: names[name] for name in targets if name in names}


def literal_targets(source: str) -> list[str]:
    """The names that a cell assigns, if it does nothing but assign literals."""
    try:
        statements = ast.parse(source).body
        pairs = [(s.target if isinstance(s, ast.AnnAssign) else s.targets[0], ast.literal_eval(s.value)) for s in statements]
    except (SyntaxError, ValueError, AttributeError, TypeError):
        return []
    return [target.id for target, _ in pairs if isinstance(target, ast.Name)]


def unknown(name: str, schema: type[NotebookParameters]) -> str:
    close = difflib.get_close_matches(name, schema.model_fields, n=1)
    return f"{name}: unknown parameter" + (f", did you mean {close[0]}?" if close else f"; there are {', '.join(schema.model_fields)}")


def unregistered(parameters: NotebookParameters) -> list[str]:
    """Names that no register knows."""
    import lib.data  # noqa: F401  (fills the register)
    from lib.data.registry import DataError, find
    from lib.masking import STRATEGIES

    problems = []
    try:
        find(parameters.dataset)
    except DataError as error:
        problems.append(f"dataset = {parameters.dataset!r}: {error}")
    for name in getattr(parameters, "strategies", ()):
        if name not in STRATEGIES:
            problems.append(f"strategies: {name!r} is unknown, choose among {', '.join(STRATEGIES)}")
    return problems
