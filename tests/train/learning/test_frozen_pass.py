"""Frozen features by onnxruntime: what PyTorch gives, on any number of cores; PyTorch wherever that fails, and said."""

from __future__ import annotations

import builtins
import gc
import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from stpr.train.data.pixels import motion_of
from stpr.train.learning import frozen_pass as module
from stpr.train.learning.frozen_pass import FrozenPass, frozen_pass
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.settings.learning import SamplingSettings
from stpr.train.settings.model import AdapterSettings
from tests.train.networks import ANY_NETWORK, write_any_network

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def an_encoder(source: Path, motion: int = 0) -> FrameEncoder:
    seen = motion_of(SamplingSettings(motion=motion))
    adapter = AdapterSettings(place="feature")
    return FrameEncoder(backbone=load_backbone(str(source)), adapter=adapter, projection=0, motion=seen).eval()


def some_clips(encoder: FrameEncoder, count: int = 2) -> torch.Tensor:
    return torch.randint(256, (count, 3, *encoder.pixels.shape), dtype=torch.uint8)


def by_pytorch(encoder: FrameEncoder, clips: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return encoder.frozen(clips)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ANY_NETWORK)
def test_any_network_gives_what_pytorch_gives(tmp_path: Path, kind: str) -> None:
    write_any_network(tmp_path, kind)
    encoder = an_encoder(tmp_path)
    clips = some_clips(encoder)
    quick = frozen_pass(encoder)
    seen, expected = quick(encoder, clips), by_pytorch(encoder, clips)
    assert not quick.note
    assert not torch.equal(seen, expected)  # it was not PyTorch that made them
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_with_motion_the_same_bytes_on_any_number_of_threads_and_beside_any_other_clips(resnet_folder: Path) -> None:
    encoder = an_encoder(resnet_folder, motion=2)
    clips = some_clips(encoder)
    quick = frozen_pass(encoder)
    seen = quick(encoder, clips)
    assert not quick.note
    torch.testing.assert_close(seen, by_pytorch(encoder, clips), rtol=0, atol=1e-5 * float(seen.abs().max()))
    for count in (1, 2, 3):
        with threads(count):
            assert torch.equal(quick(encoder, clips), seen)
            assert torch.equal(quick(encoder, clips[1:]), seen[1:])


def test_it_is_opened_once(resnet_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def opening(encoder: FrameEncoder, frame: torch.Tensor) -> Any:
        opened.append(frame)
        return lambda row: encoder.frozen(row[None])[0]

    monkeypatch.setattr(module, "_on_onnxruntime", opening)
    encoder = an_encoder(resnet_folder)
    for _ in range(2):
        frozen_pass(encoder)(encoder, some_clips(encoder))
    assert len(opened) == 1


def test_an_encoder_is_freed_though_its_session_was_opened(resnet_folder: Path) -> None:
    encoder = an_encoder(resnet_folder)
    frozen_pass(encoder)(encoder, some_clips(encoder))
    gone = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert gone() is None


def test_without_onnxruntime_pytorch_encodes_and_the_way_to_be_faster_is_said(
    resnet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest)

    encoder, quick = an_encoder(resnet_folder), FrozenPass()
    clips = some_clips(encoder)
    monkeypatch.setattr(builtins, "__import__", without)
    assert torch.equal(quick(encoder, clips), by_pytorch(encoder, clips))
    assert quick.note == (
        "frames are encoded by PyTorch; `pip install onnxruntime onnx` makes that two to three times as fast on a CPU"
    )


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (lambda: 1.0, r"onnxruntime is off by .*e.* allowed$"),
        (lambda: float("nan"), r"onnxruntime is off by nan of .*e.* allowed$"),
        (lambda: 1 / 0, r"onnxruntime can't run this network \(division by zero\)$"),
    ],
)
def test_an_engine_that_departs_or_fails_is_not_taken_and_that_is_said(
    resnet_folder: Path, monkeypatch: pytest.MonkeyPatch, theirs: Any, said: str
) -> None:
    encoder, quick = an_encoder(resnet_folder), FrozenPass()
    width = encoder.frozen_width
    monkeypatch.setattr(module, "_on_onnxruntime", lambda *_: lambda _: torch.full((width,), theirs()))
    clips = some_clips(encoder)
    assert torch.equal(quick(encoder, clips), by_pytorch(encoder, clips))
    assert re.match(rf"frames are encoded by PyTorch: {said}", quick.note), quick.note


def test_weights_that_are_too_many_for_the_graph_go_through_pytorch(
    resnet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    encoder, quick = an_encoder(resnet_folder), FrozenPass()
    clips = some_clips(encoder)
    assert torch.equal(quick(encoder, clips), by_pytorch(encoder, clips))
    assert "GiB of weights are too many for it" in quick.note
