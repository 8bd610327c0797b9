"""Run a bundle's graphs: frames to frame features, windows of features to decisions, in batches of any size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

import numpy as np

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName, GraphSpec
from stpr.runtime.contract.preprocess import Array, Image, preprocess
from stpr.runtime.decision import BundleId, Decision, decide
from stpr.runtime.engines import DEFAULTS, open_graph
from stpr.runtime.engines.engine import Engine, EngineOptions, check_feeds, engine_name


class Model:
    """Encoder and head engines, which several sessions may share. Not thread-safe; a context manager."""

    def __init__(self, bundle: Bundle, *, encoder: Engine, head: Engine) -> None:
        """Takes ownership of the engines. Raises EngineError if their inputs or outputs don't match the manifest."""
        self.bundle, self.manifest = bundle, bundle.manifest
        self.id = BundleId(name=bundle.manifest.name, stage=bundle.manifest.stage, digest=bundle.digest)
        self._encoder, self._head = encoder, head
        self.engine = engine_name(encoder.name, head.name)
        self._closed = False
        self._rehearse()

    @property
    def tells_events(self) -> bool:
        """Whether decisions have evidence, which events need."""
        return any(output.name == "evidence" for output in self.manifest.graphs[GraphName.HEAD].outputs)

    def encode(self, images: Sequence[Image], greys: Sequence[Array] = ()) -> Array:
        """Encode N >= 1 RGB images `(H, W, 3)` uint8 of any sizes in one call: frame features `(N, D)`.

        `greys`: each image's motion pairs `(K, 2, s, s)` uint8, if the bundle uses motion, else empty.
        """
        feeds = {"frames": np.stack([preprocess(image, self.manifest.preprocess) for image in images])}
        if self.manifest.motion:
            if len(greys) != len(images):
                raise ValueError(f"the bundle uses motion: {len(images)} images need as many greys, not {len(greys)}")
            feeds["greys"] = np.stack(greys)
        return self._encoder.run(feeds)["features"]

    def judge(self, windows: Array) -> list[Decision]:
        """Classify windows of frame features `(B, T, D)` in one call of the head. Raises EngineError."""
        outputs = self._head.run({"features": windows})
        names = [name for name in ("logits", "routing", "familiarity", "evidence") if name in outputs]
        rows = zip(*(outputs[name] for name in names), strict=True)
        return [decide(self.manifest, *row) for row in rows]

    def run_on(self, encoder: Engine, head: Engine) -> None:
        """Replace the engines by equivalent ones and close the old ones; only between two calls."""
        before, self._encoder, self._head = (self._encoder, self._head), encoder, head
        self.engine = engine_name(encoder.name, head.name)
        for engine in before:
            engine.close()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Close both engines; may be called twice."""
        if not self._closed:
            self._closed = True
            self._encoder.close()
            self._head.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rehearse(self) -> None:
        """Run both graphs once on zeros, as a check of inputs and outputs, and as warm-up."""
        spec, clip, graphs = self.manifest.preprocess, self.manifest.clip, self.manifest.graphs
        feeds = {"frames": np.zeros((1, spec.height, spec.width, 3), np.uint8)}
        if motion := self.manifest.motion:
            feeds["greys"] = np.zeros((1, motion.pairs, 2, motion.side, motion.side), np.uint8)
        features = _run_checked(self._encoder, graphs[GraphName.ENCODER], feeds)["features"]
        clips = np.repeat(features[:, np.newaxis], clip.frames, axis=1)
        outputs = _run_checked(self._head, graphs[GraphName.HEAD], {"features": clips})
        promised = {output.name: (1, *output.shape[1:]) for output in graphs[GraphName.HEAD].outputs}
        wanted = promised | {"logits": (1, len(self.manifest.classes))}
        found = {name: outputs[name].shape for name in wanted}
        if found != wanted:
            raise EngineError(f"the head's outputs are {found}, but the manifest has {wanted}; export the stage again.")


def open_model(bundle: Bundle, engine: str, options: EngineOptions = DEFAULTS) -> Model:
    """Open a bundle's encoder and head on an engine and warm them up. Raises EngineError if they can't run here."""
    with ExitStack() as opened:
        encoder = open_graph(engine, bundle, GraphName.ENCODER, options)
        opened.callback(encoder.close)
        head = open_graph(engine, bundle, GraphName.HEAD, options)
        opened.callback(head.close)
        model = Model(bundle, encoder=encoder, head=head)
        opened.pop_all()
    return model


def _run_checked(engine: Engine, spec: GraphSpec, feeds: dict[str, Array]) -> dict[str, Array]:
    check_feeds(spec, feeds)
    outputs = engine.run(feeds)
    missing = sorted({output.name for output in spec.outputs} - outputs.keys())
    if missing:
        raise EngineError(f"{spec.file} gives no {', '.join(missing)}; export the stage again.")
    return outputs
