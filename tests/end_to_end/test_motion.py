"""A model that sees motion, inner layers and several views, from checkpoint to camera: a live run is the clip graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from stpr.export.package.pipeline import export_stage
from stpr.export.package.request import Options
from stpr.runtime.cli import check
from stpr.runtime.contract.bundle import Bundle, open_bundle
from stpr.runtime.contract.manifest import GraphName
from stpr.runtime.contract.preprocess import Array
from stpr.runtime.engines import open_engine
from stpr.runtime.model import Model
from stpr.runtime.recognizer import predictions
from stpr.runtime.sources.files import open_file
from stpr.train.data.clips import load_clip
from stpr.train.run.checkpoint import load_stage
from stpr.train.run.folder import recipe_file
from stpr.train.settings.load import read_resolved
from tests.export.models import feeds
from tests.export.runs import INNER, STAGES, VIEWS, write_run
from tests.factories import make_video
from tests.runtime.runs import ONE, Listening


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_run(tmp_path_factory.mktemp("work"), backbone=INNER, **VIEWS)


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(export_stage(run, STAGES, tmp_path_factory.mktemp("bundles"), options=Options(clips=3)))


def taken(run: Path, video: Path) -> dict[str, Array]:
    """The test view of a video, as the clip graph takes it."""
    model, _, _ = load_stage(run, STAGES)
    sampling = read_resolved(recipe_file(run)).sampling
    return feeds(model, load_clip(video, spec=model.encoder.pixels, sampling=sampling, rng=None)[np.newaxis])


def test_the_bundle_says_what_it_sees_and_does_here_what_it_did_there(bundle: Bundle) -> None:
    manifest, golden = bundle.manifest, bundle.golden()
    assert manifest.motion is not None
    assert (manifest.motion.pairs, manifest.motion.side) == (4, 64)
    assert [one.name for one in manifest.graphs[GraphName.CLIP].inputs] == ["frames", "greys"]
    assert all(entry.moves for entry in manifest.classes)  # none is recognised by how it looks: weights are random
    assert golden.greys is not None
    assert golden.greys.shape == (1, 4, 4, 2, 64, 64)
    checked = CliRunner().invoke(check, [str(bundle.path)])
    assert checked.exit_code == 0, checked.output
    assert [line[:4] for line in checked.output.splitlines()] == ["ok  "] * 13


@pytest.mark.parametrize("fps", [16, 25, 30])
def test_a_live_run_over_a_file_of_one_span_is_the_clip_graph_on_it(
    bundle: Bundle, run: Path, fps: int, tmp_path: Path
) -> None:
    span = bundle.manifest.clip.span_seconds
    video = make_video(tmp_path / "clip.avi", frames=round(span * fps), fps=fps)
    head = Listening(bundle)
    with Model(bundle, encoder=open_engine("onnxruntime", bundle.graph(GraphName.ENCODER), ONE), head=head) as model:
        made = list(predictions(model, open_file(video)))
    assert [prediction.state == "warming_up" for prediction in made] == [True, True, True, False]
    clip = open_engine("onnxruntime", bundle.graph(GraphName.CLIP), ONE)
    seen = taken(run, video)
    whole = clip.run(seen)
    for name, wanted in whole.items():  # of the clip's own span, which stands before the shorter one
        np.testing.assert_allclose(head.heard[-1][name][:1], wanted, rtol=1e-4, atol=1e-4)
    # Had nothing moved, it would have said something else.
    still = clip.run({**seen, "greys": np.repeat(seen["greys"][:, :, :, :1], 2, axis=3)})
    assert np.abs(still["logits"] - whole["logits"]).max() > 1e-3
