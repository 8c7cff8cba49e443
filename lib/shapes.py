"""The shapes that functions of the study take and give: one name for each, said once.

A name says what a tensor is, its axes are in the quotes: `batch` images, `tokens` patches of each
in reading order, `pixels` numbers in a patch (height, width, channels), `dim` the width of a
model. Two arguments of one function that name the same axis have the same size there. Nothing
is checked in use; under pytest each call is (jaxtyping and beartype, tests/conftest.py).
"""

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Bytes = UInt8[Tensor, "batch channels height width"]  # images as they are stored, 0 to 255
Pixels = Float[Tensor, "batch channels height width"]  # images in [0, 1], or standardised
Patches = Float[Tensor, "batch tokens pixels"]
Mask = Bool[Tensor, "batch tokens"]  # True = hidden
Scores = Float[Tensor, "batch tokens"]  # of patches: by these a strategy may choose
Tokens = Float[Tensor, "batch tokens dim"]
Code = Float[Tensor, "batch latent"]  # what an autoencoder squeezes an image into
Loss = Float[Tensor, ""]  # one number
