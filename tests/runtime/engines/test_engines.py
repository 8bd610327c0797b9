"""What every engine of ENGINES does alike; those that this machine has no library or device for are skipped.

TensorRT's runs on a GPU that is none (fakes.py) where there is no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.engines import ENGINES, open_engine
from stpr.runtime.engines.cudart import open_gpu
from stpr.runtime.engines.engine import Engine, EngineOptions, check_feeds
from tests.factories import FRAMES, SIDE, WIDTH, encode, judge, make_bundle, make_manifest

ALWAYS = "onnxruntime"  # whatever else is skipped, this one runs everywhere


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(params=ENGINES)
def name(request: pytest.FixtureRequest, bundle: Path) -> str:
    """The name of an engine that runs here."""
    if request.param == "tensorrt" and not has_gpu():
        request.getfixturevalue("machine")
    try:
        open_engine(request.param, bundle / "head.onnx").close()
    except EngineError as error:
        if request.param == ALWAYS:
            raise
        pytest.skip(error.message)
    return str(request.param)


def has_gpu() -> bool:
    try:
        open_gpu().close()
    except EngineError:
        return False
    return True


@pytest.fixture
def encoder(name: str, bundle: Path) -> Iterator[Engine]:
    with closing(open_engine(name, bundle / "encoder.onnx")) as opened:
        yield opened


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("threads", [None, 1])
def test_it_computes_the_graphs_whatever_the_batch(name: str, bundle: Path, count: int, threads: int | None) -> None:
    options = EngineOptions(threads=threads)
    frames = np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    with closing(open_engine(name, bundle / "encoder.onnx", options)) as engine:
        features = engine.run({"frames": frames})["features"]
    assert features == pytest.approx(encode(frames), abs=1e-5)
    clips = np.random.default_rng(count).normal(size=(count, FRAMES, WIDTH)).astype(np.float32)
    with closing(open_engine(name, bundle / "head.onnx", options)) as engine:
        found = engine.run({"features": clips})
    logits, routing = judge(clips)
    assert found["logits"] == pytest.approx(logits, abs=1e-5)
    assert found["routing"] == pytest.approx(routing, abs=1e-5)


def test_batches_of_changing_size_follow_one_another(encoder: Engine) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    for count in (1, 4, 2, 1):
        features = encoder.run({"frames": frames[:count]})["features"]
        assert features == pytest.approx(encode(frames[:count]), abs=1e-5)


def test_outputs_of_an_earlier_run_stay_as_they_were(encoder: Engine) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    first = encoder.run({"frames": frames[:1]})["features"]
    kept = first.copy()
    encoder.run({"frames": frames[1:]})
    assert np.array_equal(first, kept)


def test_it_says_what_runs_the_graph(encoder: Engine) -> None:
    assert encoder.name
    assert "\n" not in encoder.name


@pytest.mark.parametrize("content", [None, b"no graph"])
def test_a_missing_or_damaged_graph_is_one_line_that_names_it(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / "encoder.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match=r"encoder\.onnx can't run on") as caught:
        open_engine(name, file)
    assert "\n" not in caught.value.message


def test_wrong_feeds_are_one_line_and_the_engine_goes_on(encoder: Engine) -> None:
    with pytest.raises(EngineError, match=r"encoder\.onnx failed on") as caught:
        encoder.run({"frames": np.zeros((1, 2, 2, 3), np.float32)})
    assert "\n" not in caught.value.message
    frames = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    assert encoder.run({"frames": frames})["features"] == pytest.approx(encode(frames), abs=1e-5)


def test_an_unknown_engine_is_answered_with_the_nearest(bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"no engine 'onnxruntime-cudo': did you mean 'onnxruntime-cuda'\?"):
        open_engine("onnxruntime-cudo", bundle / "encoder.onnx")
    with pytest.raises(EngineError, match=f"no engine 'x': choose one of {', '.join(ENGINES)}"):
        open_engine("x", bundle / "encoder.onnx")


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"takes \['frames'\], received \[\]"),
        (
            {"frames": np.zeros((1, SIDE, SIDE, 3), np.float32)},
            r"takes frames uint8\['frames', 8, 8, 3\], received float32",
        ),
        ({"frames": np.zeros((1, SIDE, SIDE, 4), np.uint8)}, r"received uint8\[1, 8, 8, 4\]"),
        ({"frames": np.zeros((SIDE, SIDE, 3), np.uint8)}, r"received uint8\[8, 8, 3\]"),
    ],
)
def test_feeds_are_held_against_the_manifest(feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        check_feeds(make_manifest().graphs[GraphName.ENCODER], feeds)


def test_a_free_axis_takes_any_length() -> None:
    for count in (1, 7):
        check_feeds(make_manifest().graphs[GraphName.ENCODER], {"frames": np.zeros((count, SIDE, SIDE, 3), np.uint8)})
