"""The check of what a notebook was given.

papermill runs `-p sead 1` without a word and turns `-p epochs abc` into text. So the
first call of every notebook, straight after its parameters cell, is `check`, which
refuses unknown names, wrong types and values out of range (see `lib.schemas`), all of
them at once and before anything is loaded.
"""

import ast
import difflib
from typing import Any

from pydantic import ValidationError

from lib.schemas import SCHEMAS, NotebookParameters


class ParameterError(ValueError):
    """Parameters that a notebook does not accept; the message names each."""


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
    cells = [literal_targets(source) for source in names["In"]]
    declared = [i for i, cell in enumerate(cells) if {"dataset", "scale", "rerun"} <= set(cell)]  # runs of the parameters cell
    targets = [name for cell in cells[declared[-1] if declared else 0 :] for name in cell]
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
    known = [STRATEGIES[name] for name in getattr(parameters, "strategies", ()) if name in STRATEGIES]
    if known and not any(strategy.defined_at(parameters.mask_ratio) for strategy in known):
        problems.append(f"strategies: none of them is defined at mask_ratio = {parameters.mask_ratio:g}")
    return problems
