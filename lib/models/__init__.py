"""The model families. The folder is the register: a file dropped here is found by everything else."""

import importlib
import pkgutil

from lib.models.registry import MODELS, build

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["MODELS", "build"]
