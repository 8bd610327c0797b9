"""Several stages' clips as one stage's."""

from __future__ import annotations

from pathlib import Path

import torch

from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.data.pixels import PixelSpec
from stpr.train.datasets.annotations import Video
from stpr.train.learning.inputs import PixelClips, all_stages
from stpr.train.settings.learning import Augment, SamplingSettings
from tests.factories import make_video
from tests.train.synthetic import make_inputs

PARTS = [make_inputs(stage, clips=clips) for stage, clips in ((1, 5), (2, 8), (3, 3))]


def test_every_clip_comes_once_an_epoch_with_its_label_and_all_stages_are_mixed() -> None:
    inputs = all_stages(PARTS)
    clips = torch.cat([part.features for part in PARTS])
    drawn, labels = (torch.cat(parts) for parts in zip(*inputs.epoch(0, batch=10, seed=0), strict=True))
    # Which clip each one is a draw of.
    rows = [int((clips[:, 1:] == clip).all(dim=(2, 3)).any(dim=1).nonzero()) for clip in drawn]
    assert sorted(rows) == list(range(32))
    assert torch.equal(labels, inputs.labels[rows])
    assert len(set(labels[:10].tolist())) > 3
    assert torch.equal(torch.cat(list(inputs.centre(batch=4))), clips[:, 0])
    assert inputs.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 8 + [3] * 8 + [4] * 3 + [5] * 3
    assert [len(part.labels) for part in PARTS] == [10, 16, 6]


def test_pixels_too(tmp_path: Path) -> None:
    spec = PreprocessSpec(
        height=16, width=16, resize="stretch", crop_fraction=1.0, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
    )
    sampling = SamplingSettings(frames=2, augment=Augment(multi_scale_crop=False, flip=False))
    parts = []
    for label, name in enumerate("ab"):
        video = Video(path=make_video(tmp_path / f"{name}.mp4"), label=name, split="train")
        parts.append(PixelClips([video], torch.tensor([label]), spec=PixelSpec(spec), sampling=sampling, seed=0))
    inputs = all_stages(parts)
    assert inputs.labels.tolist() == [0, 1]
    alone = torch.cat([clip for part in parts for clip in part.centre(batch=1)])
    assert torch.equal(torch.cat(list(inputs.centre(batch=2))), alone)
