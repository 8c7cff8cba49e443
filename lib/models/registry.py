"""What a model family is, and the register of them.

A family is one file in this folder: a configuration, a module and, where one
optimiser is not enough, its own step. The module is built as
`Module(config, space, generator)` and answers

    reconstruct(images, mask) -> images in [0, 1], every pixel predicted
    embed(images)             -> features [batch, features], nothing hidden

(a baseline may lack one of the two), and `loss(images, mask)` or `fit(images)`.
Evaluation, figures and tables hold models by this interface alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Generator, Tensor, nn

from lib.optim import GradientStep
from lib.pixels import PixelSpace, Shape


class Config(BaseModel):
    """Base of every configuration: frozen, strict types, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def identity(self) -> dict[str, Any]:
        """Everything as JSON data, less the `later` fields that hold the value from before they existed."""
        plain = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Config):
                plain[name] = value.identity()
            elif BEFORE in (field.json_schema_extra or {}) and value == field.json_schema_extra[BEFORE]:
                del plain[name]
        return plain


BEFORE = "before"


def later(default: Any, *, before: Any, **limits: Any) -> Any:
    """A field added after records were made: where it holds `before`, what the code did without it, their keys stay."""
    return Field(default, json_schema_extra={BEFORE: before}, **limits)


Shares = Annotated[tuple[float, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Sizes = Annotated[tuple[int, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]


@dataclass(frozen=True)
class Family:
    """A registered model family."""

    name: str
    module: type[nn.Module]
    config: type[Config]
    label: str  # for figures and tables
    trained: bool  # False: fitted in closed form or not at all
    make_step: Callable[..., Any]
    version: int  # raise it when its results change: records made before are then stale


MODELS: dict[str, Family] = {}


def family(name: str, *, config: type[Config], label: str, trained: bool = True, make_step=GradientStep, version: int = 1):
    """Register an `nn.Module` class as a model family."""

    def register(module: type[nn.Module]) -> type[nn.Module]:
        MODELS[name] = Family(name, module, config, label, trained, make_step, version)
        return module

    return register


def build(name: str, options: dict[str, Any], shape: Shape, mean: Tensor, std: Tensor, generator: Generator) -> nn.Module:
    """A new model with weights drawn from `generator`. Raises ValueError for an unknown family or option."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}")
    config = MODELS[name].config(**options)
    return MODELS[name].module(config, PixelSpace(shape, mean, std), generator)
