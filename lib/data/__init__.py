"""Real images in memory, with fixed splits: `load(name, split, root, size)`.

Every set comes as uint8 [images, channels, height, width] with labels where it has
them, its licence and citation, and the sha256 of the bytes it was read from. The
splits are fixed here and documented beside each reader; no run chooses its own.
The folder is the register: a decorated function in a file here is a data set.

    embedded    digits, photos: inside wheels that are installed anyway, no download
    torchvision mnist, fashion_mnist, kmnist, cifar10, cifar100, stl10, imagenette
    folder      folder:PATH, the reader's own images; cifar10-jpeg
"""

import importlib
import pkgutil

from lib.data.registry import DATASETS, DataError, Images, describe, load, settle_variant

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["DATASETS", "DataError", "Images", "describe", "load", "settle_variant"]
