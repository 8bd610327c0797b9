"""Export a stage checkpoint with all its experts to a bundle, and prove that its outputs equal PyTorch's.

graphs/ (the model as ONNX), parity/ (the proof), precisions/ (one file each), package/ (the bundle), served/ (other
formats), console (terminal output), cli.
"""

from __future__ import annotations

from typing import Final

CLIPS: Final = 96  # default number, spread over the classes; takes seconds, where all clips can take minutes
