from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.preprocess import Array, preprocess
from stpr.runtime.decision import decide
from stpr.runtime.engines.engine import EngineOptions
from stpr.runtime.model import Model, open_model
from tests.factories import FRAMES, MOTION, SIDE, WIDTH, encode, judge, make_bundle, make_preprocess_spec
from tests.runtime.runs import FEATURES, JUDGED, Watched, noise, recorded


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_bundle(tmp_path_factory.mktemp("bundles")))


def test_images_of_any_sizes_are_encoded_in_one_call(bundle: Bundle) -> None:
    encoder = Watched(FEATURES)
    model = Model(bundle, encoder=encoder, head=Watched(JUDGED))
    encoder.shapes.clear()
    images = [np.zeros((30 + index, 50 - index, 3), np.uint8) for index in range(5)]
    assert model.encode(images).shape == (5, WIDTH)
    assert encoder.shapes == [(5, SIDE, SIDE, 3)]


def test_a_batch_gives_each_image_the_feature_it_has_alone(bundle: Bundle) -> None:
    images = [noise(1, seed)[0] for seed in range(6)]
    with open_model(bundle, "onnxruntime") as model:
        together = model.encode(images)
        alone = np.concatenate([model.encode([image]) for image in images])
    wanted = encode(np.stack([preprocess(image, make_preprocess_spec()) for image in images]))
    assert together == pytest.approx(alone, abs=1e-6)
    assert together == pytest.approx(wanted, abs=1e-5)


def test_images_without_greys_are_refused_where_motion_is_seen(tmp_path: Path) -> None:
    images = [noise(1, seed)[0] for seed in range(2)]
    bundle = open_bundle(make_bundle(tmp_path, motion=MOTION))
    with (
        open_model(bundle, "onnxruntime") as model,
        pytest.raises(ValueError, match="uses motion: 2 images need as many greys, not 0"),
    ):
        model.encode(images)


def test_a_batch_of_windows_gives_each_the_decision_it_has_alone(bundle: Bundle) -> None:
    windows = np.random.default_rng(0).normal(size=(5, FRAMES, WIDTH)).astype(np.float32)
    with open_model(bundle, "onnxruntime") as model:
        together = model.judge(windows)
        alone = [decision for window in windows for decision in model.judge(window[np.newaxis])]
    logits, routing = judge(windows)
    by_hand = [decide(bundle.manifest, *row) for row in zip(logits, routing, logits.max(axis=1), strict=True)]
    for decision, single, wanted in zip(together, alone, by_hand, strict=True):
        assert decision.label == single.label == wanted.label
        assert decision.score == pytest.approx(single.score, abs=2e-6)
        assert decision.score == pytest.approx(wanted.score, abs=1e-4)
    assert len({decision.score for decision in together}) == 5


def test_it_knows_its_bundle_and_what_runs_it(bundle: Bundle) -> None:
    with open_model(bundle, "onnxruntime", EngineOptions(threads=1)) as model:
        assert model.engine == "onnxruntime CPUExecutionProvider"
        assert model.manifest == bundle.manifest
        assert (model.id.name, model.id.stage, model.id.digest) == ("toy", 2, bundle.digest)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"logits": JUDGED["logits"]}, "gives no familiarity, routing"),
        ({**JUDGED, "logits": np.zeros((1, 2), np.float32)}, r"the head's outputs are .*the manifest has"),
        ({**JUDGED, "routing": np.zeros((1, 3), np.float32)}, r"the head's outputs are .*the manifest has"),
    ],
)
def test_a_head_that_breaks_the_manifests_word_is_refused_at_the_start(
    bundle: Bundle, head: dict[str, Array], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        recorded(bundle, head)


def test_it_closes_both_engines(bundle: Bundle) -> None:
    encoder, head = Watched(FEATURES), Watched(JUDGED)
    with Model(bundle, encoder=encoder, head=head):
        assert not encoder.closed
    assert encoder.closed
    assert head.closed


def test_an_engine_that_fails_to_open_leaves_no_other_open(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Watched(FEATURES)

    def open_graph(graph: Path, options: EngineOptions) -> Watched:
        assert options.threads == 1
        if graph.stem == "head":
            raise EngineError("no room for head.onnx")
        return encoder

    monkeypatch.setattr("stpr.runtime.engines.ENGINES", {"half": open_graph})
    with pytest.raises(EngineError, match=r"no room for head\.onnx"):
        open_model(bundle, "half", EngineOptions(threads=1))
    assert encoder.closed
