"""Turn a stage checkpoint with all its experts into a bundle, and prove that it does the same.

graphs/ (the model as ONNX), parity/ (the proof), precisions/ (a file for each), package/ (the bundle), console (what is
printed), cli.
"""

from __future__ import annotations

from typing import Final

CLIPS: Final = 512  # all test clips of a usual stage; more cost time and prove little
