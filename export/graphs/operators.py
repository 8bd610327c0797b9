"""Custom translations of operators for `torch.onnx.export`: TRANSLATIONS.

The exporter's own translations compute shapes at run time, or have forms that engines don't recognise and fuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import onnx_ir
import torch
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops import core, nn


def _attention(  # noqa: PLR0913  (the operator's signature)
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(s Q Kᵀ + mask) V for `(B, heads, T, D)`; a boolean mask marks the keys to attend to."""
    assert dropout_p == 0
    assert not is_causal
    assert not enable_gqa
    factor = float(query.shape[-1]) ** -0.5 if scale is None else float(scale)
    turned = opset18.Transpose(key, perm=[0, 1, 3, 2])
    scores = opset18.MatMul(opset18.Mul(query, _number(factor, query)), turned)
    if attn_mask is not None and attn_mask.dtype == onnx_ir.DataType.BOOL:
        scores = opset18.Where(attn_mask, scores, _number(-math.inf, query))
    elif attn_mask is not None:
        scores = opset18.Add(scores, attn_mask)
    return opset18.MatMul(opset18.Softmax(scores, axis=-1), value)


def _gelu(given: Any, approximate: str = "none") -> Any:
    """X (1 + erf(x / √2)) / 2, with the order of operations that engines recognise and fuse."""
    if approximate != "none":
        return nn.aten_gelu(given, approximate)
    scaled = opset18.Div(given, _number(math.sqrt(2), given))
    grown = opset18.Add(opset18.Erf(scaled), _number(1, given))
    return opset18.Mul(opset18.Mul(given, grown), _number(0.5, given))


def _as_strided(given: Any, size: Sequence[Any], stride: Sequence[Any], storage_offset: Any = None) -> Any:
    """A no-op if it returns the whole tensor unchanged, as pooling requests for channels-last tensors."""
    if not storage_offset and _fixed(size) == _fixed(given.shape) and _in_order(_fixed(size), stride):
        return opset18.Identity(given)
    return core.aten_as_strided(given, size, stride, storage_offset)


def _repeat(given: Any, repeats: Sequence[Any]) -> Any:
    """Expand instead of Tile, if only axes of length 1 are repeated."""
    if len(given.shape) == len(repeats) and all(1 in pair for pair in zip(given.shape, repeats, strict=True)):
        return core.aten_expand(given, repeats)
    return core.aten_repeat(given, repeats)


def _fixed(shape: Sequence[Any]) -> list[int | None]:
    """Lengths of axes, None for the dynamic batch axis."""
    return [length if isinstance(length, int) else None for length in shape]


def _in_order(lengths: Sequence[int | None], steps: Sequence[Any]) -> bool:
    """Whether strides are contiguous, ignoring axes of length 1."""
    inside = 1
    for length, step in zip(reversed(lengths), reversed(steps), strict=True):
        if length != 1 and step != inside:
            return False
        inside *= length or 0  # the strides of axes outside a dynamic one are unknown
    return True


def _number(value: float, like: Any) -> Any:
    """A scalar with the type of `like`."""
    return opset18.Constant(value=onnx_ir.to_proto(onnx_ir.tensor(value, dtype=like.dtype)))


TRANSLATIONS: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
    torch.ops.aten.gelu.default: _gelu,
    torch.ops.aten.as_strided.default: _as_strided,
    torch.ops.aten.repeat.default: _repeat,
}
