"""Run a bundle's graphs in other ONNX runtimes and compare their outputs on the golden clip: a table of consumers.

Each consumer runs in its own process, because some crash. Needs a bundle, and uses the consumers that are installed:

    pip install openvino tract onnx2torch tinygrad
    npm install --ignore-scripts onnxruntime-node onnxruntime-web
    PYTHONPATH=tools/typing python tools/measure_consumers.py bundles/motions/stage-5 --node .
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
import msgspec
import numpy as np

from stpr.export.served import emit
from stpr.runtime.check import difference
from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.command import Command
from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines.openvino import load_library

Feeds: TypeAlias = Mapping[str, Array]
FORMS: Final = ("as it lies", "one file", "one file, batch 1")
SECONDS: Final = 600  # time limit of a consumer for one graph
LONGEST: Final = 160  # characters of a reason, at most
FEEDS, FOUND = "feeds.npz", "found.npz"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One graph in one consumer: the difference of its logits from the golden clip's, or why it returned none."""

    consumer: str
    version: str
    form: str
    off: dict[str, float] = {}  # each output, as `stpr-check` compares
    top1: bool = False
    reason: str = ""


@click.command(cls=Command, extra="export")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="NAME", help="Only these of the consumers; may be given again.")
@click.option("--node", type=click.Path(path_type=Path), metavar="DIR", help="Where npm put onnxruntime-node and -web.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="All figures as JSON.")
def main(bundle: Path, only: tuple[str, ...], node: Path | None, json_file: Path | None) -> None:
    """Run BUNDLE's golden clip through every installed consumer, and print a table of how their outputs differ."""
    if unknown := sorted(set(only) - CONSUMERS.keys()):
        raise click.UsageError(f"no consumer is called {unknown[0]!r}; there are {', '.join(CONSUMERS)}.")
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(shutil.copytree(bundle, Path(folder) / "stage"))  # what is emitted lies beside a bundle
        opened = open_bundle(work)
        golden = opened.golden()
        given: dict[str, Any] = golden.feeds
        np.savez(work.parent / FEEDS, **given)
        graphs = dict(zip(FORMS, _written(opened), strict=True))
        for name in only or CONSUMERS:
            for form, graph in graphs.items():
                entries.append(_consumer(name, form, graph, node, opened))
    for line in _lines(entries, opened):
        click.echo(line)
    if json_file is not None:
        write_file(json_file, msgspec.json.format(msgspec.json.encode(entries), indent=1) + b"\n")


def _written(bundle: Bundle) -> tuple[Path, Path, Path]:
    """The clip graph in each of FORMS."""
    one = shutil.move(emit(bundle, "single-file"), bundle.path.with_name("one"))
    fixed = shutil.move(emit(bundle, "single-file", 1), bundle.path.with_name("fixed"))
    return bundle.path / "clip.onnx", Path(one) / "clip.onnx", Path(fixed) / "clip.onnx"


def _consumer(name: str, form: str, graph: Path, node: Path | None, bundle: Bundle) -> Entry:
    """Run one graph in one consumer, in its own process."""
    package = PACKAGES[name]
    known = _version(package, node)
    given: dict[str, Any] = {"consumer": name, "version": known or "", "form": form}
    if known is None:
        return Entry(**given, reason=f"not here: {package} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(bundle.path.parent / FEEDS, folder)
        command = [sys.executable, __file__, "--one", name, str(graph), folder, str(node or ".")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return Entry(**given, reason=f"gave nothing within {SECONDS} s")
        if done.returncode or not (Path(folder) / FOUND).is_file():
            return Entry(**given, reason=_reason(done))
        with np.load(Path(folder) / FOUND) as found:
            outputs = dict(found)
    golden = bundle.golden()
    wanted = {name: getattr(golden, name) for name in ("logits", "routing", "familiarity", "evidence")}
    off = {name: difference(outputs[name], value) for name, value in wanted.items() if value is not None}
    return Entry(**given, off=off, top1=bool(outputs["logits"].argmax() == golden.logits.argmax()))


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process returned nothing: the signal that ended it, or the last line of its output that names an error."""
    if done.returncode < 0:
        return f"crashes (signal {-done.returncode})"
    lines = [line.strip() for line in done.stderr.splitlines() if len(line.strip(" ^~|")) > 2]
    line = next((line for line in reversed(lines) if "Error" in line or "error" in line), lines[-1] if lines else "?")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _version(package: str, node: Path | None) -> str | None:
    """The installed version of a consumer; None if it is not installed."""
    if package.startswith("npm:"):
        file = (node or Path()) / "node_modules" / package.removeprefix("npm:") / "package.json"
        return str(json.loads(file.read_text())["version"]) if node and file.is_file() else None
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(entries: list[Entry], bundle: Bundle) -> list[str]:
    """Markdown: a row for each consumer, a column for each form."""
    manifest, allowed = bundle.manifest, bundle.manifest.tolerances
    lines = [
        f"{manifest.name} stage {manifest.stage}, {manifest.precision}; logits on the golden clip off by, of"
        f" {allowed['logits']:.1e} allowed.\n",
        f"| consumer | {' | '.join(FORMS)} |",
        f"|{'---|' * (len(FORMS) + 1)}",
    ]
    for name in dict.fromkeys(entry.consumer for entry in entries):
        own = [entry for entry in entries if entry.consumer == name]
        cells = [_cell(entry, allowed) for entry in own]
        cells_shown = [cells[0], *("the same" if cell == cells[0] else cell for cell in cells[1:])]
        lines.append(f"| {name}{f' ({own[0].version})' if own[0].version else ''} | {' | '.join(cells_shown)} |")
    return lines


def _cell(entry: Entry, allowed: Mapping[str, float]) -> str:
    if not entry.off:
        return entry.reason.replace("|", "/")
    beyond = [name for name, value in entry.off.items() if value > allowed[name]]
    worse = f", **{', '.join(f'{name} {entry.off[name]:.1e}' for name in beyond)} beyond**" if beyond else ""
    return f"{entry.off['logits']:.1e}{worse}{'' if entry.top1 else ', **another class**'}"


def _onnxruntime(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    import onnxruntime

    del node
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _reference(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    from onnx.reference import ReferenceEvaluator

    del node
    runner = ReferenceEvaluator(str(graph))
    return dict(zip(runner.output_names, runner.run(None, dict(feeds)), strict=True))


def _openvino(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    del node
    return _by_openvino(graph, feeds, {"INFERENCE_PRECISION_HINT": "f32"})


def _openvino_default(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    del node
    return _by_openvino(graph, feeds, {})


def _by_openvino(graph: Path, feeds: Feeds, settings: Mapping[str, str]) -> Feeds:
    compiled = load_library().Core().compile_model(str(graph), "CPU", dict(settings))
    found = compiled(dict(feeds))
    # In the graph's order: once nodes were merged, a tensor has several names.
    return {name: found[number] for number, name in enumerate(_outputs(graph))}


def _opencv(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    import cv2

    del node
    network: Any = cv2.dnn.readNetFromONNX(str(graph))
    for name, value in feeds.items():
        network.setInput(value, name)
    names = _outputs(graph)
    return dict(zip(names, network.forward(names), strict=True))


def _tract(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    import tract  # type: ignore[import-not-found,unused-ignore]

    del node
    model = tract.onnx().load(str(graph))
    inputs = [model.input_name(index) for index in range(model.input_count())]
    for index, name in enumerate(inputs):
        model.set_input_fact(index, f"{','.join(map(str, feeds[name].shape))},u8")
    model.analyse()
    found = model.into_model().into_runnable().run([feeds[name] for name in inputs])
    return dict(zip(_outputs(graph), [value.to_numpy() for value in found], strict=True))


def _outputs(graph: Path) -> list[str]:
    """Names of a graph's outputs: some consumers rename them."""
    import onnx

    return [value.name for value in onnx.load(str(graph), load_external_data=False).graph.output]


def _onnx2torch(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    import onnx
    import onnx2torch  # type: ignore[import-not-found,unused-ignore]
    import torch

    del node
    model = onnx.load(str(graph))
    network = onnx2torch.convert(model).eval()
    with torch.inference_mode():
        found = network(*(torch.from_numpy(feeds[value.name]) for value in model.graph.input))
    return dict(zip(_outputs(graph), [one.numpy() for one in found], strict=True))


def _tinygrad(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    from tinygrad import Tensor  # type: ignore[import-not-found,unused-ignore]
    from tinygrad.nn.onnx import OnnxRunner  # type: ignore[import-not-found,unused-ignore]

    del node
    found = OnnxRunner(str(graph))({name: Tensor(value) for name, value in feeds.items()})
    return {name: value.numpy() for name, value in found.items()}


def _tensorrt_rtx(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    """Parse and build for an Ampere GPU, which needs no GPU here; the outputs are not computed."""
    import tensorrt_rtx as trt

    del feeds, node
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(str(graph)):
        raise RuntimeError(f"Error: {parser.get_error(0).desc()}")
    raise SystemExit("reads it; not run, for want of a GPU")


NODE_SCRIPT: Final = """
const fs = require("fs"), path = require("path");
const [kind, graph, folder] = process.argv.slice(2);
const ort = require(kind);
const given = JSON.parse(fs.readFileSync(path.join(folder, "feeds.json")));
const feeds = Object.fromEntries(Object.entries(given).map(
  ([name, one]) => [name, new ort.Tensor("uint8", Uint8Array.from(Buffer.from(one.data, "base64")), one.shape)]));
const weights = path.join(path.dirname(graph), "weights");
const options = kind === "onnxruntime-web" && fs.existsSync(weights) ? {externalData: fs.readdirSync(weights).map(
  (name) => ({path: `weights/${name}`, data: new Uint8Array(fs.readFileSync(path.join(weights, name)))}))} : {};
const source = kind === "onnxruntime-web" ? new Uint8Array(fs.readFileSync(graph)) : graph;
ort.InferenceSession.create(source, options).then((session) => session.run(feeds)).then((found) => {
  const shaped = Object.entries(found).map(([name, one]) => [name, {shape: one.dims, data: Array.from(one.data)}]);
  fs.writeFileSync(path.join(folder, "found.json"), JSON.stringify(Object.fromEntries(shaped)));
  process.exit(0);
}).catch((error) => { console.error(`Error: ${error.message || error}`); process.exit(1); });
"""


def _node(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    return _by_node("onnxruntime-node", graph, feeds, node)


def _web(graph: Path, feeds: Feeds, node: Path) -> Feeds:
    return _by_node("onnxruntime-web", graph, feeds, node)


def _by_node(kind: str, graph: Path, feeds: Feeds, node: Path) -> Feeds:
    import base64

    with tempfile.TemporaryDirectory() as folder:
        shapes = {
            name: {"shape": one.shape, "data": base64.b64encode(one.tobytes()).decode()} for name, one in feeds.items()
        }
        (Path(folder) / "feeds.json").write_text(json.dumps(shapes))
        (Path(folder) / "run.cjs").write_text(NODE_SCRIPT)
        (Path(folder) / "node_modules").symlink_to((node / "node_modules").resolve())
        command = ["node", str(Path(folder) / "run.cjs"), kind, str(graph), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(_reason(done))
        found = json.loads((Path(folder) / "found.json").read_text())
    return {name: np.array(one["data"], np.float32).reshape(one["shape"]) for name, one in found.items()}


CONSUMERS: Final[Mapping[str, Callable[[Path, Feeds, Path], Feeds]]] = {
    "onnxruntime": _onnxruntime,
    "ONNX's reference": _reference,
    "onnxruntime-node": _node,
    "onnxruntime-web": _web,
    "OpenVINO, f32": _openvino,
    "OpenVINO, its default": _openvino_default,
    "OpenCV dnn": _opencv,
    "tract": _tract,
    "onnx2torch": _onnx2torch,
    "tinygrad": _tinygrad,
    "TensorRT-RTX": _tensorrt_rtx,
}
PACKAGES: Final[Mapping[str, str]] = {
    "onnxruntime": "onnxruntime",
    "ONNX's reference": "onnx",
    "onnxruntime-node": "npm:onnxruntime-node",
    "onnxruntime-web": "npm:onnxruntime-web",
    "OpenVINO, f32": "openvino",
    "OpenVINO, its default": "openvino",
    "OpenCV dnn": "opencv-python-headless",
    "tract": "tract",
    "onnx2torch": "onnx2torch",
    "tinygrad": "tinygrad",
    "TensorRT-RTX": "tensorrt-rtx",
}


def _one(name: str, graph: str, folder: str, node: str) -> None:
    """Run one graph in this process and save its outputs; the entry point of a consumer's process."""
    with np.load(Path(folder) / FEEDS) as given:
        feeds = dict(given)
    found: dict[str, Any] = {
        key: np.asarray(value) for key, value in CONSUMERS[name](Path(graph), feeds, Path(node)).items()
    }
    np.savez(Path(folder) / FOUND, **found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        main()
