"""Time frames and windows on every engine that runs here and in PyTorch, in alternating blocks of one run.

Needs a bundle (for PyTorch its run folder too), and no installation:

    PYTHONPATH=tools/typing python tools/measure_engines.py bundles/motions/stage-5 --run runs/motions
"""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
import msgspec
import numpy as np

from stpr.runtime.check import difference
from stpr.runtime.contract.bundle import Bundle, Golden, open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import EngineError
from stpr.runtime.contract.manifest import GraphName, Precision
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import ENGINES, open_engine

BATCHES: Final = (1, 8)  # the live path, and the largest batch that TensorRT's engines are built for
BLOCK: Final = 20  # calls of one engine before the next one's turn: threads of the previous one may still spin ...
WARM: Final = 3  # ... so the first calls of a block are not counted
PERCENTILES: Final = (50, 95, 99)
LIBRARIES: Final = ("torch", "onnxruntime", "tensorrt", "tensorrt_rtx")
Feeds: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An implementation of encoder and head, with numpy arrays as inputs and outputs."""

    name: str
    precision: str
    runs: Mapping[GraphName, Callable[[Feeds], Feeds]]
    seconds: float  # until both could be called


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one call, transfers to and from the device included."""

    p50: float
    p95: float
    p99: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one candidate."""

    name: str
    precision: str
    seconds_to_load: float
    latency_ms: dict[str, Latency]  # by graph and batch: "encoder 1"
    off: dict[str, float]  # each output on the golden clip, as `stpr-check` compares
    allowed: dict[str, float]
    top1: bool  # the golden clip's first choice

    @property
    def parity(self) -> str:
        """The output whose difference is largest relative to what the certificate allows."""
        worst = max(self.off, key=lambda name: self.off[name] / self.allowed[name])
        beyond = "" if self.off[worst] <= self.allowed[worst] else ", **beyond**"
        choice = "" if self.top1 else ", top-1 differs"
        return f"{worst} {self.off[worst]:.1e} of {self.allowed[worst]:.1e}{beyond}{choice}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of this tool."""

    bundle: str
    machine: dict[str, str]
    calls: int
    rows: list[Row]
    left_out: dict[str, str]  # engine -> why it does not run here


@click.command(cls=Command, extra="train")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), metavar="DIR", help="Its run folder: PyTorch is measured too.")
@click.option("--calls", type=click.IntRange(min=BLOCK), default=500, show_default=True, help="Of each kind.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="All figures as JSON.")
def main(bundle: Path, run: Path | None, calls: int, json_file: Path | None) -> None:
    """Time BUNDLE on every engine of this machine, and print a table with each one's distance from PyTorch."""
    opened, left_out = open_bundle(bundle), dict[str, str]()
    with ExitStack() as engines:
        # PyTorch first: it brings the CUDA libraries that onnxruntime looks for.
        candidates = [] if run is None else list(_pytorch(run, opened.manifest.stage))
        candidates += _engines(opened, engines, left_out)
        times = _times(candidates, opened.golden(), calls)
        rows = [_row(one, times[index], opened) for index, one in enumerate(candidates)]
    report = Report(
        bundle=f"{opened.manifest.name} stage {opened.manifest.stage} ({opened.digest[:12]})",
        machine=_machine(),
        calls=calls,
        rows=rows,
        left_out=left_out,
    )
    for line in _lines(report):
        click.echo(line)
    if json_file is not None:
        write_file(json_file, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def _engines(bundle: Bundle, opened: ExitStack, left_out: dict[str, str]) -> Iterator[Candidate]:
    """Yield every engine in every precision of the bundle; adds to `left_out` why one does not run here."""
    graphs = bundle.manifest.graphs
    for name in ENGINES:
        for precision in graphs[GraphName.ENCODER].variants:
            started, runs = time.perf_counter(), dict[GraphName, Callable[[Feeds], Feeds]]()
            try:
                for graph in (GraphName.ENCODER, GraphName.HEAD):
                    engine = open_engine(name, bundle.path / graphs[graph].variants[precision])
                    opened.callback(engine.close)
                    runs[graph] = engine.run
                yield Candidate(name, precision, runs, time.perf_counter() - started)
            except EngineError as error:
                left_out[f"{name} {precision}"] = error.message


def _pytorch(run: Path, stage: int) -> Iterator[Candidate]:
    """PyTorch eager: float32 on the CPU, float32 (no TF32) and bfloat16 (autocast) on a GPU if there is one."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield _eager(run, stage, "cpu", "fp32")
    if torch.cuda.is_available():
        yield _eager(run, stage, "cuda", "fp32")
        yield _eager(run, stage, "cuda", "bf16")


def _eager(run: Path, stage: int, device: str, precision: str) -> Candidate:
    import torch

    from stpr.export.graphs.cut import Combine, decided
    from stpr.train.run.checkpoint import load_stage

    started = time.perf_counter()
    model = load_stage(run, stage)[0].to(device)
    combine, names = Combine(model.head.combiner).eval(), decided(model)

    def rounded() -> Any:
        return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")

    def encode(feeds: Feeds) -> Feeds:
        with torch.inference_mode(), rounded():
            seen = [torch.from_numpy(array).to(device) for array in feeds.values()]
            return {"features": model.encoder(*seen).float().cpu().numpy()}

    def judge(feeds: Feeds) -> Feeds:
        with torch.inference_mode(), rounded():
            features = torch.from_numpy(feeds["features"]).to(device)
            decision = combine(features, model.head.ask(features))
            return {name: value.float().cpu().numpy() for name, value in zip(names, decision, strict=True)}

    runs = {GraphName.ENCODER: encode, GraphName.HEAD: judge}
    return Candidate(f"PyTorch eager, {device}", precision, runs, time.perf_counter() - started)


def _times(candidates: list[Candidate], golden: Golden, calls: int) -> list[dict[str, list[float]]]:
    """Seconds of `calls` calls of each graph at each batch, candidate by candidate."""
    found: list[dict[str, list[float]]] = [defaultdict(list) for _ in candidates]
    for _ in range(-(-calls // (BLOCK - WARM))):
        for graph in (GraphName.ENCODER, GraphName.HEAD):
            for batch in BATCHES:
                feeds = _feeds(golden, graph, batch)
                for times, one in zip(found, candidates, strict=True):
                    times[f"{graph} {batch}"] += _block(one.runs[graph], feeds)
    return found


def _block(call: Callable[[Feeds], Feeds], feeds: Feeds) -> list[float]:
    times = []
    for _ in range(BLOCK):
        started = time.perf_counter()
        call(feeds)
        times.append(time.perf_counter() - started)
    return times[WARM:]


def _feeds(golden: Golden, graph: GraphName, batch: int) -> dict[str, Array]:
    """The golden clip's frames, or its window, repeated to fill the batch."""
    if graph is GraphName.HEAD:
        return {"features": np.repeat(golden.features, batch, axis=0)}
    return {
        name: np.ascontiguousarray(np.resize(clip[0], (batch, *clip.shape[2:]))) for name, clip in golden.feeds.items()
    }


def _row(one: Candidate, times: Mapping[str, list[float]], bundle: Bundle) -> Row:
    golden, manifest = bundle.golden(), bundle.manifest
    features = one.runs[GraphName.ENCODER]({name: clip[0] for name, clip in golden.feeds.items()})["features"]
    found = {"features": features[np.newaxis], **one.runs[GraphName.HEAD]({"features": features[np.newaxis]})}
    proved: Precision = next((name for name in manifest.parity if name == one.precision), manifest.precision)
    allowed = {name: manifest.parity[proved].tolerances[name] for name in found}
    return Row(
        name=one.name,
        precision=one.precision,
        seconds_to_load=one.seconds,
        latency_ms={kind: _latency(values) for kind, values in times.items()},
        off={name: difference(array, getattr(golden, name)) for name, array in found.items()},
        allowed=allowed,
        top1=bool(found["logits"].argmax() == golden.logits.argmax()),
    )


def _latency(seconds: list[float]) -> Latency:
    p50, p95, p99 = (float(value) for value in 1e3 * np.percentile(np.array(seconds), PERCENTILES))
    return Latency(p50=p50, p95=p95, p99=p99)


def _machine() -> dict[str, str]:
    """The machine and library versions of the measurements."""
    found = {"python": platform.python_version(), "processor": _processor()}
    for name in LIBRARIES:
        try:
            library = import_module(name)
        except (ImportError, OSError):
            continue
        found[name] = str(library.__version__)
        if name == "torch" and library.cuda.is_available():
            found["gpu"] = library.cuda.get_device_name()
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def _lines(report: Report) -> Iterator[str]:
    """The report as lines of Markdown."""
    yield f"{report.bundle}; {', '.join(f'{name} {value}' for name, value in report.machine.items())};"
    yield f"{report.calls} calls of each kind, p50 / p95 / p99 in ms, transfers included.\n"
    kinds = [f"{graph} {batch}" for graph in (GraphName.ENCODER, GraphName.HEAD) for batch in BATCHES]
    heads = [f"{kind.replace(' ', ', batch ')}" for kind in kinds]
    yield f"| engine | precision | {' | '.join(heads)} | loaded in | off, of what is allowed |"
    yield f"|{'---|' * (len(kinds) + 4)}"
    for row in report.rows:
        times = [row.latency_ms[kind] for kind in kinds]
        cells = [f"{one.p50:.2f} / {one.p95:.2f} / {one.p99:.2f}" for one in times]
        yield f"| {row.name} | {row.precision} | {' | '.join(cells)} | {row.seconds_to_load:.1f} s | {row.parity} |"
    for name, reason in report.left_out.items():
        yield f"\n{name}: not here; {reason}"


if __name__ == "__main__":
    main()
