"""The spatio-temporal encoder G_b of one stage (method §2.2), optionally on decomposed input (method §12.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stpr.train.settings.model import ExpertSettings


class Block(nn.Module):
    """Pre-norm transformer block whose branches are initialised to zero, so that a new expert is the identity."""

    def __init__(self, width: int, settings: ExpertSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, settings.mlp_ratio * width)
        self.down = nn.Linear(settings.mlp_ratio * width, width)
        self.dropout = nn.Dropout(settings.dropout)
        for layer in (self.out, self.down):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D)` -> `(B, T, D)`."""
        x = x + self.dropout(self.out(self._attention(self.norm_attention(x))))
        out: Tensor = x + self.dropout(self.down(F.gelu(self.up(self.norm_mlp(x)))))
        return out

    def _attention(self, x: Tensor) -> Tensor:
        frames, width = x.shape[1:]
        query, key, value = (
            part.reshape(-1, frames, self.heads, width // self.heads).transpose(1, 2)  # (B, heads, T, D / heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(-1, frames, width)


class Expert(nn.Module):
    """Frame features `(B, T, D)` -> V^st `(B, D)`: learned positions, blocks, outer residual, mean over frames.

    A narrow expert's blocks have the width `settings.width`; bytes and cost grow with its square.
    """

    def __init__(self, frames: int, width: int, settings: ExpertSettings) -> None:
        super().__init__()
        inner = settings.width_in(width)
        self.decomposes = settings.input == "residual"
        self.positions = nn.Parameter(0.02 * torch.randn(frames, inner))
        self.blocks = nn.ModuleList(Block(inner, settings) for _ in range(settings.layers))
        self.enter = nn.Linear(width, inner, bias=False) if settings.width else None
        self.leave = nn.Linear(inner, width, bias=False) if settings.width else None
        if self.enter is not None and self.leave is not None:
            # `leave` starts as the transpose of the orthogonal `enter`, times width / inner: the blocks receive the
            # share inner / width of the features' energy, and without the factor SGD learns too slowly.
            nn.init.orthogonal_(self.enter.weight)
            self.leave.weight = nn.Parameter(width / inner * self.enter.weight.detach().T.contiguous())

    def forward(self, features: Tensor) -> Tensor:
        """V^st: mean(V + blocks(V)) as in the paper; decomposed, V̄ + mean(blocks(V - V̄)): V̄ bypasses the blocks."""
        static = features.mean(dim=1)  # (B, D)
        seen = features - static[:, None] if self.decomposes else features
        if self.enter is None or self.leave is None:
            return static + self._change(seen).mean(dim=1)
        temporal: Tensor = self.leave(self._change(self.enter(seen)).mean(dim=1))  # (B, width) -> (B, D)
        return static + temporal

    def _change(self, seen: Tensor) -> Tensor:
        """The blocks' output minus their input."""
        x = seen + self.positions
        for block in self.blocks:
            x = block(x)
        return x - self.positions - seen
