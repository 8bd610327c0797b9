"""The arrays of a bundle: where its classes lie among frame features."""

from __future__ import annotations

import io

import numpy as np
import torch

from stpr.export.package.arrays import place_file
from stpr.train.model.scores.statistics import ClipStatistics
from tests.export.models import MOTION, head_settings, random_backbone, random_model, views_settings


def test_a_place_is_the_middle_of_the_classes_where_looks_are_described_and_never_that_of_motion() -> None:
    backbone = random_backbone("mobilenet", inner="auto")
    model = random_model(backbone=backbone, stages=2, settings=views_settings(), motion=MOTION)
    raw, statistics, columns = place_file(model), model.head.combiner.statistics, model.head.columns
    assert raw is not None
    assert isinstance(statistics, ClipStatistics)
    with np.load(io.BytesIO(raw)) as place:
        middle, deviation = place["middle"], place["deviation"]
    assert middle.shape == deviation.shape == (columns.width,)
    looks = columns.appearance + columns.inner
    assert (deviation[:looks] > 0).all()
    assert not deviation[looks:].any()
    means = [view.get_buffer("means").mean(dim=0) for view in statistics.views]
    expected = torch.cat([means[0][: columns.appearance], means[1][: columns.inner]])
    np.testing.assert_allclose(middle[:looks], expected, rtol=1e-6)


def test_a_head_without_statistics_has_no_place() -> None:
    backbone = random_backbone("mobilenet")
    assert place_file(random_model(backbone=backbone, stages=1, settings=head_settings("raw"))) is None
