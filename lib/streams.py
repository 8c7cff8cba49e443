"""Randomness by name, without state.

Every random choice of a run is drawn from `stream(seed, name)`, whose name says what is
drawn and when: `weights`, `order/3` (an epoch), `mask/120`, `augment/120`, `noise/120` (a
step), `test/random@0.75`. So nothing has to be remembered: a resumed run needs its step
number alone, and what one purpose draws never shifts another.
"""

import hashlib

from torch import Generator


def stream(seed: int, name: str) -> Generator:
    """A generator for one purpose and moment, the same on every machine."""
    word = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]
    return Generator().manual_seed(int.from_bytes(word, "big") >> 1)
