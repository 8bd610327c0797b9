"""The capabilities of target machines, and the check of a bundle's graphs against them.

The operators are those in onnx-tensorrt's docs/operators.md for TensorRT 8.5, plus those that its docs/Changelog.md
added up to 10.3. An operator in the list may still fail on a Jetson; one that is missing certainly does.
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
    """A library that runs graphs: its newest supported opset, and its operators (None: all)."""

    name: str
    opset: int
    operators: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine: its default precision, and the libraries that graphs are checked against."""

    precision: Precision
    libraries: tuple[Library, ...]

    @property
    def symmetric(self) -> bool:
        """Whether quantised values must have a zero point of 0: TensorRT reads no others."""
        return any(library.operators is not None for library in self.libraries)


ONNXRUNTIME: Final = Library("onnxruntime 1.23", 23)  # the oldest version that stpr supports
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
    """Raise BundleError if a library of the target `name` does not support a graph, listing all reasons."""
    import onnx  # imported late, since the command line imports this module to list TARGETS

    for library in TARGETS[name].libraries:
        for file in files.values():
            lacks = list(_lacking(onnx.load(str(folder / file), load_external_data=False), library))
            if lacks:
                raise BundleError(
                    f"--target {name}: {library.name} does not support {file} with {', '.join(lacks)}, so there is"
                    " no bundle; try another --precision, or omit --target to use onnxruntime."
                )


def _lacking(model: ModelProto, library: Library) -> Iterator[str]:
    """Yield descriptions of what a library does not support in a graph."""
    written = max(entry.version for entry in model.opset_import if not entry.domain)
    if library.operators is not None:
        yield from dict.fromkeys(node.op_type for node in model.graph.node if node.op_type not in library.operators)
        if any(_is_asymmetric(node, model) for node in model.graph.node):
            yield "quantised values whose zero point is not 0"
    if written > library.opset:
        yield f"opset {written}, and {library.opset} is the newest supported"


def _is_asymmetric(node: NodeProto, model: ModelProto) -> bool:
    """Whether a node quantises to uint8 with a zero point in the middle of the range."""
    from onnx import TensorProto

    if node.op_type != "QuantizeLinear" or len(node.input) < 3:
        return False
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return kinds.get(node.input[2]) == TensorProto.UINT8
