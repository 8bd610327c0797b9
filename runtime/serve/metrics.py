"""Metrics for Prometheus; the run itself counts, so a scrape only formats values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stpr.runtime.serve.board import BUCKETS, Board, Camera


class RunCollector(Collector):
    """Collects all metrics of a run."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics, named by Prometheus's conventions (`stpr_…`, base units, `_total`)."""
        yield from self._of_bundle()
        for name, camera in self._board.cameras.items():
            yield from _of_camera(name, camera)
        if (sinks := self._board.sinks) is not None:
            missed = CounterMetricFamily("stpr_sink_missed", "Results that a sink missed.", labels=["sink"])
            for sink, count in sinks.missed.items():
                missed.add_metric([sink], count)
            yield missed
        status, swaps = self._board.updater.status, CounterMetricFamily("stpr_bundle_swaps", "Bundles swapped in.")
        swaps.add_metric([], status.swaps)
        yield swaps

    def _of_bundle(self) -> Iterator[Metric]:
        model = self._board.model
        info = InfoMetricFamily("stpr_bundle", "The running bundle and its engine.")
        labels = {"name": model.id.name, "digest": model.id.digest, "precision": model.manifest.precision}
        info.add_metric([], labels | {"stage": str(model.id.stage), "engine": model.engine})
        yield info
        yield GaugeMetricFamily("stpr_bundle_stage", "The stage of the running bundle.", value=model.id.stage)
        parity = model.manifest.parity[model.manifest.precision]
        yield GaugeMetricFamily("stpr_parity_clips", "Clips that parity was proved on.", value=parity.clips)
        yield GaugeMetricFamily(
            "stpr_parity_worst_logits", "Largest difference of the logits from PyTorch.", value=parity.worst_logits
        )
        yield GaugeMetricFamily(
            "stpr_parity_top1_agreement_ratio", "Share of clips with PyTorch's class.", value=parity.top1_agreement
        )


def metrics(board: Board, accepted: str) -> tuple[bytes, str]:
    """The body and content type of `/metrics` for an `Accept` header."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(board))
    ProcessCollector(registry=registry)
    write, kind = choose_encoder(accepted)
    return write(registry), kind


def _of_camera(name: str, camera: Camera) -> Iterator[Metric]:
    timing, source = camera.session.timing, camera.source
    for what, words, count in (
        ("frames", "Frames that were processed.", timing.frames),
        ("frames_encoded", "Frames that went through the encoder.", timing.encoded),
        ("frames_dropped", "Frames that were replaced by a newer one before they were processed.", source.dropped),
        ("frames_unreadable", "Pictures that could not be decoded.", source.skipped),
        ("reconnects", "Number of reconnects after a lost connection.", source.reconnects),
        ("predictions", "Predictions from a full window.", timing.predictions),
    ):
        counter = CounterMetricFamily(f"stpr_{what}", words, labels=["camera"])
        counter.add_metric([name], count)
        yield counter
    events = CounterMetricFamily("stpr_events", "Actions that began.", labels=["camera", "label"])
    for label, count in dict(camera.counts).items():
        events.add_metric([name, label], count)
    yield events
    rate = GaugeMetricFamily("stpr_frames_per_second", "Current frames per second.", labels=["camera"])
    rate.add_metric([name], timing.recent_fps)
    yield rate
    age = GaugeMetricFamily("stpr_newest_frame_age_seconds", "Age of the newest frame.", labels=["camera"])
    if (seconds := camera.age) is not None:
        age.add_metric([name], seconds)
    yield age
    latency = HistogramMetricFamily("stpr_latency_seconds", "Time from capture to prediction.", labels=["camera"])
    counts = [*accumulate(camera.buckets)]
    bounds = [*map(str, BUCKETS), "+Inf"]
    latency.add_metric([name], [*zip(bounds, counts, strict=True)], camera.latency_sum)
    yield latency
