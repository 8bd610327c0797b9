"""`stpr-check`: verify a bundle's integrity, and its outputs on this machine against those at the export."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import numpy as np

from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.errors import BundleError
from stpr.runtime.contract.manifest import GraphName, Manifest
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.contract.signature import MissingLibraryError, check_is_signed, read_public_key, signer
from stpr.runtime.engines import open_graph
from stpr.runtime.engines.engine import Engine, EngineOptions, check_feeds, engine_name
from stpr.runtime.settings import CheckSettings


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one check."""

    what: str
    found: str
    holds: bool


def run_check(path: Path, settings: CheckSettings, *, as_json: bool) -> None:
    """Check a bundle and print the results; raises BundleError if a check fails."""
    lines = check_bundle(path, settings.engine, threads=settings.threads, trusted=settings.require_signature)
    if as_json:
        written = msgspec.json.encode({"bundle": str(path), "checks": lines})
        click.echo(msgspec.json.format(written, indent=1).decode())
    else:
        width = max(len(line.what) for line in lines)
        for line in lines:
            click.echo(f"{'ok  ' if line.holds else 'FAIL'}  {line.what:<{width}}  {line.found}")
    if not all(line.holds for line in lines):
        raise BundleError(
            f"{path} does not do on {settings.engine} what it was exported to do; try another --engine, or export it"
            " again."
        )


def check_bundle(path: Path, engine: str, *, threads: int | None = None, trusted: Path | None = None) -> list[Line]:
    """Check digests and signature, then the golden clip in all three graphs.

    Raises BundleError or EngineError; also if `trusted` (a public key's file) is given and that key did not sign.
    """
    bundle = open_bundle(path)
    signature = _signature(bundle, trusted)
    manifest = bundle.manifest
    files = manifest.files.values()
    megabytes = sum(entry.bytes for entry in files) / 1e6
    lines = [Line("digests", f"{len(files)} files, {megabytes:.1f} MB as exported", holds=True)]
    lines += [] if signature is None else [signature]

    def start(graph: GraphName) -> closing[Engine]:
        return closing(open_graph(engine, bundle, graph, EngineOptions(threads=threads)))

    with start(GraphName.ENCODER) as encoder, start(GraphName.HEAD) as head:
        used = engine_name(encoder.name, head.name)
        lines.append(Line("engine", f"{used}, {manifest.precision} as exported", holds=True))
        lines += hold_golden(bundle, encoder, head)
    with start(GraphName.CLIP) as clip:
        return [*lines, *_answers(bundle, GraphName.CLIP, _run(bundle, GraphName.CLIP, clip, bundle.golden().feeds))]


def hold_golden(bundle: Bundle, encoder: Engine, head: Engine) -> list[Line]:
    """Run the golden clip frame by frame through the encoder, and its features through the head."""
    golden, manifest = bundle.golden(), bundle.manifest
    frames = {name: clip[0] for name, clip in golden.feeds.items()}
    features = _run(bundle, GraphName.ENCODER, encoder, frames)["features"][np.newaxis]
    off = _close("encoder: features", features, golden.features, manifest.tolerances["features"])
    judged = _run(bundle, GraphName.HEAD, head, {"features": features})
    return [off, *_answers(bundle, GraphName.HEAD, judged)]


def _answers(bundle: Bundle, graph: GraphName, outputs: Mapping[str, Array]) -> list[Line]:
    """Compare a graph's outputs for the golden clip with PyTorch's."""
    golden, manifest = bundle.golden(), bundle.manifest
    wanted = {"logits": golden.logits, "routing": golden.routing, "familiarity": golden.familiarity}
    wanted |= {} if golden.evidence is None else {"evidence": golden.evidence}
    lines = [_close(f"{graph}: {key}", outputs[key], wanted[key], manifest.tolerances[key]) for key in wanted]
    return [*lines, _same_top(graph, outputs["logits"], golden.logits, manifest)]


def _signature(bundle: Bundle, trusted: Path | None) -> Line | None:
    """Check the signature; None for an unsigned bundle if none is required."""
    try:
        found = signer(bundle.path, None if trusted is None else read_public_key(trusted))
    except MissingLibraryError as error:
        if trusted is not None:
            raise
        return Line("signature", f"present, but not verified: {error.message}", holds=True)
    except BundleError as error:
        if trusted is not None:
            raise
        return Line("signature", error.message, holds=False)
    if found is None:
        return None
    key, digest = found
    check_is_signed(bundle, digest)
    whose = "as required" if trusted is not None else "not compared with a trusted key (--require-signature PUBKEY)"
    return Line("signature", f"by key {key}, {whose}", holds=True)


def difference(found: Array, wanted: Array) -> float:
    """The largest difference, relative to the largest wanted value if that exceeds 1; infinite for other shapes."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))


def _run(bundle: Bundle, graph: GraphName, engine: Engine, feeds: Mapping[str, Array]) -> dict[str, Array]:
    check_feeds(bundle.manifest.graphs[graph], feeds)
    return engine.run(feeds)


def _close(what: str, found: Array, wanted: Array, tolerance: float) -> Line:
    worst = difference(found, wanted)
    return Line(what, f"off by {worst:.1e}, allowed {tolerance:.1e}", holds=worst <= tolerance)


def _same_top(graph: GraphName, found: Array, wanted: Array, manifest: Manifest) -> Line:
    """Compare first choices; of two that are as close as the logits' tolerance, either holds."""
    first, best = int(found[0].argmax()), int(wanted[0].argmax())
    got, expected = manifest.class_names[first], manifest.class_names[best]
    allowed = 2 * manifest.tolerances["logits"] * max(1.0, float(np.abs(wanted).max()))
    if first != best and float(wanted[0, best] - wanted[0, first]) <= allowed:
        return Line(f"{graph}: top-1", f"{got}, as close as {expected}", holds=True)
    return Line(f"{graph}: top-1", got if first == best else f"{got} instead of {expected}", holds=first == best)
