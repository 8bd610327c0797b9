"""What the machines that bundles are made for can take: facts, and the check of a bundle's graphs against them.

The operators are those of onnx-tensorrt's docs/operators.md for TensorRT 8.5, and what its docs/Changelog.md added up
to 10.3. What those list and a Jetson really builds may still differ; what they don't list it does not build.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stpr.runtime.contract.errors import BundleError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from stpr.runtime.contract.manifest import GraphName, Precision


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


TENSORRT_8_5: Final = _listed(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
    Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum
    Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GRU HardSwish HardSigmoid Identity If InstanceNormalization IsNaN
    LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean
    MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow PRelu QuantizeLinear
    RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
    ReverseSequence RNN RoiAlign Round Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh
    Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
    Transpose Trilu Unsqueeze Upsample Where Xor
    """
)
TENSORRT_10_3: Final = TENSORRT_8_5 | {"GroupNormalization", "LayerNormalization", "IsInf", "Hardmax", "DeformConv"}


@dataclass(frozen=True, slots=True)
class Library:
    """What reads the graphs there: the newest opset that it reads, and the operators that it knows (None: all)."""

    name: str
    opset: int
    operators: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine: the precision that suits it, and what its graphs are checked against."""

    precision: Precision
    libraries: tuple[Library, ...]


ONNXRUNTIME: Final = Library("onnxruntime 1.23", 23)  # the oldest that stpr runs on
ORIN: Final = Library("TensorRT 10.3", 20, TENSORRT_10_3)
# JetPack 7 brings 10.13 or newer, whose own list of operators is longer; our graphs need no more than 10.3 has.
TARGETS: Final[Mapping[str, Target]] = {
    "jetpack5": Target("fp16", (Library("TensorRT 8.5", 17, TENSORRT_8_5),)),
    "jetpack6": Target("fp16", (ORIN,)),
    "jetpack7": Target("fp16", (Library("TensorRT 10.13", 20, TENSORRT_10_3),)),
    "x86": Target("fp32", (ONNXRUNTIME,)),
    "any": Target("fp32", (ORIN, ONNXRUNTIME)),  # whatever stpr itself runs on: JetPack 5 has Python 3.8
}


def check_target(folder: Path, files: Mapping[GraphName, str], name: str) -> None:
    """Raise BundleError where a library of the target `name` does not take a graph, with all that it lacks."""
    import onnx  # late: the command line lists TARGETS before it is known whether anything is exported

    for library in TARGETS[name].libraries:
        for file in files.values():
            lacks = list(_lacking(onnx.load(str(folder / file), load_external_data=False), library))
            if lacks:
                raise BundleError(
                    f"--target {name}: {library.name} does not take {file}, for it has {', '.join(lacks)}, so there is"
                    " no bundle; try another --precision, or without --target for onnxruntime."
                )


def _lacking(model: ModelProto, library: Library) -> Iterator[str]:
    """What of a graph a library does not take, in words."""
    written = max(entry.version for entry in model.opset_import if not entry.domain)
    if library.operators is not None:
        yield from dict.fromkeys(node.op_type for node in model.graph.node if node.op_type not in library.operators)
        if any(_is_asymmetric(node, model) for node in model.graph.node):
            yield "quantised values whose zero point is not 0"
    if written > library.opset:
        yield f"opset {written} where {library.opset} is the newest"


def _is_asymmetric(node: NodeProto, model: ModelProto) -> bool:
    """Whether a node quantises to uint8, where zero lies in the middle of what was measured."""
    from onnx import TensorProto

    if node.op_type != "QuantizeLinear" or len(node.input) < 3:
        return False
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return kinds.get(node.input[2]) == TensorProto.UINT8
