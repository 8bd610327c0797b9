"""The test after a stage against a slow reference, clip by clip."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from stpr.train.datasets.annotations import Video
from stpr.train.learning.inputs import FrozenFeatures
from stpr.train.model.stpr import StPR
from stpr.train.run import evaluate
from stpr.train.run.evaluate import predict, predictions_csv
from tests.train.synthetic import ADAPTED, OURS, learnt, make_features, make_recipe


@pytest.fixture(scope="module")
def model() -> StPR:
    return learnt(make_recipe(**ADAPTED, **OURS, optimizer={"epochs_first": 2, "epochs_later": 2}))


def clips_of(*stages: int) -> dict[int, FrozenFeatures]:
    found = {}
    for stage in stages:
        features, labels = make_features(stage, clips=5, split=1)
        found[stage] = FrozenFeatures(features[:, None], labels)
    return found


def test_it_is_what_each_clip_gives_by_itself(model: StPR, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "TEST_BATCH", 3)  # the last batch is a single clip
    found = predict(model.train(), clips_of(3, 1), temperature=0.05)
    assert found is not None
    assert not model.training  # dropout is off
    place = 0
    for stage in (1, 3):  # in the order of their stages
        features, labels = make_features(stage, clips=5, split=1)
        for clip, label in zip(features, labels.tolist(), strict=True):
            with torch.no_grad():
                logits, routing = model(clip[None])
                judged = model.judge(clip[None], stage)
            assert (found.labels[place], found.stages[place]) == (label, stage)
            assert found.predicted[place] == int(logits.argmax())
            np.testing.assert_allclose(found.routing[place], routing[0], atol=1e-6)
            assert found.oracle[place] == int(judged.oracle.argmax())
            assert found.familiarity[place] == pytest.approx(float(judged.familiarity), abs=1e-4)
            place += 1
    assert place == len(found.labels)


def test_an_oracle_hears_the_right_expert_alone(model: StPR) -> None:
    found = predict(model, clips_of(1, 2, 3), temperature=0.05)
    assert found is not None
    assert (found.oracle == found.labels).mean() >= (found.predicted == found.labels).mean()
    assert set(found.oracle[found.stages == 2]) & {2, 3}


def test_mean_routing_is_by_stage(model: StPR) -> None:
    found = predict(model, clips_of(1, 3), temperature=0.05)
    assert found is not None
    assert found.routing_of(3) == pytest.approx(found.routing[10:].mean(axis=0).tolist())
    assert found.routing_of(2) is None


def test_without_clips_there_is_nothing_to_say(model: StPR) -> None:
    assert predict(model, {}, temperature=0.05) is None


def test_predictions_name_their_clips_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    videos = [Video(Path('a, "b"/1.avi'), "wave, twice", "test"), Video(Path("/data/2.avi"), "jump", "test")]
    text = predictions_csv(videos, np.array([1, 0]), np.array([0.25, 0.99999]), ["wave, twice", "jump"])
    assert list(csv.reader(io.StringIO(text))) == [
        ["path", "label", "predicted", "score"],
        [str(tmp_path / 'a, "b"/1.avi'), "wave, twice", "jump", "0.2500"],
        ["/data/2.avi", "jump", "wave, twice", "1.0000"],
    ]
    with pytest.raises(ValueError, match="zip"):
        predictions_csv(videos, np.array([1]), np.array([0.5]), ["wave, twice", "jump"])
