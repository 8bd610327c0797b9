"""Encode videos with the frozen backbone: each is decoded and encoded once, unless the cache has its features.

Before the first stage's, a few are looked through to learn the axes between which channels are correlated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from stpr.runtime.contract.errors import DataError
from stpr.train.data.cache import Encoding, FeatureCache
from stpr.train.data.clips import Clip, load_ahead
from stpr.train.data.videos import check_all
from stpr.train.learning.frozen_pass import frozen_pass
from stpr.train.learning.inputs import FrozenFeatures, PixelClips, spaced
from stpr.train.model.encoder import FrameEncoder
from stpr.train.model.threads import one_thread
from stpr.train.settings.learning import SamplingSettings

Advance: TypeAlias = Callable[[int], None]  # called after every clip with the number done


@torch.no_grad()
def encode_frozen(
    clips: PixelClips, encoder: FrameEncoder, *, draws: int, advance: Advance, cache: FeatureCache | None = None
) -> FrozenFeatures:
    """Decode every video once and encode its centre view and draws, unless the cache has them.

    Reading and decoding run ahead in threads; `advance` is called with the number done. Several processes divide the
    videos. Each video is encoded alone, so that its features don't depend on which others are in the cache.
    """
    processes, total = clips.processes, len(clips.videos)
    videos = [video.path for video in processes.share(clips.videos)]
    how = encoding(encoder, clips.sampling, draws=draws, seed=clips.seed)
    features = torch.empty(len(videos), draws + 1, how.frames, how.width)
    work = VideoEncoder(encoder, how, lambda video: clips.views(video, draws=draws, seed=clips.seed), cache)
    nothing = torch.zeros(features.shape[1:])
    rows = (nothing if row is None else row for row in work.encoded(videos, workers=clips.sampling.workers))
    try:
        for place, row in enumerate(processes.lockstep(rows, processes.rounds(total))):
            features[place] = row
            advance(min(total, (place + 1) * processes.count))
        with processes.together():
            check_all(work.faults)
    finally:
        if cache:
            cache.remember()
    return FrozenFeatures(processes.join(features, total), clips.labels, processes, clips.recordings)


@torch.no_grad()
def learn_axes(encoder: FrameEncoder, clips: PixelClips, advance: Callable[[int, int], None]) -> None:
    """Fit the encoder's axes to evenly spaced clips; `advance` is called with the number done and of all.

    Clips that can't be read are left out, since encoding the stage reports them all. On one thread, so that axes are
    the same on any number of cores.
    """
    videos, backbone = spaced(clips.videos), encoder.backbone
    sums = [axes.new_zeros(len(axes), len(axes), dtype=torch.float64) for axes in backbone.axes]
    with one_thread():
        for done, video in enumerate(videos, start=1):
            try:
                pixels = torch.from_numpy(clips.views(video.path, draws=0, seed=clips.seed)[0])
            except DataError:
                continue
            pictures, _ = encoder.pixels.split(pixels.to(encoder.mean.device))
            found = backbone.covariances(encoder.normalised(pictures))
            if all(covariance.isfinite().all() for covariance in found):
                sums = [before + covariance for before, covariance in zip(sums, found, strict=True)]
            advance(done, len(videos))
        backbone.fit_axes(sums)


def encoding(
    encoder: FrameEncoder,
    sampling: SamplingSettings,
    *,
    draws: int = 0,
    seed: int | None = None,
    windows: float | None = None,
) -> Encoding:
    """The settings that determine the features; `seed` is ignored without draws."""
    return Encoding(
        backbone=encoder.backbone.digest(),
        preprocess=encoder.pixels.picture,
        motion=encoder.pixels.motion,
        flow=sampling.flow if encoder.pixels.motion else "coarse",
        inner=encoder.backbone.inner,
        correlations=encoder.backbone.axes_digest(),
        frames=sampling.frames,
        width=encoder.frozen_width,
        draws=draws,
        augment=sampling.augment if draws else None,
        seed=seed if draws else None,
        windows=windows,
    )


class VideoEncoder:
    """Encodes videos one by one, decoded ahead in threads, or reads them from the cache. Collects faulty videos."""

    def __init__(
        self, encoder: FrameEncoder, how: Encoding, decode: Callable[[Path], Clip], cache: FeatureCache | None
    ) -> None:
        self.faults: list[DataError] = []
        self._encoder, self._how, self._decode, self._cache = encoder, how, decode, cache

    def encoded(self, videos: Sequence[Path], *, workers: int) -> Iterator[Tensor | None]:
        """Yield each video's features; after the first faulty video None, as the rest is only checked for more faults.

        Raises DataError immediately if features are NaN or infinite.
        """
        for video, (entry, loaded) in zip(videos, load_ahead(videos, self._load, workers=workers), strict=True):
            if isinstance(loaded, DataError):
                self.faults.append(loaded)
            yield None if self.faults or isinstance(loaded, DataError) else self._features(video, entry, loaded)

    def _load(self, video: Path) -> tuple[Path | None, Tensor | DataError]:
        """A video's cache entry, and its cached features, or its pixels, or the error on decoding it."""
        entry = self._cache.entry(video, self._how) if self._cache else None
        kept = self._cache.read(entry, self._how) if self._cache and entry else None
        if kept is not None:
            return entry, kept
        try:
            return entry, torch.from_numpy(self._decode(video))
        except DataError as error:
            return entry, error

    def _features(self, video: Path, entry: Path | None, loaded: Tensor) -> Tensor:
        if loaded.dtype != torch.uint8:
            if self._cache:
                self._cache.served += 1
            return loaded
        features = frozen_pass(self._encoder)(self._encoder, loaded)
        if not features.isfinite().all():
            raise DataError(
                f"the network {self._encoder.backbone.source} computes NaN or infinite features for the video {video};"
                " check the video, put it on the skip list ([data] skip), or use another network."
            )
        if self._cache and entry:
            self._cache.write(entry, features)
        return features
