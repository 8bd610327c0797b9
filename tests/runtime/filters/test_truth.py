from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stpr.runtime.contract.manifest import Manifest
from stpr.runtime.filters.truth import Truth
from stpr.runtime.result import Result
from stpr.runtime.sources.frame import Frame, Origin
from tests.factories import make_manifest
from tests.runtime.sinks.results import make_result

CAMERA = Origin("camera", is_live=True)
IMAGE = np.zeros((8, 8, 3), np.uint8)
FPS = 20.0


def truth_of(
    truth: Truth, index: int, label: str | None, *, span: float | None = None, said: bool = True, began: bool = False
) -> str | None:
    """The truth after a frame of this label, with a prediction of `span` seconds if one is `said`."""
    prediction = make_result(0).prediction if said else None
    if prediction is not None:
        prediction = msgspec.structs.replace(prediction, span=span)
    frame = Frame(IMAGE, index, 100 + index / FPS, CAMERA, label)
    return truth(Result(frame, prediction, FPS, began=began)).truth


def spanning(seconds: float) -> Manifest:
    manifest = make_manifest()
    return msgspec.structs.replace(manifest, clip=msgspec.structs.replace(manifest.clip, span_seconds=seconds))


@pytest.mark.parametrize("span", [None, 0.5, 2.0, 3.0])
def test_it_is_the_class_in_the_middle_of_the_window(span: float | None) -> None:
    truth, back = Truth(spanning(2.0)), round(FPS * (span or 2.0) / 2)
    labels = ["wave"] * 70 + ["jump"] * 55 + [None] * 60 + ["wave"] * 90
    for index, label in enumerate(labels):
        assert truth_of(truth, index, label, span=span) == labels[max(0, index - back)]


def test_between_two_predictions_it_stays() -> None:
    truth = Truth(spanning(0.1))
    assert truth_of(truth, 0, "wave", said=False) is None
    assert truth_of(truth, 1, "wave") == "wave"
    assert all(truth_of(truth, index, "jump", said=False) == "wave" for index in range(2, 9))
    assert truth_of(truth, 9, "jump") == "jump"


def test_what_was_before_a_new_window_is_not_in_it() -> None:
    truth = Truth(spanning(2.0))
    assert truth_of(truth, 0, "wave") == "wave"
    assert truth_of(truth, 2, "jump", began=True) == "jump"


def test_with_another_bundle_the_window_may_last_longer() -> None:
    truth = Truth(spanning(0.1))
    truth.follow(spanning(2.0))
    labels = ["wave"] * 40 + ["jump"] * 21
    seen = [truth_of(truth, index, label) for index, label in enumerate(labels)]
    assert seen == ["wave"] * 60 + ["jump"]
