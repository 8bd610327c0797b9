"""The arrays of a bundle: where its classes lie among frame features."""

from __future__ import annotations

import io

import numpy as np
import torch

from stpr.export.package.arrays import golden_file, place_file
from stpr.train.model.scores.statistics import ClipStatistics
from tests.export.models import MOTION, head_settings, random_backbone, random_model, views_settings


def test_a_place_is_the_middle_of_the_classes_where_looks_are_described_and_never_that_of_motion() -> None:
    backbone = random_backbone("mobilenet", inner=(10, 12))
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
    order = [0, 2, 3, 1]  # of columns: appearance, two views of inner layers, correlations, which are described before
    expected = torch.cat([means[view][: len(means[view]) // 2] for view in order])
    np.testing.assert_allclose(middle[:looks], expected, rtol=1e-6)


def test_a_head_without_statistics_has_no_place() -> None:
    backbone = random_backbone("mobilenet")
    assert place_file(random_model(backbone=backbone, stages=1, settings=head_settings("raw"))) is None


def test_golden_clips_of_two_stages_begin_alike_as_long_as_their_pixels_last() -> None:
    backbone = random_backbone("mobilenet")
    first, second = (random_model(backbone=backbone, stages=stages, settings=head_settings("raw")) for stages in (1, 2))
    shape = (1, first.head.frames, *first.encoder.pixels.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    one, other = golden_file(first, pixels), golden_file(second, pixels)
    alike = next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert one != other
    assert alike >= pixels.nbytes  # random pixels can't be compressed
    black = golden_file(first, np.zeros_like(pixels))
    assert len(black) < len(one) / 2
