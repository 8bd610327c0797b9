"""One live run: frames in, predictions out.

    source ─▶ frame ─▶ wanted? ─▶ preprocess ─▶ encoder ─▶ window ─▶ full? ─▶ head ─▶ decision ─▶ prediction
              (H,W,3)    │        (1,h,w,3)      (1,D)     T slots     │      (1,C)
                         └─ no: shown, not encoded                     └─ no: warming up

Each frame is encoded at most once; the head reads T features. This equals the clip graph on the same frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

import numpy as np

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName, GraphSpec
from stpr.runtime.contract.preprocess import Array, preprocess
from stpr.runtime.decision import WARMING_UP, BundleId, Decision, Prediction, decide
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import Engine, check_feeds
from stpr.runtime.sources.frame import Frame, Source
from stpr.runtime.timing import Timing
from stpr.runtime.window import FeatureWindow


@dataclass(frozen=True, slots=True)
class Result:
    """What a run knows after a frame. Between two slots of the window nothing new is said."""

    frame: Frame
    prediction: Prediction | None  # of this frame
    latest: Prediction | None  # the newest so far
    fps: float  # frames a second just now


class Recognizer:
    """A bundle at work. Use it as a context manager: it owns its two engines."""

    def __init__(self, bundle: Bundle, *, encoder: Engine, head: Engine) -> None:
        """Takes the engines over and closes them. Raises EngineError unless both do what the manifest says."""
        self.timing = Timing()
        self._manifest = bundle.manifest
        self._id = BundleId(name=bundle.manifest.name, stage=bundle.manifest.stage, digest=bundle.digest)
        self._encoder, self._head = encoder, head
        self._rehearse()

    @property
    def engine(self) -> str:
        """What really runs the encoder, nearly all of the work."""
        return self._encoder.name

    def run(self, source: Source) -> Iterator[Result]:
        """Recognize until the source ends; the window is this run's own."""
        window = FeatureWindow(self._manifest.clip, frame_seconds=_frame_seconds(source))
        latest: Prediction | None = None
        for frame in source:
            since = frame.captured_at if source.is_live else time.monotonic()
            prediction = self._predict(frame, window, since=since)
            latest = prediction or latest
            self.timing.saw_frame(time.monotonic())
            yield Result(frame, prediction, latest, self.timing.recent_fps)

    def close(self) -> None:
        """Close both engines."""
        self._encoder.close()
        self._head.close()

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, frame: Frame, window: FeatureWindow, *, since: float) -> Prediction | None:
        if not window.wants(frame.captured_at):
            return None
        window.push(self._encode(frame), frame.captured_at)
        decision = self._decide(window) if window.is_full() else WARMING_UP
        latency = 1000 * (time.monotonic() - since)
        if decision is not WARMING_UP:
            self.timing.predicted(latency)
        return Prediction(
            time=datetime.now().astimezone().isoformat(timespec="milliseconds"),
            frame=frame.index,
            label=decision.label,
            score=decision.score,
            top=decision.top,
            routing=decision.routing,
            state=decision.state,
            latency_ms=round(latency, 3),
            bundle=self._id,
        )

    def _encode(self, frame: Frame) -> Array:
        """The frame feature `(D,)`."""
        image = preprocess(frame.image, self._manifest.preprocess)
        self.timing.encoded += 1
        features = self._encoder.run({"frames": image[np.newaxis]})["features"]
        return np.asarray(features[0])

    def _decide(self, window: FeatureWindow) -> Decision:
        outputs = self._head.run({"features": window.as_clip()})
        return decide(self._manifest, *(outputs[name][0] for name in ("logits", "routing", "familiarity")))

    def _rehearse(self) -> None:
        """Run both graphs once on zeros: checks what goes in and comes out, and pays the first run's set-up."""
        spec, clip = self._manifest.preprocess, self._manifest.clip
        frames = np.zeros((1, spec.height, spec.width, 3), np.uint8)
        features = _run_checked(self._encoder, self._manifest.graphs[GraphName.ENCODER], {"frames": frames})["features"]
        clips = np.repeat(features[:, np.newaxis], clip.frames, axis=1)
        outputs = _run_checked(self._head, self._manifest.graphs[GraphName.HEAD], {"features": clips})
        promised = {output.name: (1, *output.shape[1:]) for output in self._manifest.graphs[GraphName.HEAD].outputs}
        wanted = promised | {"logits": (1, len(self._manifest.classes))}
        found = {name: outputs[name].shape for name in wanted}
        if found != wanted:
            raise EngineError(f"the head gives {found}, the manifest promises {wanted}; export the stage again.")


def open_recognizer(bundle: Bundle, engine: str, *, threads: int | None = None) -> Recognizer:
    """The bundle's encoder and head on that engine, rehearsed. Raises EngineError when they can't run here."""
    with ExitStack() as opened:
        encoder = open_engine(engine, bundle.graph(GraphName.ENCODER), threads=threads)
        opened.callback(encoder.close)
        head = open_engine(engine, bundle.graph(GraphName.HEAD), threads=threads)
        opened.callback(head.close)
        recognizer = Recognizer(bundle, encoder=encoder, head=head)
        opened.pop_all()
    return recognizer


def _run_checked(engine: Engine, spec: GraphSpec, feeds: dict[str, Array]) -> dict[str, Array]:
    check_feeds(spec, feeds)
    outputs = engine.run(feeds)
    missing = sorted({output.name for output in spec.outputs} - outputs.keys())
    if missing:
        raise EngineError(f"{spec.file} gives no {', '.join(missing)}; export the stage again.")
    return outputs


def _frame_seconds(source: Source) -> float:
    """How long a frame stands: known for files alone."""
    return 0.0 if source.is_live or source.fps is None else 1 / source.fps
