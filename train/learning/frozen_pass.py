"""Pixels to frozen features: on a CPU by onnxruntime, where it is installed and says what PyTorch says.

That takes a third of the time, and makes each frame alone on one core: the same bytes on any number of cores.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from stpr.train.model.backbone import first_line
from stpr.train.model.encoder import FrameEncoder

CLOSE: Final = 1e-5  # of the largest feature: PyTorch itself is as far apart on one thread and on two
COMPARED: Final = 4  # frames of the first clip, when it is opened
AT_ONCE: Final = 16  # clips that go through PyTorch together
MOST_BYTES: Final = 2**30  # of weights: they are in memory three times while it is opened
MISSING: Final = (
    "frames are encoded by PyTorch; `pip install onnxruntime onnx` makes that two to three times as fast on a CPU"
)

_Run: TypeAlias = Callable[[Tensor], Tensor]  # one frame (*shape) -> its features (F,)
_passes: WeakKeyDictionary[FrameEncoder, FrozenPass] = WeakKeyDictionary()


def frozen_pass(encoder: FrameEncoder) -> FrozenPass:
    """The encoder's frozen pass; one for as long as the encoder lives, since opening it takes a second."""
    return _passes.setdefault(encoder, FrozenPass())


class FrozenPass:
    """`told` is the sentence that says why PyTorch encodes, on a CPU; empty before the first clip, and otherwise."""

    def __init__(self) -> None:
        self.note = ""
        self._run: _Run | None = None
        self._tried = False

    @torch.no_grad()
    def __call__(self, encoder: FrameEncoder, clips: Tensor) -> Tensor:
        """Clips `(n, T, *pixels.shape)` uint8 -> frozen features `(n, T, F)` on the CPU."""
        if not self._tried and encoder.mean.device.type == "cpu":
            self._tried = True
            self._open(encoder, clips.flatten(0, 1)[:COMPARED])
        if self._run is None:
            parts = (part.to(encoder.mean.device) for part in torch.split(clips, AT_ONCE))
            return torch.cat([encoder.frozen(part).cpu() for part in parts])
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            rows = list(pool.map(self._run, clips.flatten(0, 1)))
        return torch.stack(rows).reshape(*clips.shape[:2], -1)

    def _open(self, encoder: FrameEncoder, frames: Tensor) -> None:
        """Take onnxruntime if it makes of these frames what PyTorch makes of them."""
        try:
            run = _on_onnxruntime(encoder, frames[:1])
            theirs = torch.stack([run(frame) for frame in frames])
        except ImportError:
            self.note = MISSING
            return
        except Exception as error:  # noqa: BLE001 - whatever exporter or engine can't do with a network, PyTorch can
            self.note = f"frames are encoded by PyTorch: onnxruntime can't run this network ({first_line(error)})"
            return
        ours = encoder.frozen(frames)
        off, allowed = float((theirs - ours).abs().max()), CLOSE * float(ours.abs().max())
        if off <= allowed:
            self._run = run
        elif ours.isfinite().all():  # a network that makes no numbers is told where its clip is known
            self.note = f"frames are encoded by PyTorch: onnxruntime is off by {off:.1e} of {allowed:.1e} allowed"


class _See(nn.Module):
    """`FrameEncoder.see` as a module of its own, to be traced."""

    def __init__(self, encoder: FrameEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pictures: Tensor, greys: Tensor | None = None) -> Tensor:
        return self.encoder.see(pictures, greys)


def _on_onnxruntime(encoder: FrameEncoder, frame: Tensor) -> _Run:
    """A run of the frozen part on one frame at a time; `frame` `(1, *pixels.shape)` is an example.

    Raises ImportError where a package is missing, else whatever exporter and engine raise.
    """
    import onnx  # noqa: F401  # the exporter asks for it late
    import onnxruntime

    size = sum(value.nbytes for value in encoder.backbone.state_dict().values())
    if size > MOST_BYTES:
        raise ValueError(f"{size / 2**30:.1f} GiB of weights are too many for it")
    pixels = encoder.pixels  # the run holds no encoder: it lives as long as the encoder does
    parts = [part for part in pixels.split(frame) if part is not None]
    names = ["pictures", "greys"][: len(parts)]
    graph = io.BytesIO()
    with warnings.catch_warnings():
        # Of tracing, and that this exporter is the old one: the new one takes ten times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _See(encoder),
            tuple(parts),
            graph,  # type: ignore[arg-type]  # the old one writes into memory too
            dynamo=False,
            input_names=names,
            opset_version=18,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # frames run beside each other
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])

    def run(row: Tensor) -> Tensor:
        seen = zip(names, pixels.split(row[None]), strict=False)
        fed = {name: part.numpy() for name, part in seen if part is not None}
        return torch.from_numpy(session.run(None, fed)[0][0])

    return run
