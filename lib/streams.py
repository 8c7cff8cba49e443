"""Named streams of randomness, each derived from one seed.

The order of images, masks, augmentation and a model's own noise are separate
streams, so what one draws never shifts another.
"""

import hashlib

from torch import Generator


def stream(seed: int, name: str) -> Generator:
    """A generator for one purpose, the same on every machine."""
    word = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]
    return Generator().manual_seed(int.from_bytes(word, "big") >> 1)
