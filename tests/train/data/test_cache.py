"""Features from the cache are those of encoding, to the bit; an entry serves only what it was made from."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from stpr.runtime.contract.durable import is_leftover
from stpr.runtime.contract.errors import DataError
from stpr.train.data import cache as module
from stpr.train.data.cache import INDEX, Encoding, FeatureCache
from stpr.train.data.videos import content_digest
from stpr.train.datasets.annotations import Video
from stpr.train.learning.encode import encode_frozen
from stpr.train.learning.inputs import PixelClips
from stpr.train.model.backbone import load_backbone
from stpr.train.model.encoder import FrameEncoder
from stpr.train.settings.learning import Augment, SamplingSettings
from stpr.train.settings.model import AdapterSettings
from tests.factories import MOTION, make_preprocess_spec, make_video

CLIPS, DRAWS = 5, 2
HOW = Encoding(
    backbone="abc",
    preprocess=make_preprocess_spec(),
    motion=None,
    inner=(),
    frames=3,
    width=4,
    draws=DRAWS,
    augment=Augment(multi_scale_crop=True, flip=True),
    seed=0,
)


@pytest.fixture(scope="module", params=[None, MOTION], ids=["pictures", "motion"])
def encoder(request: pytest.FixtureRequest) -> FrameEncoder:
    backbone = load_backbone("tiny", "auto" if request.param else "none")
    return FrameEncoder(
        backbone=backbone, adapter=AdapterSettings(place="none"), projection=0, motion=request.param
    ).eval()


@pytest.fixture(scope="module")
def clips(encoder: FrameEncoder, tmp_path_factory: pytest.TempPathFactory) -> PixelClips:
    folder = tmp_path_factory.mktemp("set")
    videos = [Video(make_video(folder / f"{index}.avi"), "wave", "train") for index in range(CLIPS)]
    sampling = SamplingSettings(frames=3, augment=Augment(multi_scale_crop=True, flip=True))
    return PixelClips(videos, torch.arange(CLIPS), spec=encoder.pixels, sampling=sampling, seed=5)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "set/wave").mkdir(parents=True)
    (tmp_path / "set/wave/a.mp4").write_bytes(b"a video")
    return tmp_path / "set/wave/a.mp4"


@pytest.mark.parametrize("draws", [0, DRAWS])
def test_features_are_the_same_without_a_cache_with_a_cold_a_warm_and_a_half_filled_one(
    clips: PixelClips, encoder: FrameEncoder, tmp_path: Path, draws: int
) -> None:
    def encode(cache: FeatureCache | None) -> torch.Tensor:
        told: list[int] = []
        inputs = encode_frozen(clips, encoder, draws=draws, advance=told.append, cache=cache)
        assert told == list(range(1, CLIPS + 1))
        return inputs.features

    expected = encode(None)
    for served in (0, CLIPS, CLIPS - 2):
        cache = FeatureCache(tmp_path / "cache")
        assert torch.equal(encode(cache), expected)
        assert (cache.served, cache.added) == (served, CLIPS - served)
        for entry in sorted((tmp_path / "cache").glob("*/*"))[:2] if served else ():
            entry.unlink()
    assert not [path for path in (tmp_path / "cache").rglob("*") if is_leftover(path)]


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "abd"},
        {"preprocess": make_preprocess_spec(crop_fraction=0.875)},
        {"motion": MOTION},
        {"inner": (1,)},
        {"frames": 4},
        {"width": 5},
        {"draws": 3},
        {"augment": Augment(multi_scale_crop=True, flip=False)},
        {"augment": None},
        {"seed": 1},
        {"windows": 0.5},
        {"correlations": "abc"},
        {"flow": "fine"},
    ],
)
def test_other_settings_are_another_entry(tmp_path: Path, video: Path, changes: dict[str, Any]) -> None:
    cache = FeatureCache(tmp_path / "cache")
    assert cache.entry(video, HOW) == FeatureCache(tmp_path / "cache").entry(video, HOW)
    assert cache.entry(video, msgspec.structs.replace(HOW, **changes)) != cache.entry(video, HOW)


def test_every_setting_of_an_encoding_counts() -> None:
    names = "backbone preprocess motion inner frames width draws augment seed windows correlations flow"
    assert set(Encoding.__struct_fields__) == set(names.split())


def test_content_and_what_seeds_the_draws_name_an_entry(tmp_path: Path, video: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    without = msgspec.structs.replace(HOW, draws=0, augment=None, seed=None)
    drawn, centre = cache.entry(video, HOW), cache.entry(video, without)
    moved = Path(shutil.copytree(video.parent, tmp_path / "elsewhere/wave")) / "a.mp4"
    assert (cache.entry(moved, HOW), cache.entry(moved, without)) == (drawn, centre)
    renamed = moved.rename(moved.with_name("b.mp4"))
    assert cache.entry(renamed, HOW) != drawn  # its draws are others
    assert cache.entry(renamed, without) == centre
    video.write_bytes(b"another")  # of the same length
    assert cache.entry(video, without) != centre


def test_a_file_is_read_once_to_be_recognised(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def watched(path: Path) -> str:
        read.append(path)
        return content_digest(path)

    monkeypatch.setattr(module, "content_digest", watched)
    first, second = FeatureCache(tmp_path / "cache"), FeatureCache(tmp_path / "cache")
    entry = first.entry(video, HOW)
    first.remember()
    other = video.with_name("b.mp4")
    other.write_bytes(b"other")
    second.entry(other, HOW)
    second.remember()  # what the first wrote meanwhile is kept
    third = FeatureCache(tmp_path / "cache")
    assert third.entry(video, HOW) == entry
    third.entry(other, HOW)
    assert read == [video, other]
    assert "wave" not in (tmp_path / "cache" / INDEX).read_text()  # it tells nobody what the videos are called
    video.write_bytes(b"a video")  # the same again, but who knows without reading it
    assert third.entry(video, HOW) == entry
    assert read == [video, other, video]


def cut_off(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-7])


def emptied(entry: Path) -> None:
    entry.write_bytes(b"")


def flip_a_bit(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)


def of_another_shape(entry: Path) -> None:
    FeatureCache(entry.parent.parent).write(entry, torch.zeros(1, 3, 4))


def without_a_digest(entry: Path) -> None:
    save_file({"features": torch.zeros(DRAWS + 1, 3, 4)}, entry)


def of_another_kind(entry: Path) -> None:
    save_file({"weights": torch.zeros(1)}, entry)


@pytest.mark.parametrize("harm", [cut_off, emptied, flip_a_bit, of_another_shape, without_a_digest, of_another_kind])
def test_a_damaged_entry_is_named_and_never_replaced_in_silence(tmp_path: Path, video: Path, harm: Any) -> None:
    cache = FeatureCache(tmp_path / "cache")
    entry, features = cache.entry(video, HOW), torch.rand(DRAWS + 1, 3, 4)
    assert cache.read(entry, HOW) is None
    cache.write(entry, features)
    kept = cache.read(entry, HOW)
    assert kept is not None
    assert torch.equal(kept, features)
    harm(entry)
    with pytest.raises(DataError, match=rf"{entry} of the cache is damaged \(.*\); delete this file") as caught:
        cache.read(entry, HOW)
    assert "\n" not in caught.value.message
    entry.unlink()
    assert cache.read(entry, HOW) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff"])
def test_a_damaged_index_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(DataError, match=rf"{tmp_path / INDEX} of the cache is damaged .*; delete this file"):
        FeatureCache(tmp_path)


def test_a_place_that_can_not_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match=r"the cache can't write .*taken/cache/videos\.json \(.*\); free space"):
        FeatureCache(tmp_path / "taken" / "cache")


def test_an_entry_that_can_not_be_written_leaves_nothing_behind(tmp_path: Path, video: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    entry = cache.entry(video, HOW)
    entry.mkdir(parents=True)
    with pytest.raises(DataError, match=rf"the cache can't write {entry} \(Is a directory\); free space"):
        cache.write(entry, torch.zeros(1))
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_many_may_read_and_write_one_entry(tmp_path: Path, video: Path) -> None:
    features = torch.rand(DRAWS + 1, 3, 4)

    def work(_: int) -> bool:
        cache = FeatureCache(tmp_path / "cache")
        entry = cache.entry(video, HOW)
        cache.write(entry, features)
        cache.remember()
        kept = cache.read(entry, HOW)
        return kept is not None and torch.equal(kept, features)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))
    assert len(list((tmp_path / "cache").rglob("*.*"))) == 2
