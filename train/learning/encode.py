"""A stage's clips through the frozen backbone: each video decoded and encoded once, unless a cache has its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from stpr.runtime.contract.errors import DataError
from stpr.train.data.cache import Encoding, FeatureCache
from stpr.train.data.clips import load_ahead
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

    def load(video: Video) -> tuple[Path | None, Tensor]:
        """The cache entry of a video, and its cached features if there are any, else its pixels."""
        entry = cache.entry(video.path, how) if cache else None
        kept = cache.read(entry, how) if cache and entry else None
        return entry, torch.from_numpy(clips.views(video, draws=draws, seed=clips.seed)) if kept is None else kept

    def encoded() -> Iterator[Tensor]:
        ahead = load_ahead(videos, load, workers=clips.sampling.workers)
        for video, (entry, loaded) in zip(videos, ahead, strict=True):
            pixels = loaded.dtype == torch.uint8
            row = _encode(encoder, video, loaded) if pixels else loaded
            if cache and entry and pixels:
                cache.write(entry, row)
            elif cache:
                cache.served += 1
            yield row

    try:
        for place, row in enumerate(processes.lockstep(encoded(), processes.rounds(total))):
            features[place] = row
            advance(min(total, (place + 1) * processes.count))
    finally:
        if cache:
            cache.remember()
    return FrozenFeatures(processes.join(features, total), clips.labels, processes, clips.recordings)


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
