"""A pre-norm transformer encoder, as in ViT.

It is that of Dosovitskiy et al. 2021 (arXiv 2010.11929, section 3.1), small enough to read in
one go: positions, attention, block, stack. Two things are worth knowing. The positions are fixed
sines and cosines of the row and the column (He et al. 2022, appendix A.1), so any grid works,
rectangular too. Attention is written out as matmul, softmax, matmul on a CPU, where torch's
fused kernel is the slower one by 2.5 to 7 times in training at these sizes, and fused elsewhere;
the tests hold both to the same numbers.

The tokens that ask may be fewer than those that answer (`first`, `context`): so a last block
computes only the tokens that are read, and a decoder may attend to another sequence.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from lib.patches import Size
from lib.shapes import Tokens

Asking = Float[Tensor, "batch asking dim"]  # the tokens that attend
EPS = 1e-6  # of LayerNorm, as in the original code (the transformers library says 1e-12)


def sincos_positions(grid: Size, dim: int) -> Float[Tensor, "tokens dim"]:
    """Fixed 2-D positions: the first half of the channels encodes the column, the other the row.

    Raises ValueError unless `dim` is a multiple of 4 (sine and cosine for two axes).
    """
    if dim % 4:
        raise ValueError(f"2-D sin-cos positions need a width that is a multiple of 4, got {dim}")
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    frequency = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = [place.reshape(-1, 1).double() * frequency for place in (columns, rows)]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return torch.cat(waves, dim=1).float()


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762, section 3.2)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"a width of {dim} cannot be shared by {heads} heads: it must be a multiple"
            )
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)

    def queries_keys_values(self, x: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """Each [batch, heads, tokens, dim / heads]."""
        return self.in_heads(self.qkv(x), 3)

    def in_heads(
        self, x: Float[Tensor, "batch tokens parts_dim"], parts: int
    ) -> tuple[Tensor, ...]:
        """Cut the last axis into parts, each [batch, heads, tokens, dim / heads]."""
        cut = x.unflatten(2, (parts, self.heads, -1))  # batch tokens parts heads width
        return cut.permute(2, 0, 3, 1, 4).contiguous().unbind(0)

    def weights(self, x: Tokens) -> Float[Tensor, "batch heads tokens tokens"]:
        """Who attends to whom; each row sums to 1."""
        query, key, _ = self.queries_keys_values(x)
        return softmax_of_scores(query, key)

    def forward(self, x: Asking, context: Tokens | None = None) -> Asking:
        """What each token of `x` takes from `context`, by default from `x` itself."""
        if context is None:
            query, key, value = self.queries_keys_values(x)
        else:
            query, key, value = self.between(x, context)
        if x.device.type == "cpu":
            mixed = softmax_of_scores(query, key) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.project(mixed.transpose(1, 2).flatten(2))  # batch asking heads*width

    def between(self, x: Asking, context: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of `x`, keys and values of `context`: each by its own rows of the one layer."""
        dim = x.shape[2]
        asked = F.linear(x, self.qkv.weight[:dim], self.qkv.bias[:dim])
        answered = F.linear(context, self.qkv.weight[dim:], self.qkv.bias[dim:])
        return *self.in_heads(asked, 1), *self.in_heads(answered, 2)


def softmax_of_scores(query: Tensor, key: Tensor) -> Tensor:
    """softmax(q k' / sqrt(width)), [batch, heads, tokens, tokens]."""
    return ((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)).softmax(dim=-1)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each after a LayerNorm and added to its input."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, eps: float = EPS):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        width = round(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, dim))

    def forward(
        self, x: Tokens, first: int = 0, keep: Float[Tensor, "2 batch"] | None = None
    ) -> Asking:
        """The tokens from `first` on, which attend to all.

        keep   factors of both branches of each image (see `drop_path`)
        """
        normed = self.norm1(x)
        attended = self.attention(normed[:, first:], normed) if first else self.attention(normed)
        x = x[:, first:] + scaled(attended, keep, 0)
        return x + scaled(self.mlp(self.norm2(x)), keep, 1)


class CrossBlock(Block):
    """A block whose tokens attend to another sequence and not to each other.

    Fu et al. 2024, CrossMAE, arXiv 2401.14391, section 3.
    """

    def forward(self, x: Asking, context: Tokens) -> Asking:
        x = x + self.attention(self.norm1(x), context)
        return x + self.mlp(self.norm2(x))


def scaled(branch: Tokens, keep: Float[Tensor, "2 batch"] | None, which: int) -> Tensor:
    """One branch of a block, each image times its factor."""
    if keep is None:
        return branch
    return branch * keep[which][:, None, None].to(branch.dtype)


def drop_path(
    depth: int, batch: int, rate: float, generator: Generator
) -> Float[Tensor, "depth 2 batch"]:
    """Factors for every branch of every image: 0 where it is left out, 1 / kept share elsewhere.

    The probability to be left out rises linearly from 0 in the first block to `rate` in the last
    (stochastic depth, Huang et al. 2016, arXiv 1603.09382, section 3).
    """
    kept = 1 - torch.linspace(0, rate, depth)[:, None, None]
    return (torch.rand(depth, 2, batch, generator=generator) < kept) / kept


class Stack(nn.Module):
    """Blocks of one kind and a last LayerNorm."""

    block: type[Block]

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float = 4.0, eps: float = EPS):
        super().__init__()
        self.blocks = nn.ModuleList(self.block(dim, heads, mlp_ratio, eps) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=eps)


class Transformer(Stack):
    """Tokens that attend to each other."""

    block = Block

    def forward(
        self, x: Tokens, first: int = 0, keep: Float[Tensor, "depth 2 batch"] | None = None
    ) -> Asking:
        """The tokens from `first` on: the last block computes no others.

        keep   factors of every branch (see `drop_path`)
        """
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            factors = None if keep is None else keep[number]
            x = block(x, first if number == last else 0, factors)
        return self.norm(x)

    @torch.no_grad()
    def attention_maps(self, x: Tokens) -> Float[Tensor, "batch heads tokens tokens"]:
        """The attention weights of the last block."""
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        return last.attention.weights(last.norm1(x))


class CrossTransformer(Stack):
    """Tokens that attend to another sequence."""

    block = CrossBlock

    def forward(self, x: Asking, context: Tokens) -> Asking:
        for block in self.blocks:
            x = block(x, context)
        return self.norm(x)
