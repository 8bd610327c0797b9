"""Export a stage checkpoint to a bundle: write it to a temporary folder, prove it, then put it in place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.package.budget import parts_of, size_ahead
from stpr.export.package.card import figures_of, label, write_card
from stpr.export.package.request import DEFAULTS, Advance, Options, RelocatedRun, Steps, silent
from stpr.export.package.seal import Stage, finish, seal
from stpr.export.parity.candidate import open_candidate
from stpr.export.parity.clips import NamedClip, coverage, load_all, tested_videos
from stpr.export.parity.gate import Question, prove
from stpr.export.parity.reference import Reference
from stpr.export.precisions.convert import convert
from stpr.runtime.contract.bundle import folder_name, new_bundle_folder
from stpr.train.run.checkpoint import StageRecord, load_stage


def export_stage(
    run: Path | RelocatedRun, stage: int, out: Path, *, options: Options = DEFAULTS, step: Steps = silent
) -> Path:
    """Export a stage with all its experts to `out/RUN/stage-N`, or `stage-N-PRECISION`; returns that folder.

    `step` is a context manager around each piece of work. Raises CheckpointError, DataError, ParityError or
    BundleError; an incomplete bundle is never put in place.
    """
    here = run if isinstance(run, RelocatedRun) else RelocatedRun(run)
    with step(f"load stage {stage} of {here.run}"):
        loaded = Stage(here.run.resolve().name, *load_stage(here.run, stage, here.recipe))
        figures = figures_of(here.run, loaded.record)
        tested = tested_videos(here.run, stage, here.data)
        videos = tested[: options.clips]
    precision = options.precision
    target = out / loaded.name / folder_name(stage, precision)
    with new_bundle_folder(target, needs=(1 if precision == "fp32" else 2) * size_ahead(loaded.model)) as folder:
        with step("trace encoder, expert and combination"):
            pieces = trace_pieces(loaded.model)
        with step("write graphs and weights"):
            write_onnx(loaded.model, pieces, folder)
        with step(f"bring them to {precision}") if precision != "fp32" else nullcontext():
            converted = convert(folder, precision, loaded.recipe, loaded.record, symmetric=options.symmetric)
        if converted.verdict is not None:
            with step(f"{precision}: {converted.verdict}"):
                pass
        label(folder, converted.files, loaded, figures)
        options.check_ahead(folder, converted.files)  # the size is checked again after sealing
        pixels, sampling = loaded.model.encoder.pixels, loaded.recipe.sampling
        (golden,) = load_all(videos[:1], loaded.record, sampling)
        with step(f"compare {precision} with PyTorch on {coverage(videos, tested)}") as advance:
            real = _counted(chain([golden], load_all(videos[1:], loaded.record, sampling)), advance)
            with open_candidate(folder, converted.files, pixels, precision) as candidate:
                question = Question(candidate, converted.policy, _thresholds(loaded.record), len(tested))
                proof = prove(Reference(loaded.model), question, real)
        proof = replace(
            proof, calibration=converted.written.calibration, layers=converted.layers, bytes=converted.bytes
        )
        with step("seal the bundle"):
            write_card(folder, loaded, figures, proof, parts_of(folder, converted.files, loaded.model))
            seal(folder, loaded, {precision: converted.files}, [proof], golden.pixels)
            finish(folder, options)
    return target


def _thresholds(record: StageRecord) -> npt.NDArray[np.float64] | None:
    """The familiarity threshold of each class `(C,)`; None without thresholds."""
    if record.unknown is None:
        return None
    lows = [-math.inf if low is None else low for low in record.unknown.thresholds]
    return np.repeat(lows, [len(names) for names in record.stages])


def _counted(clips: Iterable[NamedClip], advance: Advance) -> Iterator[NamedClip]:
    for done, clip in enumerate(clips):
        advance(done)
        yield clip
