"""Simplify a traced graph so that no shape is computed at run time.

Engines compute shapes on the CPU, which interrupts their accelerator. Only the batch is dynamic, so all other shapes
are constant; tensors are broadcast to the batch by adding zeros of that length.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import onnx_ir
import onnxscript.optimizer
from onnx_ir import DataType, Model, Node, Value
from onnx_ir.tape import Tape
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common

FLOAT: Final = DataType.FLOAT
# onnxscript's default rewrites, without those that no graph here can use (weights are inputs, so no batch norm is
# fused), and without the one that compares all slices with each other, to make a Split of them, which takes longest.
RULES: Final = (
    common.materialize_reshape_shape_rule,
    common.squeeze_reshape_1d_rule,
    common.flatten_to_reshape_rule,
    common.reshape_reshape_rule,
    common.unsqueeze_unsqueeze_rule,
    common.no_op_transpose_rule,
    common.transpose_transpose_rule,
    common.collapse_slice_rule,
    common.collapse_slice2_rule,
    common.no_op_cast_rule,
    common.cast_cast_rule,
    common.no_op_expand_rule,
    common.cast_constant_of_shape_rule,
    common.cast_constant_of_shape_without_value_rule,
    common.mul_by_1_rule,
    common.add_0_rule,
    common.sub_0_rule,
    common.div_by_1_rule,
    common.dropout_inference_rule,
    common.dropout_zero_rule,
    common.min_min_rule,
    common.max_max_rule,
    common.min_max_rule,
    common.max_min_rule,
    common.successive_clip_rule,
    common.successive_clip_relu_rule,
    common.successive_relu_clip_rule,
    common.successive_relu_rule,
    common.normalize_pad_format_conv_rule,
    common.fuse_pad_into_conv_rule,
    common.no_op_static_scatter_nd_rule,
    common.no_op_dynamic_scatter_nd_rule,
    common.remove_optional_bias_from_conv_rule,
    common.remove_optional_bias_from_gemm_rule,
)


def simplify(model: Model) -> None:
    """Optimise a graph whose first input has the batch axis, and rewrite its remaining shape computations and masks."""
    _fold(model)
    _fold(model)  # what the rewrites have made constant
    drop_open_masks(model)
    sum_over_batch(model)
    _fold(model)
    onnxscript.optimizer.optimize(model, num_iterations=0)  # merges equal nodes and constants
    drop_allowzero(model)
    free_outputs(model)


def _fold(model: Model) -> None:
    """Compute what is constant, and apply RULES; unused nodes are removed."""
    onnxscript.optimizer.fold_constants(model, onnx_shape_inference=True)
    rewrite(model, RULES)


def drop_open_masks(model: Model) -> None:
    """Remove Where nodes with a constant condition, from transformers' masks that mask nothing."""
    graph = model.graph
    for node in [node for node in graph if node.op_type == "Where"]:
        condition, first, _ = node.inputs
        while condition is not None and (source := condition.producer()) and source.op_type == "Expand":
            condition = source.inputs[0]
        chosen = None if condition is None else onnx_ir.convenience.get_const_tensor(condition)
        if chosen is not None and chosen.numpy().all() and first is not None and _same_shape(first, node.outputs[0]):
            onnx_ir.convenience.replace_all_uses_with(node.outputs[0], first)
            graph.remove(node, safe=True)


def sum_over_batch(model: Model) -> None:
    """Replace every Expand along the batch by a sum with zeros, which makes its shape computations unused."""
    graph = model.graph
    lead = graph.inputs[0]
    for node in [node for node in graph if node.op_type == "Expand"]:
        value, wanted = node.inputs[0], node.outputs[0]
        if value is None or (plan := _plan(value, wanted, lead)) is None:
            continue
        tape = Tape()
        widened = _widened(tape, value, plan, lead)
        widened.name, widened.shape, widened.type = wanted.name, wanted.shape, wanted.type
        graph.insert_before(node, tape.nodes)
        onnx_ir.convenience.replace_all_uses_with(wanted, widened, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def drop_allowzero(model: Model) -> None:
    """Remove the attribute from Reshapes whose shape has no zeros, where some engines don't support it needlessly."""
    for node in model.graph:
        shape = node.inputs[1] if node.op_type == "Reshape" else None
        lengths = None if shape is None else onnx_ir.convenience.get_const_tensor(shape)
        if lengths is not None and (lengths.numpy() != 0).all():
            node.attributes.pop("allowzero", None)


def free_outputs(model: Model) -> None:
    """Add an Identity for outputs that are also read inside the graph, since some engines don't return these."""
    graph = model.graph
    for place, value in enumerate(graph.outputs):
        if value.uses():
            copy = Value(name=value.name, shape=value.shape, type=value.type)
            value.name = f"{value.name}/inside"
            graph.append(Node("", "Identity", [value], outputs=[copy], name=f"{copy.name}/output"))
            graph.outputs[place] = copy


def _same_shape(one: Value, other: Value) -> bool:
    return one.shape is not None and one.shape == other.shape


class _Plan(NamedTuple):
    """An Expand along the batch: the input's shape, with 1 for the batch, and the repeats of each axis."""

    taken: list[int]
    repeats: list[int]


def _plan(value: Value, wanted: Value, lead: Value) -> _Plan | None:
    """The plan if `wanted` has the batch of `lead` and `value` is constant along it, else None."""
    if value.shape is None or not wanted.shape or not lead.shape or wanted.shape[0] != lead.shape[0]:
        return None
    had = [1] * (len(wanted.shape) - len(value.shape)) + list(value.shape)
    taken = [length for length in had if isinstance(length, int)]
    given = [1, *(length for length in wanted.shape[1:] if isinstance(length, int))]
    if taken[:1] != [1] or not len(taken) == len(given) == len(wanted.shape):
        return None
    return _Plan(taken, [length // before for before, length in zip(taken, given, strict=True)])


def _widened(tape: Tape, value: Value, plan: _Plan, lead: Value) -> Value:
    """Nodes that broadcast `(1, …)` to `(B, …)`."""
    kind, ones = value.dtype, [1] * (len(plan.taken) - 1)
    if max(plan.repeats) > 1:
        whole = tape.op("Reshape", [value, _integers(tape, plan.taken)])
        value = tape.op("Tile", [whole, _integers(tape, plan.repeats)])
    zeros = tape.op("Reshape", [_zeros(tape, lead), _integers(tape, [-1, *ones])])
    if kind == DataType.BOOL:
        return tape.op("Or", [value, _cast(tape, zeros, kind)])
    return tape.op("Add", [value, zeros if kind == FLOAT else _cast(tape, zeros, kind)])


def _zeros(tape: Tape, lead: Value) -> Value:
    """Zeros `(B, 1, …)` with the batch size of `lead`, computed from its first elements."""
    assert lead.shape is not None
    axes = list(range(1, len(lead.shape)))
    # TensorRT supports uint8 only as a graph input that is read by a cast.
    numbers = lead if lead.dtype == FLOAT else _cast(tape, lead, FLOAT)
    bounds = [_integers(tape, found) for found in ([0] * len(axes), [1] * len(axes), axes)]
    nothing = tape.op("Constant", [], {"value_float": 0.0})
    return tape.op("Mul", [tape.op("Slice", [numbers, *bounds]), nothing])


def _cast(tape: Tape, value: Value, kind: DataType | None) -> Value:
    assert kind is not None
    return tape.op("Cast", [value], {"to": int(kind)})


def _integers(tape: Tape, numbers: list[int]) -> Value:
    return tape.op("Constant", [], {"value_ints": numbers})
