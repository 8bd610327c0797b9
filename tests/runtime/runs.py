"""Parts of live runs that several tests use: engines without ONNX, sources without cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from stpr.runtime.contract.bundle import Bundle
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array, Image
from stpr.runtime.engines import open_engine
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import Model
from stpr.runtime.sources import Frame, Origin
from tests.factories import WIDTH

ONE = EngineOptions(threads=1)
FEATURES = {"features": np.zeros((1, WIDTH), np.float32)}
JUDGED = {
    "logits": np.array([[0.1, 0.3, 0.2]], np.float32),
    "routing": np.array([[0.4, 0.6]], np.float32),
    "familiarity": np.array([0.3], np.float32),
}


class Camera:
    """A live source whose frames are `age` seconds old when they are handed out."""

    origin, dropped, reconnects, skipped = Origin("camera", is_live=True), 0, 0, 0

    def __init__(self, times: list[float], *, age: float = 0.0) -> None:
        self.times, self.age = times, age

    def __iter__(self) -> Iterator[Frame]:
        now = time.monotonic() - self.age - self.times[-1]
        for index, captured_at in enumerate(self.times):
            yield Frame(noise(1)[0], index, now + captured_at, self.origin)

    def stop(self) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class Watched:
    """An engine that keeps the shapes of the frames or features it was fed with."""

    name = "watched"

    def __init__(self, outputs: dict[str, Array]) -> None:
        self.outputs, self.closed = outputs, False
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        (fed,) = (array for name, array in feeds.items() if name != "greys")
        self.shapes.append(fed.shape)
        return {name: np.repeat(array, len(fed), axis=0) for name, array in self.outputs.items()}

    def close(self) -> None:
        self.closed = True


class Listening:
    """The bundle's head, which keeps what it said."""

    name = "listening"

    def __init__(self, bundle: Bundle) -> None:
        self.heard: list[dict[str, Array]] = []
        self._head = open_engine("onnxruntime", bundle.graph(GraphName.HEAD), ONE)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.heard.append(self._head.run(feeds))
        return self.heard[-1]

    def close(self) -> None:
        self._head.close()


def noise(count: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (count, 20, 24, 3), dtype=np.uint8)


class Constant:
    """An engine that gives the same outputs, whatever it is fed."""

    name = "constant"

    def __init__(self, outputs: dict[str, Array]) -> None:
        self._outputs = outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        del feeds
        return dict(self._outputs)

    def close(self) -> None:
        """Nothing to give back."""


def recorded(bundle: Bundle, head: dict[str, Array] = JUDGED) -> Model:
    """A model that says the same of every window."""
    return Model(bundle, encoder=Constant(FEATURES), head=Constant(head))
