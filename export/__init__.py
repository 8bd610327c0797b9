"""Turn a stage checkpoint with all its experts into a bundle, and prove that it does the same.

Read in this order: graphs (where the model is cut), trace (one piece to ONNX), weights, to_onnx (the pieces joined),
reference (what PyTorch says), ledger, certificate and parity (the gate), clips, folder, pipeline, show, cli.
"""

from __future__ import annotations

from typing import Final

CLIPS: Final = 512  # all test clips of a usual stage; more cost time and prove little
