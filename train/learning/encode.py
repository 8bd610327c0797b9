"""A stage's clips through the frozen backbone: each video decoded and encoded once, unless a cache has its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from stpr.runtime.contract.errors import DataError
from stpr.train.data.cache import Encoding, FeatureCache
from stpr.train.data.clips import load_ahead
from stpr.train.data.videos import check_all
from stpr.train.datasets.annotations import Video
from stpr.train.learning.inputs import FrozenFeatures, PixelClips
from stpr.train.model.encoder import FrameEncoder

Advance: TypeAlias = Callable[[int], None]  # told after every clip how many are done


@torch.no_grad()
def encode_frozen(
    clips: PixelClips, encoder: FrameEncoder, *, draws: int, advance: Advance, cache: FeatureCache | None = None
) -> FrozenFeatures:
    """Decode every video once and encode its centre view and its draws, unless the cache has them.

    Reading and decoding run ahead on threads; `advance` is told how many are done. Several processes share the videos
    out. A video is encoded by itself, so that its features don't depend on which others the cache lacks.
    """
    processes, total = clips.processes, len(clips.videos)
    videos = processes.share(clips.videos)
    how = _encoding(clips, encoder, draws)
    features = torch.empty(len(videos), draws + 1, how.frames, how.width)

    faults: list[DataError] = []

    def encoded() -> Iterator[Tensor]:
        ahead = load_ahead(videos, partial(_load, clips, cache, how), workers=clips.sampling.workers)
        for video, (entry, loaded) in zip(videos, ahead, strict=True):
            if isinstance(loaded, DataError):
                faults.append(loaded)
                yield torch.zeros_like(features[0])  # the rest is only looked at, so that all faults are told at once
                continue
            pixels = loaded.dtype == torch.uint8
            row = _encode(encoder, video, loaded) if pixels and not faults else loaded
            if cache and entry and pixels and not faults:
                cache.write(entry, row)
            elif cache:
                cache.served += 1
            yield torch.zeros_like(features[0]) if faults else row

    try:
        for place, row in enumerate(processes.lockstep(encoded(), processes.rounds(total))):
            features[place] = row
            advance(min(total, (place + 1) * processes.count))
        with processes.together():
            check_all(faults)
    finally:
        if cache:
            cache.remember()
    return FrozenFeatures(processes.join(features, total), clips.labels, processes, clips.recordings)


def _load(
    clips: PixelClips, cache: FeatureCache | None, how: Encoding, video: Video
) -> tuple[Path | None, Tensor | DataError]:
    """The cache entry of a video, and its cached features if there are any, else its pixels or what is wrong."""
    entry = cache.entry(video.path, how) if cache else None
    kept = cache.read(entry, how) if cache and entry else None
    if kept is not None:
        return entry, kept
    try:
        return entry, torch.from_numpy(clips.views(video, draws=how.draws, seed=clips.seed))
    except DataError as error:
        return entry, error


def _encode(encoder: FrameEncoder, video: Video, pixels: Tensor) -> Tensor:
    """A video's features; raises DataError where they are no numbers."""
    features = encoder.frozen(pixels.to(encoder.mean.device)).cpu()
    if not features.isfinite().all():
        raise DataError(
            f"the network {encoder.backbone.source} makes features of the video {video.path} that are no numbers; look"
            " at the video, put it on the skip list ([data] skip), or take another network."
        )
    return features


def _encoding(clips: PixelClips, encoder: FrameEncoder, draws: int) -> Encoding:
    return Encoding(
        backbone=encoder.backbone.digest(),
        preprocess=clips.spec.picture,
        motion=clips.spec.motion,
        inner=encoder.backbone.inner,
        frames=clips.sampling.frames,
        width=encoder.frozen_width,
        draws=draws,
        augment=clips.sampling.augment if draws else None,
        seed=clips.seed if draws else None,
    )
