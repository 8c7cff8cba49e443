"""What a notebook was given: checked, and turned into experiments.

A parameter is described once. Its name, its default and one line of help stand in the
notebook's parameters cell, its range in the field of the same name of a configuration: of
`Experiment`, `Recipe`, `Execution`, `Showing`, or of a model. A list whose name
is the plural of a field (`latents`, `seeds`) holds values of it, and one whose name is a model's
and a field of the recipe (`autoencoder_epochs`) is that field for it. What the cell does not name
is reached through its dictionaries: `experiment`, `recipe`, `options` (by model; its keys are the
models that the notebook trains), `execution` and, where a notebook fine-tunes, `fine_tune`.

papermill runs `-p sead 1` without a word and turns `-p epochs abc` into text. So the first call
of every notebook, straight after its parameters cell, is `check`, which refuses unknown names,
wrong types and values out of range, all of them at once and before anything is loaded. A sweep
checks its cells by the same call, without a kernel.
"""

import ast
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lib.config import Config, unknown
from lib.data.registry import load, settle_variant
from lib.evaluate import JUDGED_ON
from lib.files import NOTEBOOKS, resolve
from lib.finetune import FineTune
from lib.machine import resolve_device
from lib.masking import STRATEGIES
from lib.models.family import MODELS
from lib.run.records import key_of
from lib.run.settings import Execution, Experiment, Showing, settle
from lib.training import Recipe

EVERYWHERE = ("experiment", "recipe", "options", "execution")  # empty where it is not declared
DICTIONARIES = (*EVERYWHERE, "fine_tune")
SAID_BY_NOTEBOOK = [("execution", "notebook")]
SAID_BY_NOTEBOOK += [("experiment", name) for name in ("model", "options", "recipe", "fine_tune")]
OF_TRAINING = ("strategy", "mask_ratio", "recipe")  # fields of an experiment
OF_ARMS = ("learning_rates",)  # one for each arm of a comparison: two may be equal
SHOWN = 200  # characters of a value that a message repeats


class ParameterError(ValueError):
    """Parameters that a notebook does not accept; the message names each."""


@dataclass(frozen=True)
class Parameters:
    """The values of a notebook's parameters, each an attribute, and what comes of them."""

    notebook: str
    values: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name not in values:
            raise AttributeError(f"notebook {self.notebook} has no parameter {name!r}")
        return values[name]

    def but(self, **values: Any) -> "Parameters":
        """The same with some values otherwise, which are not checked."""
        return replace(self, values=self.values | values)

    def of(self, config: type[Config]) -> dict[str, Any]:
        """The values that are fields of a configuration."""
        fields = config.model_fields.keys() - set(DICTIONARIES)
        return {name: value for name, value in self.values.items() if name in fields}

    @property
    def of_experiment(self) -> dict[str, Any]:
        """Fields of an experiment: parameters of that name, and what `experiment` says."""
        return self.of(Experiment) | self.values["experiment"]

    @property
    def models(self) -> list[str]:
        """The models that the notebook trains."""
        return list(self.values["options"])

    def execution(self) -> Execution:
        """How and where to run."""
        given = self.of(Execution) | self.values["execution"]
        return Execution(notebook=self.notebook, **given)

    def recipe(self, **changes: Any) -> Recipe:
        """How to train; a precision of `auto` is what this device is fast at."""
        given = self.of(Recipe) | self.values["recipe"] | changes
        if "precision" in given:
            device = str(self.values["execution"].get("device", "auto"))
            given["precision"] = settle(device, given["precision"])
        return Recipe(**given)

    def own_recipe(self, model: str) -> dict[str, Any]:
        """Fields of the recipe that have a parameter for this model alone."""
        own = {field: f"{model}_{field}" for field in Recipe.model_fields}
        return {f: self.values[name] for f, name in own.items() if name in self.values}

    def showing(self) -> Showing:
        """The reader's own pictures, where the notebook shows them."""
        return Showing(**self.of(Showing))

    def fine_tuning(self, **changes: Any) -> FineTune:
        """How to fine-tune, where the notebook does."""
        return FineTune(**self.values["fine_tune"] | changes)

    def options(self, model: str) -> dict[str, Any]:
        """Of one model: values that are fields of its configuration, and what `options` says."""
        if model not in MODELS:
            raise ValueError(unknown("model", model, MODELS))
        return self.of(MODELS[model].config) | self.values["options"].get(model, {})

    def experiment(
        self,
        model: str,
        options: dict[str, Any] | None = None,
        *,
        recipe: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Experiment:
        """One experiment under these parameters.

        options   of the model, beside those that the parameters give
        recipe    fields of the recipe that are otherwise than the parameters say
        changes   fields of the experiment that are otherwise
        """
        given = {"test_masks": self.test_masks} | self.of_experiment | changes
        given["dataset"] = settle_variant(given["dataset"], self.execution().data_root)
        size = given["patch_size"]
        given["patch_size"] = self.quarter() if size is None else size
        given["model"] = model
        if MODELS[model].trained and not MODELS[model].module.hides_patches:
            given["mask_ratio"] = 0.0
        given["options"] = self.options(model) | (options or {})
        given["recipe"] = self.recipe(**self.own_recipe(model) | (recipe or {}))
        return Experiment(**given)

    def baseline(
        self, model: str, options: dict[str, Any] | None = None, **changes: Any
    ) -> Experiment:
        """An experiment that trains nothing: the same for every seed, recipe and training mask."""
        asked = self.experiment(model, options, **{"seed": 0} | changes)
        untouched = {name: Experiment.model_fields[name].default for name in OF_TRAINING}
        return asked.model_copy(update=untouched)

    @property
    def test_masks(self) -> tuple[str, ...]:
        """On which masks models are judged: random ones at the quick scale, three kinds beyond."""
        ratio = self.values["mask_ratio"]
        if self.values["scale"] == "quick":
            return (f"random@{ratio:g}",)
        defined = [name for name in JUDGED_ON if STRATEGIES[name].defined_at(ratio)]
        return tuple(f"{name}@{ratio:g}" for name in defined)

    def quarter(self) -> int | tuple[int, int]:
        """A quarter of the sides, for a patch size of None. Raises ValueError for no whole one."""
        root, size = self.execution().data_root, self.of_experiment.get("image_size")
        dataset = settle_variant(self.values["dataset"], root)
        height, width = load(dataset, "test", root, size).images.shape[2:]
        if height % 4 or width % 4:
            raise ValueError(
                f"patch_size: None is a quarter of the side, and images of {height}x{width} pixels "
                "have none: give a patch_size that divides both sides"
            )
        return height // 4 if height == width else (height // 4, width // 4)

    def identity(self) -> dict[str, Any]:
        """What decides the numbers of the whole notebook, as JSON data."""
        values = {name: value for name, value in self.values.items() if name != "execution"}
        values["dataset"] = settle_variant(values["dataset"], self.execution().data_root)
        values["precision"] = self.recipe().precision
        return {"notebook": self.notebook, "parameters": values}

    @property
    def digest(self) -> str:
        """Eight digits that stand for everything that decides the numbers."""
        values = {name: value for name, value in self.values.items() if name != "execution"}
        return key_of(values)[:8]


def notebooks() -> list[str]:
    """The names of the study's notebooks."""
    return sorted(file.stem for file in NOTEBOOKS.glob("[0-9]*.ipynb"))


def defaults(notebook: str) -> dict[str, Any]:
    """What the parameters cell of a notebook declares. Raises ParameterError."""
    if notebook not in notebooks():
        raise ParameterError(unknown("notebook", notebook, notebooks()))
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return literals("".join(tagged[0]["source"]))


def literals(source: str) -> dict[str, Any]:
    """The names that a cell assigns, with their values, if it does nothing but assign literals."""
    found = {}
    try:
        for statement in ast.parse(source).body:
            annotated = isinstance(statement, ast.AnnAssign)
            target = statement.target if annotated else statement.targets[0]
            found[target.id] = ast.literal_eval(statement.value)
    except (SyntaxError, ValueError, AttributeError, TypeError):
        return {}
    return found


def check(notebook: str, names: dict[str, Any]) -> Parameters:
    """The checked parameters of a notebook, from its `globals()`, or from what a sweep gives.

    Raises ParameterError naming every parameter that is unknown, ill-typed or out of range.
    """
    declared = defaults(notebook)
    given = assigned(names, declared)
    problems = [unknown("parameter", name, declared) for name in given if name not in declared]
    values: dict[str, Any] = {name: {} for name in EVERYWHERE} | declared
    values |= {name: value for name, value in given.items() if name in declared}
    problems += wrong_dictionaries(values)
    if not problems:
        values["options"] = merged(declared.get("options", {}), values["options"])
        problems = wrong(Parameters(notebook, values))
    if problems:
        listed = "\n  ".join(dict.fromkeys(problems))
        raise ParameterError(f"notebook {notebook} cannot run with these parameters:\n  {listed}")
    changed = [n for n in declared if n != "execution" and values[n] != declared[n]]
    if changed and "In" in names:
        print(
            f"Other parameters than declared ({', '.join(changed)}): what is said below of results "
            f"was written about the declared ones, and nothing is claimed."
        )
    return Parameters(notebook, values)


def merged(
    declared: dict[str, dict[str, Any]], given: dict[str, dict[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """Options of each model: those given beside, or instead of, those declared.

    A model that is given as None is left out.
    """
    models = [m for m in dict.fromkeys([*declared, *given]) if given.get(m, {}) is not None]
    return {model: declared.get(model, {}) | given.get(model, {}) for model in models}


def assigned(names: dict[str, Any], declared: dict[str, Any]) -> dict[str, Any]:
    """The names that cells of literals have set: the parameters cell and papermill's injected one.

    A parameters cell that is run again forgives what was set before it. Without a kernel's
    history (`In`) all public names count.
    """
    if "In" not in names:
        return {name: value for name, value in names.items() if not name.startswith("_")}
    cells = [literals(source) for source in names["In"]]
    runs = [number for number, cell in enumerate(cells) if declared.keys() <= cell.keys()]
    targets = [name for cell in cells[runs[-1] if runs else 0 :] for name in cell]
    return {name: names[name] for name in targets if name in names}


def wrong_dictionaries(values: dict[str, Any]) -> list[str]:
    """What is wrong with the dictionaries themselves."""
    problems = []
    declared = [name for name in DICTIONARIES if name in values]
    for name in declared:
        problems += wrong_dictionary(name, values[name], f": {by_yaml(name)}")
    if problems:
        return problems
    for model, options in values["options"].items():
        if model not in MODELS:
            problems.append(f"options: {unknown('model', model, MODELS)}")
        if options is not None:  # which leaves the model out
            problems += wrong_dictionary(f"options.{model[:SHOWN]}", options)
    for name in ("experiment", "recipe", "execution"):  # fields of the rest may share a name
        for own in values[name]:
            if own in values:
                problems.append(f"{name}.{own}: it is a parameter of its own, give it as {own}")
    for place, name in SAID_BY_NOTEBOOK:
        if name in values[place]:
            problems.append(f"{place}.{name}: the notebook says that itself, leave it out")
    return problems


def wrong_dictionary(name: str, given: Any, hint: str = "") -> list[str]:
    """What is wrong with one dictionary, apart from its values."""
    if not isinstance(given, dict):
        return [f"{name} = {shown(given)}: a dictionary is needed{hint}"]
    return [
        f"{name}: {shown(key)} is no name, which must be text"
        for key in given
        if not isinstance(key, str)
    ]


def wrong(parameters: Parameters) -> list[str]:
    """What no configuration accepts, found by building all of them."""
    problems = [*wrong_execution(parameters), *wrong_fields(parameters)]
    problems += refused(parameters.recipe, parameters, "recipe", Recipe)
    problems += refused(parameters.showing, parameters, config=Showing)
    if "fine_tune" in parameters.values:
        problems += refused(parameters.fine_tuning, parameters, "fine_tune", FineTune)
    problems += wrong_items(parameters)
    for name, field in of_models(parameters):
        problems += wrong_item(Recipe, field, parameters.values[name], name)
    models = dict.fromkeys(parameters.models)
    if "model" in parameters.values and not problems:
        models[parameters.values["model"]] = None
    for model in models:
        problems += wrong_options(parameters, model)
    if problems:
        return problems
    for model in models:
        problems += refused(partial(trial, parameters, model), parameters, "experiment")
    return problems or wrong_strategies(parameters)


def wrong_fields(parameters: Parameters) -> list[str]:
    """What is wrong with those parameters that are fields of an experiment, each by itself."""
    problems = []
    for name, value in parameters.of(Experiment).items():
        if name != "patch_size" or value is not None:
            problems += wrong_item(Experiment, name, value, name)
    for name, value in parameters.values["experiment"].items():
        if name in Experiment.model_fields:
            problems += wrong_item(Experiment, name, value, f"experiment.{name}")
    return problems


def wrong_options(parameters: Parameters, model: str) -> list[str]:
    """What is wrong with the options of one model."""
    if model not in MODELS:
        return [unknown("model", model, MODELS)]
    config = MODELS[model].config

    def build() -> Config:
        return config(**parameters.options(model))

    return refused(build, parameters, f"options.{model}", config)


def trial(parameters: Parameters, model: str) -> Experiment:
    """An experiment of a model, without looking at any data."""
    size = parameters.values["patch_size"]
    return parameters.experiment(model, patch_size=1 if size is None else size)


def wrong_execution(parameters: Parameters) -> list[str]:
    """What is wrong with device and folders: what would be noticed after the work."""
    problems = refused(parameters.execution, parameters, "execution", Execution)
    if problems:
        return problems
    execution = parameters.execution()
    try:
        resolve_device(execution.device)
    except ValueError as error:
        problems.append(f"execution.device = {shown(execution.device)}: {error}")
    why = unwritable(execution.output)
    if why:
        problems.append(f"execution.output = {shown(execution.output)}: cannot be written ({why})")
    why = no_path(execution.data_root)
    if why:
        problems.append(f"execution.data_root = {shown(execution.data_root)}: no folder ({why})")
    return problems


def unwritable(text: str) -> str:
    """Why nothing could be written to a folder; empty where it could. Makes none."""
    why = no_path(text)
    if why:
        return why
    folder = resolve(text)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        return f"{there} is a file"
    return "" if os.access(there, os.W_OK) else f"{there} is read-only"


def no_path(text: str) -> str:
    """Why no folder can be called so; empty where one can, whether or not it is there."""
    try:
        resolve(text).stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""
    except (OSError, ValueError, RuntimeError) as error:  # too long; a NUL; `~somebody`
        return getattr(error, "strerror", None) or f"{error}"
    return ""


def wrong_items(parameters: Parameters) -> list[str]:
    """What is wrong with the items of lists that are named by the plural of a field."""
    problems = []
    for name, field, configs in plurals(parameters):
        items = parameters.values[name]
        if not isinstance(items, list | tuple) or not items:
            problems.append(
                f"{name} = {shown(items)}: a list of at least one is needed: {by_yaml(name, items)}"
            )
            continue
        for number, item in enumerate(items):
            for config in configs:
                problems += wrong_item(config, field, item, f"{name}.{number}")
            if name not in OF_ARMS and item in items[:number]:
                problems.append(f"{name}.{number} = {shown(item)}: stands twice: give each once")
    return problems


def plurals(parameters: Parameters) -> Iterator[tuple[str, str, list[type[Config]]]]:
    """Lists of the notebook: their name, the field, and the configurations that have it."""
    configs = [Experiment, Recipe, *(MODELS[model].config for model in parameters.models)]
    for name in parameters.values:
        singular = f"{name[:-3]}y" if name.endswith("ies") else name.removesuffix("s")
        having = [config for config in configs if singular in config.model_fields]
        if singular != name and having:
            yield name, singular, having


def of_models(parameters: Parameters) -> Iterator[tuple[str, str]]:
    """Parameters that are a field of the recipe for one model: their name, and the field."""
    for name in parameters.values:
        for model in parameters.models:
            field = name.removeprefix(f"{model}_")
            if field != name and field in Recipe.model_fields:
                yield name, field


def wrong_item(config: type[Config], name: str, item: Any, place: str) -> list[str]:
    """What one field of a configuration says of one value."""
    field = config.model_fields[name]
    kind = Annotated[field.annotation, field]
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(item)
    except ValidationError as error:
        return [sentence(e, place) for e in error.errors()]
    return []


def wrong_strategies(parameters: Parameters) -> list[str]:
    """Strategies that nobody knows, or of which none is defined at a ratio that is asked for."""
    names = parameters.values.get("strategies", [])
    problems = [
        f"strategies: {unknown('masking strategy', str(name), STRATEGIES)}"
        for name in names
        if name not in STRATEGIES
    ]
    if not names or problems:
        return problems
    one = parameters.values.get("mask_ratio")
    ratios = parameters.values["mask_ratios"] if one is None else [one]
    return [
        f"strategies: none of them is defined at mask_ratio = {ratio:g}"
        for ratio in ratios
        if not any(STRATEGIES[name].defined_at(ratio) for name in names)
    ]


def refused(
    build: Callable[[], object],
    parameters: Parameters,
    place: str = "",
    config: type[Config] = Experiment,
) -> list[str]:
    """What a configuration refuses when it is built, by name.

    place    the dictionary in which stands what is no parameter of its own
    """
    try:
        build()
    except ValidationError as error:
        return [located(e, parameters, place, config) for e in error.errors()]
    except ValueError as error:
        return [str(error)]
    return []


def located(error: dict[str, Any], parameters: Parameters, place: str, config: type[Config]) -> str:
    """One of pydantic's errors as a line that says where the value was given."""
    if not error["loc"]:
        return sentence(error, "")
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        known = [field for field in config.model_fields if field != "notebook"]
        said = unknown("parameter", name, known)
        return f"{place}: {said}" if place else said
    inside = place and name not in parameters.values
    where = f"{place}.{name}" if inside else name
    return sentence(error | {"loc": error["loc"][1:]}, where)


def sentence(error: dict[str, Any], name: str) -> str:
    """One of pydantic's errors as a line, of a value or, where it is a list's, of an item."""
    message = error["msg"].removeprefix("Value error, ")
    if not name:
        return message
    items = [str(part) for part in error["loc"] if isinstance(part, int)]  # the rest is of types
    lists = error["type"] in ("tuple_type", "list_type")
    hint = f": {by_yaml(name, error['input'])}" if lists else ""
    return f"{'.'.join([name, *items])} = {shown(error['input'])}: {message}{hint}"


def by_yaml(name: str, given: Any = None) -> str:
    """How papermill is given what is no plain value; a single one that was given, as a list."""
    *places, last = name.split(".")
    items = given if isinstance(given, str) and len(given) <= SHOWN else "1, 2"
    text = f"{last}: {{...}}" if name in DICTIONARIES else f"{last}: [{items}]"
    for place in reversed(places):
        text = f"{place}: {{{text}}}"
    return f'pass it as -y "{text}"'


def shown(value: Any) -> str:
    """A value as a message repeats it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
