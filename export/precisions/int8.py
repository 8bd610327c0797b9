"""int8: the encoder quantised for CPUs, activations u8, weights s8 per channel; head and motion stay float32.

The form for TensorRT is in `int8_symmetric.py`. Uses onnxruntime's `quantize_static`, calibrated on training clips of
the stage (percentile 99.999), after folding batch norms into convolutions. The mean shift of each feature over these
clips is subtracted, since familiarity has a narrow range and a common shift makes all clips look unknown. A CPU without
VNNI adds two products in 16 bits; they may overflow, and the proof refuses the bundle there.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader

from stpr.export.graphs.assemble import IR
from stpr.export.graphs.cut import FILES
from stpr.export.graphs.trace import OPSET
from stpr.export.graphs.weights import STAGE
from stpr.export.in_turns import median_seconds
from stpr.export.parity.policy import ByMargin, Limits
from stpr.export.precisions.files import homes, is_of, save, seeing_motion
from stpr.export.precisions.variant import Training, Variant, Written
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine

ENGINE: Final = "onnxruntime"
PERCENTILE: Final = 99.999
CONV: Final = "Conv"
OPERATORS: Final = (CONV, "Gemm", "MatMul", "Add", "Clip", "Relu")
LIMITS: Final = Limits(margin=0.15, top1=0.99, routing=0.985, accuracy=0.005, recall=0.02, logits=0.10)
REMEDY: Final = "export with --precision fp32; on a CPU without VNNI int8 may overflow and yet hold on one that has it"
SHIFTED: Final = "encoder/features/shifted"
SHIFT: Final = "encoder/features/shift"
CALLS: Final = 40  # of each encoder, to see which is faster
FOLDED: Final = "folded.onnx"
QUANTISED: Final = "quantised.onnx"


@dataclass(frozen=True, slots=True)
class Form:
    """What differs between the quantised encoders of CPUs and of TensorRT."""

    activations: QuantType
    options: Mapping[str, bool]  # of `quantize_static`
    floats: int  # how many convolutions stay float32, from the first
    float_sums: bool  # whether sums with a constant do
    for_cpu: bool  # where the export measures whether it pays


UNSIGNED: Final = Form(QuantType.QUInt8, {}, floats=0, float_sums=False, for_cpu=True)


def write(folder: Path, training: Callable[[], Training], form: Form = UNSIGNED) -> Written:
    """Write encoder and clip graph; the frozen network's weights are identical at every stage, ranges are not."""
    given = training()
    encoder = _quantised(folder, given, form)
    clip = onnx.load(str(folder / FILES[GraphName.CLIP]), load_external_data=False)
    _exchange_encoder(clip, encoder)
    places = homes(folder / FILES[GraphName.CLIP])
    frozen = {tensor.name: places[tensor.name] for tensor in _traced(folder) if len(tensor.dims) > 1}

    def home(tensor: TensorProto) -> str | None:
        if tensor.name in places:
            return places[tensor.name]
        source = next((name for name in frozen if name in tensor.name), None)
        if tensor.data_type != TensorProto.INT32 and source is not None:
            return frozen[source]
        changing = tensor.name == SHIFT or tensor.name.endswith(("_scale", "_zero_point", "_quantized"))
        return STAGE if changing else None

    files = save(folder, {GraphName.ENCODER: encoder, GraphName.CLIP: clip}, "int8", home)
    if not form.for_cpu:
        return Written({**FILES, **files}, given.record)
    ratio = _time(folder / FILES[GraphName.ENCODER], folder / files[GraphName.ENCODER], next(given.feeds()))
    return Written({**FILES, **files}, given.record, ratio)


def _time(full: Path, quantised: Path, frame: dict[str, Array]) -> float:
    """The median time of a frame in the quantised encoder, in units of that in the full one; called in turns."""
    with closing(open_engine(ENGINE, full)) as one, closing(open_engine(ENGINE, quantised)) as other:
        taken = median_seconds({"full": lambda: one.run(frame), "quantised": lambda: other.run(frame)}, CALLS)
    return taken["quantised"] / taken["full"]


def _traced(folder: Path) -> list[TensorProto]:
    """The encoder's weights in the traced graph."""
    model = onnx.load(str(folder / FILES[GraphName.ENCODER]), load_external_data=False)
    places = homes(folder / FILES[GraphName.ENCODER])
    return [tensor for tensor in model.graph.initializer if tensor.name in places]


def _quantised(folder: Path, training: Training, form: Form) -> ModelProto:
    """Quantise the encoder, without motion, with QuantizeLinear and DequantizeLinear nodes."""
    folded, target = folder / FOLDED, folder / QUANTISED
    try:
        _fold(folder / FILES[GraphName.ENCODER], folded)
        graph = onnx.load(str(folded), load_external_data=False).graph
        with _silent():
            quantize_static(
                str(folded),
                str(target),
                _Reader(training.feeds(), training.record.clips),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                nodes_to_exclude=sorted(_kept_in_float(graph, form)),
                per_channel=True,
                activation_type=form.activations,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1, **form.options},
            )
        model = onnx.load(str(target))
        _subtract_shift(_mean_shift(folded, target, training.feeds()), model)
    finally:
        for file in (folded, target):
            file.unlink(missing_ok=True)
    foreign = {node.op_type for node in model.graph.node if node.domain not in {"", "ai.onnx"}}
    if foreign:
        raise BundleError(f"the int8 encoder needs operators that only onnxruntime has ({foreign}); use fp32.")
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.ir_version, model.producer_name, model.producer_version = IR, "stpr", ""
    del model.metadata_props[:]
    return model


def _kept_in_float(graph: GraphProto, form: Form) -> set[str]:
    """Names of the nodes that are not quantised: motion, and what the form leaves in float32."""
    motion, constants = seeing_motion(graph), {tensor.name for tensor in graph.initializer}
    convolutions = [node.name for node in graph.node if node.op_type == CONV and node.name not in motion]
    sums = [node.name for node in graph.node if node.op_type == "Add" and constants.intersection(node.input)]
    return {*motion, *convolutions[: form.floats], *(sums if form.float_sums else [])}


def _mean_shift(full: Path, quantised: Path, feeds: Iterator[dict[str, Array]]) -> Array:
    """Mean difference of the quantised encoder's features from the full-precision ones: `(D,)` float32."""
    engines = [open_engine("onnxruntime", graph) for graph in (full, quantised)]
    shifts = [
        np.subtract(*(engine.run(feed)["features"].astype(np.float64) for engine in reversed(engines)))
        for feed in feeds
    ]
    mean: Array = np.concatenate(shifts).mean(axis=0).astype(np.float32)
    return mean


def _subtract_shift(shift: Array, encoder: ModelProto) -> None:
    """Add a node that subtracts the mean shift from the features."""
    graph = encoder.graph
    node = next(node for node in graph.node if "features" in node.output)
    node.output[:] = [SHIFTED if name == "features" else name for name in node.output]
    graph.node.append(helper.make_node("Sub", [SHIFTED, SHIFT], ["features"], "encoder/unshifted"))
    graph.initializer.append(numpy_helper.from_array(shift, SHIFT))


def _fold(encoder: Path, target: Path) -> None:
    """Fold constants, batch norms above all, with onnxruntime, and write the resulting graph."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(target)
    settings.log_severity_level = 4
    onnxruntime.InferenceSession(str(encoder), settings, providers=["CPUExecutionProvider"])


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Provides feeds one at a time, so that not all activations are in memory at once."""

    def __init__(self, feeds: Iterator[dict[str, Array]], count: int) -> None:
        self.feeds, self.count, self.left = feeds, count, 0

    def __len__(self) -> int:
        return self.count

    def set_range(self, start_index: int, end_index: int) -> None:
        """Set how many to provide next."""
        self.left = end_index - start_index

    def get_next(self) -> dict[str, Array] | None:
        """The next feed, None at the end of the range."""
        self.left -= 1
        return next(self.feeds, None) if self.left >= 0 else None


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the library's progress output."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)


def _exchange_encoder(clip: ModelProto, encoder: ModelProto) -> None:
    """Replace the traced encoder in the clip graph by the quantised one."""
    graph = clip.graph
    ends = {value.name: f"join/{value.name}/rows" for value in encoder.graph.input} | {"features": "join/features"}
    placed = []
    for node in encoder.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [ends.get(name, name) for name in node.input]
        copy.output[:] = [ends.get(name, name) for name in node.output]
        placed.append(copy)
    own = [index for index, node in enumerate(graph.node) if is_of(node, "encoder")]
    nodes = [*graph.node[: own[0]], *placed, *graph.node[own[-1] + 1 :]]
    tensors: dict[str, Any] = {tensor.name: tensor for tensor in (*graph.initializer, *encoder.graph.initializer)}
    used = {name for node in nodes for name in node.input} - {name for node in nodes for name in node.output}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in tensors.items() if name in used)


VARIANT: Final = Variant(write, ByMargin(LIMITS, REMEDY), kinds={"encoder": "int8"})
