"""int8 for TensorRT: activations and weights s8 with zero points of 0, biases in float32.

The first convolutions stay float32: their few channels have the widest ranges, and all that follow see their errors.
Rectified activations use half of the signed range, so errors are larger than those of u8 otherwise (BENCHMARKS.md).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from onnxruntime.quantization import QuantType

from stpr.export.parity.policy import ByMargin
from stpr.export.precisions.int8 import LIMITS, Form, write
from stpr.export.precisions.variant import Variant

SYMMETRIC: Final = Form(
    QuantType.QInt8,
    {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    floats=6,
    float_sums=True,  # TensorRT takes no quantised constant there
    for_cpu=False,
)
VARIANT: Final = Variant(
    partial(write, form=SYMMETRIC), ByMargin(LIMITS, "export with --precision fp16"), kinds={"encoder": "int8"}
)
