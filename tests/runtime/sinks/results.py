"""Results to write, valid by default."""

from __future__ import annotations

import numpy as np

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.decision import BundleId, Prediction
from stpr.runtime.result import Result
from stpr.runtime.sources import Frame, Origin

IMAGE: Image = np.full((48, 64, 3), 99, np.uint8)
FILE = Origin("clip.mp4", is_live=False, fps=25.0)
CAMERA = Origin("camera 0", is_live=True)


def make_prediction(index: int = 0, label: str | None = "wave") -> Prediction:
    """A known action, or warming up for None."""
    return Prediction(
        time="2026-01-01T12:34:56.789+02:00",
        frame=index,
        label=label,
        score=0.75 if label else 0.0,
        top=((label, 0.75), ("jump", 0.25)) if label else (),
        routing={"1": 0.4, "2": 0.6} if label else {},
        state="known" if label else "warming_up",
        latency_ms=12.5,
        bundle=BundleId(name="toy", stage=2, digest="ab"),
        media_time=1.25,
        source="clip.mp4",
    )


def make_result(
    index: int = 0,
    label: str | None = "wave",
    *,
    said: bool = True,
    captured_at: float = 0.0,
    source: Origin = FILE,
    image: Image = IMAGE,
) -> Result:
    """The result of a frame with a prediction, or without one unless `said`."""
    prediction = make_prediction(index, label)
    return Result(Frame(image, index, captured_at, source), prediction if said else None, 15.0, latest=prediction)
