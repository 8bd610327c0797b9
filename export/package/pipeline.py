"""From a stage checkpoint to a bundle: written aside, proved, and only then put in place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace

from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.package.request import DEFAULTS, Advance, Carried, Options, Steps, silent
from stpr.export.package.seal import Stage, finish, seal
from stpr.export.parity.candidate import open_candidate
from stpr.export.parity.clips import NamedClip, coverage, load_all, tested_videos
from stpr.export.parity.gate import Question, prove
from stpr.export.parity.reference import Reference
from stpr.export.precisions.bring import bring
from stpr.runtime.contract.bundle import folder_name, new_bundle_folder
from stpr.runtime.contract.preprocess import Array
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import StageRecord, load_stage

GRAPH_BYTES: Final = 1 << 20  # for the nodes of the graphs ...
EXPERT_BYTES: Final = 1 << 16  # ... and those of each expert in them


def export_stage(
    run: Path | Carried, stage: int, out: Path, *, options: Options = DEFAULTS, step: Steps = silent
) -> Path:
    """Export a stage with all its experts to `out/RUN/stage-N`, or `stage-N-PRECISION`; returns that folder.

    `step` is entered around each piece of work. Raises CheckpointError, DataError, ParityError or BundleError; nothing
    but a whole bundle is ever put in place.
    """
    here = run if isinstance(run, Carried) else Carried(run)
    with step(f"load stage {stage} of {here.run}"):
        loaded = Stage(here.run.resolve().name, *load_stage(here.run, stage, here.recipe))
        tested = tested_videos(here.run, stage, here.data)
        videos = tested[: options.clips]
    precision = options.precision
    target = out / loaded.name / folder_name(stage, precision)
    with new_bundle_folder(target, needs=(1 if precision == "fp32" else 2) * _size(loaded.model)) as folder:
        with step("trace encoder, expert and combination"):
            pieces = trace_pieces(loaded.model)
        with step("write graphs and weights"):
            write_onnx(loaded.model, pieces, folder)
        with step(f"bring them to {precision}") if precision != "fp32" else nullcontext():
            brought = bring(folder, precision, loaded.recipe, loaded.record)
        options.check_size(folder)  # once more when it is sealed; this is before the minutes of the proof
        pixels, sampling = loaded.model.encoder.pixels, loaded.recipe.sampling
        (golden,) = load_all(videos[:1], loaded.record, sampling)
        with step(f"compare {precision} with PyTorch on {coverage(videos, tested)}") as advance:
            real = _counted(chain([golden], load_all(videos[1:], loaded.record, sampling)), advance)
            with open_candidate(folder, brought.files, pixels, precision) as candidate:
                question = Question(candidate, brought.policy, _thresholds(loaded.record), len(tested))
                proof = prove(Reference(loaded.model), question, real)
        proof = replace(proof, calibration=brought.calibration, layers=brought.layers, bytes=brought.bytes)
        with step("seal the bundle"):
            seal(folder, loaded, {precision: brought.files}, [proof], golden.pixels)
            finish(folder, options)
    return target


def _thresholds(record: StageRecord) -> Array | None:
    """The threshold of familiarity of each class `(C,)`; None where no clip is ever unknown."""
    if record.unknown is None:
        return None
    lows = [-math.inf if low is None else low for low in record.unknown.thresholds]
    return np.repeat(lows, [len(names) for names in record.stages])


def _counted(clips: Iterable[NamedClip], advance: Advance) -> Iterator[NamedClip]:
    for done, clip in enumerate(clips):
        advance(done)
        yield clip


def _size(model: StPR) -> int:
    """About how many bytes a bundle takes in one precision: all its weights, one clip, and the graphs."""
    weights = sum(value.nbytes for value in [*model.parameters(), *model.buffers()])
    experts, pixels = len(model.head.experts), math.prod(model.encoder.pixels.shape)
    golden = model.head.frames * (pixels + 4 * model.head.columns.width)
    return weights + golden + GRAPH_BYTES + experts * EXPERT_BYTES
