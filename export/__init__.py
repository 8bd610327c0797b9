"""Turn a stage checkpoint with all its experts into a bundle, and prove that it does the same.

graphs/ (the model as ONNX), parity/ (the proof), precisions/ (a file for each), package/ (the bundle), console (what is
printed), cli.
"""

from __future__ import annotations

from typing import Final

CLIPS: Final = 96  # spread over the classes, that takes seconds; all of them can take minutes
