"""An on-disk cache of frozen features, shared between runs (`--cache`). Without it no feature outlives its stage.

An entry holds the features of one video. Its name is a digest of everything that determines them: the video's content,
the backbone's weights, preprocessing, sampling, and the seed of the draws. Device, threads and library versions change
only the last bits and are not part of it, so features encoded on a GPU can be used by a run on a CPU.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stpr.runtime.contract.durable import write_file
from stpr.runtime.contract.errors import DataError, RecipeError
from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.data.clips import draw_name
from stpr.train.data.videos import content_digest, reading
from stpr.train.settings.learning import Augment, Flow
from stpr.train.settings.recipe import Recipe

SCHEMA: Final = 1  # increment whenever a code change changes the features for the same settings
INDEX: Final = "videos.json"
FEATURES: Final = "features"
DIGEST: Final = "sha256"  # of the features' bytes, in an entry's metadata


class Encoding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All settings that determine a video's frozen features `(draws + 1, frames, width)`.

    With `windows` (seconds) the features are of all sliding windows `(W, frames, width)`; W depends on the video.
    """

    backbone: str  # digest of its weights
    preprocess: PreprocessSpec
    motion: MotionSpec | None
    inner: tuple[int, ...]  # hidden states of the backbone that are part of the feature
    frames: int
    width: int
    draws: int
    augment: Augment | None  # None without draws, as is the seed
    seed: int | None
    windows: float | None = None  # None is omitted, so the names of older entries stay valid
    correlations: str | None = None  # digest of the correlated hidden states and their axes
    flow: Flow = "coarse"


def open_cache(folder: Path, recipe: Recipe) -> FeatureCache:
    """Open the feature cache in `folder`. Raises RecipeError if the recipe has no frozen features."""
    if recipe.adapter.place == "blocks":
        raise RecipeError(
            '--cache stores frozen features, but with [adapter] place = "blocks" adapters change the features; leave'
            ' --cache out or set place = "feature".'
        )
    return FeatureCache(folder)


class FeatureCache:
    """A folder of entries. Several processes may share it, since every file is written atomically.

    Raises DataError if the folder can't be written, and for a damaged file, which is never replaced silently.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = self.added = 0  # videos whose features this run read, and added
        self._known = _read_index(folder / INDEX)  # digest of a file's path, size and times -> digest of its content
        self._written = dict(self._known)
        if not (folder / INDEX).exists():  # find out now, not after the first clip, whether it can be written
            _write_whole(folder / INDEX, b"{}")

    def entry(self, video: Path, how: Encoding) -> Path:
        """The file for a video's features, existing or not. Raises DataError if the video can't be read."""
        name = draw_name(video) if how.draws else ""  # the test view does not depend on the name
        key = msgspec.json.encode((SCHEMA, how, name.encode("utf-8", "surrogateescape"), self.content_digest(video)))
        digest = hashlib.sha256(key).hexdigest()
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def read(self, entry: Path, how: Encoding) -> Tensor | None:
        """Read the features of an entry; None if it does not exist."""
        if not entry.is_file():
            return None
        try:
            with safe_open(entry, framework="pt") as file:
                features: Tensor = file.get_tensor(FEATURES).clone()  # not a view of the open file
                promised = (file.metadata() or {}).get(DIGEST)
        except (OSError, SafetensorError) as error:
            raise _damaged(entry, str(error)) from error
        rows = how.draws + 1 if how.windows is None else len(features)
        if features.shape != (rows, how.frames, how.width) or _digest(features) != promised:
            raise _damaged(entry, "its content is not what was written")
        return features

    def write(self, entry: Path, features: Tensor) -> None:
        """Store the features of a video."""
        _write_whole(entry, save({FEATURES: features.contiguous()}, metadata={DIGEST: _digest(features)}))
        self.added += 1

    def remember(self) -> None:
        """Save the digests of the video files, so that a large data set need not be read again to compute them."""
        if self._known != self._written:
            self._known = {**_read_index(self.folder / INDEX), **self._known}  # other processes may have added entries
            _write_whole(self.folder / INDEX, msgspec.json.encode(self._known))
            self._written = dict(self._known)

    def content_digest(self, video: Path) -> str:
        """The digest of a video's content; reads the file only if its path, size or times are new."""
        look = _look(video)
        if look not in self._known:
            self._known[look] = content_digest(video)
        return self._known[look]


def _look(video: Path) -> str:
    """A digest of a file's path, size and times; it does not reveal the path."""
    with reading(video):
        status = video.stat()
    look = f"{video.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return hashlib.sha256(look.encode("utf-8", "surrogateescape")).hexdigest()


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.to(torch.float32).numpy().tobytes()).hexdigest()


def _read_index(file: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, NotADirectoryError):  # writing it will report the latter
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"{file} of the cache is damaged ({why}); delete this file, and it will be recomputed.")


def _write_whole(file: Path, content: bytes) -> None:
    try:
        write_file(file, content)
    except OSError as error:
        raise DataError(
            f"the cache can't write {file} ({error.strerror}); free space, name another --cache or leave it out."
        ) from error
