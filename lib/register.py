"""A register of what the files of a folder hold: the models, the data sets, the strategies.

A file dropped into the folder is found by everything else. The files are imported when
somebody first looks into the register and not before, so that whoever needs one model
does not wait for the others' libraries.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Register(Mapping[str, Entry], Generic[Entry]):
    """Names and what they stand for, filled by decorators in the files of a package."""

    def __init__(self, package: str):
        self.package = package
        self.entries: dict[str, Entry] = {}
        self.files: dict[str, str] = {}  # by name: the module that it is from
        self.filled = False

    def add(self, name: str, entry: Entry, module: str) -> None:
        """One name more. Raises ValueError where another module has it; one may be reloaded."""
        other = self.files.setdefault(name, module)
        if other != module:
            raise ValueError(f"{name!r} is in {other} already: {module} has to call it otherwise")
        self.entries[name] = entry

    def fill(self) -> None:
        """Import every file of the package, once."""
        if self.filled:
            return
        self.filled = True
        try:
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                importlib.import_module(f"{self.package}.{module.name}")
        except BaseException:  # a file with a mistake; it may be mended
            self.filled = False
            raise

    def __getitem__(self, name: str) -> Entry:
        if name not in self.entries:
            self.fill()
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        self.fill()
        return iter(self.entries)

    def __len__(self) -> int:
        self.fill()
        return len(self.entries)
