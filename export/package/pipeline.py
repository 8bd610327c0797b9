"""From a stage checkpoint to a bundle: written aside, proved, and only then put in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from stpr.export import CLIPS
from stpr.export.graphs.assemble import trace_pieces, write_onnx
from stpr.export.package.seal import Stage, seal
from stpr.export.parity.candidate import open_candidate
from stpr.export.parity.clips import NamedClip, coverage, load_all, tested_videos
from stpr.export.parity.gate import prove
from stpr.export.parity.reference import Reference
from stpr.export.precisions import PRECISIONS
from stpr.runtime.contract.bundle import new_bundle_folder, open_bundle
from stpr.train.model.stpr import StPR
from stpr.train.run.checkpoint import load_stage
from stpr.train.settings.recipe import Recipe

GRAPH_BYTES: Final = 1 << 20  # for the nodes of the graphs ...
EXPERT_BYTES: Final = 1 << 16  # ... and those of each expert in them

Advance: TypeAlias = Callable[[int], None]  # told how much of a step is done
Steps: TypeAlias = Callable[[str], AbstractContextManager[Advance]]


@contextmanager
def silent(name: str) -> Iterator[Advance]:
    """Show nothing of a step."""
    del name
    yield lambda _: None


@dataclass(frozen=True, slots=True)
class Carried:
    """A run from another machine: its recipe with this machine's places, and where its videos lie here."""

    run: Path
    recipe: Recipe | None = None
    data: Path | None = None


def export_stage(
    run: Path | Carried, stage: int, out: Path, *, clips: int | None = CLIPS, step: Steps = silent
) -> Path:
    """Export a stage with all its experts to `out/RUN/stage-N`; returns that folder.

    `clips` caps the real test clips it is proved on, None are all; `step` is entered around each piece of work. Raises
    CheckpointError, DataError, ParityError or BundleError; nothing but a whole bundle is ever put in place.
    """
    here = run if isinstance(run, Carried) else Carried(run)
    with step(f"load stage {stage} of {here.run}"):
        loaded = Stage(here.run.resolve().name, *load_stage(here.run, stage, here.recipe))
        tested = tested_videos(here.run, stage, here.data)
        videos = tested[:clips]
    target = out / loaded.name / f"stage-{stage}"
    with new_bundle_folder(target, needs=len(PRECISIONS) * _size(loaded.model)) as folder:
        with step("trace encoder, expert and combination"):
            pieces = trace_pieces(loaded.model)
        with step("write graphs and weights"):
            write_onnx(loaded.model, pieces, folder)
            files = {precision: variant.write(folder) for precision, variant in PRECISIONS.items()}
        pixels, sampling = loaded.model.encoder.pixels, loaded.recipe.sampling
        certificates, (golden,) = [], load_all(videos[:1], loaded.record, sampling)
        for precision, variant in PRECISIONS.items():
            with step(f"compare {precision} with PyTorch on {coverage(videos, tested)}") as advance:
                real = _counted(chain([golden], load_all(videos[1:], loaded.record, sampling)), advance)
                with open_candidate(folder, files[precision], pixels, precision) as candidate:
                    certificates.append(prove(Reference(loaded.model), candidate, variant.policy, real, len(tested)))
        with step("seal the bundle"):
            seal(folder, loaded, files, certificates, golden.pixels)
            open_bundle(folder)
    return target


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
