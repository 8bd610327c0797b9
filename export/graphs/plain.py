"""A traced graph made as plain as every engine wants it: no shape is computed while it runs.

Engines compute shapes on the CPU, and leave their accelerator for it. Only the batch is free, so all other shapes are
known; what is to be as long as the batch becomes so by a sum with zeros that are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import onnx_ir
import onnxscript.optimizer
from onnx_ir import DataType, Model, Node, Value
from onnx_ir.tape import Tape

FLOAT: Final = DataType.FLOAT


def simplify(model: Model) -> None:
    """Optimise a graph whose first input has the batch, and write what is left of shapes, masks and outputs plainly."""
    onnxscript.optimizer.optimize(model)  # what is fixed becomes a number
    drop_open_masks(model)
    sum_over_batch(model)
    onnxscript.optimizer.optimize(model)  # what lost its use goes
    drop_allowzero(model)
    free_outputs(model)


def drop_open_masks(model: Model) -> None:
    """Take away every Where that chooses the same everywhere: transformers writes masks that leave nothing out."""
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
    """Turn every Expand along the batch into a sum with zeros; the shapes it asked for are then without use."""
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
    """Take the attribute off every Reshape to a shape without zeros: there it says nothing, and may not be known."""
    for node in model.graph:
        shape = node.inputs[1] if node.op_type == "Reshape" else None
        lengths = None if shape is None else onnx_ir.convenience.get_const_tensor(shape)
        if lengths is not None and (lengths.numpy() != 0).all():
            node.attributes.pop("allowzero", None)


def free_outputs(model: Model) -> None:
    """Give every output that nodes inside read too a node of its own: some engines give no output for such a value."""
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
    """An Expand along the batch: the shape of what it takes, a 1 for the batch, and how often each axis is repeated."""

    taken: list[int]
    repeats: list[int]


def _plan(value: Value, wanted: Value, lead: Value) -> _Plan | None:
    """None unless `wanted` is as long as the batch of `lead`, and `value` is the same for all of it."""
    if value.shape is None or not wanted.shape or not lead.shape or wanted.shape[0] != lead.shape[0]:
        return None
    had = [1] * (len(wanted.shape) - len(value.shape)) + list(value.shape)
    taken = [length for length in had if isinstance(length, int)]
    given = [1, *(length for length in wanted.shape[1:] if isinstance(length, int))]
    if taken[:1] != [1] or not len(taken) == len(given) == len(wanted.shape):
        return None
    return _Plan(taken, [length // before for before, length in zip(taken, given, strict=True)])


def _widened(tape: Tape, value: Value, plan: _Plan, lead: Value) -> Value:
    """What such an Expand gives: `(1, …)` -> `(B, …)`."""
    kind, ones = value.dtype, [1] * (len(plan.taken) - 1)
    if max(plan.repeats) > 1:
        whole = tape.op("Reshape", [value, _integers(tape, plan.taken)])
        value = tape.op("Tile", [whole, _integers(tape, plan.repeats)])
    zeros = tape.op("Reshape", [_zeros(tape, lead), _integers(tape, [-1, *ones])])
    if kind == DataType.BOOL:
        return tape.op("Or", [value, _cast(tape, zeros, kind)])
    return tape.op("Add", [value, zeros if kind == FLOAT else _cast(tape, zeros, kind)])


def _zeros(tape: Tape, lead: Value) -> Value:
    """As many zeros as there are rows of `lead`, made of its first numbers `(B, 1, …)`."""
    assert lead.shape is not None
    axes = list(range(1, len(lead.shape)))
    # TensorRT takes uint8 as an input alone: nothing but a cast may read it.
    numbers = lead if lead.dtype == FLOAT else _cast(tape, lead, FLOAT)
    bounds = [_integers(tape, found) for found in ([0] * len(axes), [1] * len(axes), axes)]
    nothing = tape.op("Constant", [], {"value_float": 0.0})
    return tape.op("Mul", [tape.op("Slice", [numbers, *bounds]), nothing])


def _cast(tape: Tape, value: Value, kind: DataType | None) -> Value:
    assert kind is not None
    return tape.op("Cast", [value], {"to": int(kind)})


def _integers(tape: Tape, numbers: list[int]) -> Value:
    return tape.op("Constant", [], {"value_ints": numbers})
