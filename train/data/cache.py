"""Frozen features kept on disk from run to run, for users who ask for it (`--cache`): otherwise none outlives a stage.

An entry holds the features of one video. Its name is a digest of all that a user can name and that decides them: the
video's content, the backbone's weights, preprocessing, sampling, and what seeds the draws. What moves the last bits
alone is not in it: device, threads, versions of libraries. Features encoded on a GPU serve a run on a CPU.
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
from stpr.runtime.contract.errors import DataError
from stpr.runtime.contract.motion import MotionSpec
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.data.clips import draw_name
from stpr.train.data.videos import content_digest, reading
from stpr.train.settings.learning import Augment

SCHEMA: Final = 1  # one more whenever the code comes to give other features for the same settings
INDEX: Final = "videos.json"
FEATURES: Final = "features"
DIGEST: Final = "sha256"  # of the features' bytes, in an entry's metadata


class Encoding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that decides a video's frozen features `(draws + 1, frames, width)`, but for the video.

    With `windows` they are those of all windows of so many seconds `(W, frames, width)`: W follows from the video.
    """

    backbone: str  # digest of its weights
    preprocess: PreprocessSpec
    motion: MotionSpec | None
    inner: tuple[int, ...]  # hidden states of the backbone that are seen as well
    frames: int
    width: int
    draws: int
    augment: Augment | None  # this and the seed: None without draws
    seed: int | None
    windows: float | None = None  # a default: entries made before there were any are found as ever


class FeatureCache:
    """A folder of entries; processes may share it, since every file is written aside and renamed.

    Raises DataError for a folder that can't be written and for a damaged file, which is never replaced in silence.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = self.added = 0  # videos whose features a run took from here, and put here
        self._known = _read_index(folder / INDEX)  # look of a file -> digest of its content
        self._written = dict(self._known)
        if not (folder / INDEX).exists():  # whether it can be written is better told now than after the first clip
            _write_whole(folder / INDEX, b"{}")

    def entry(self, video: Path, how: Encoding) -> Path:
        """The file that keeps or is to keep a video's features. Raises DataError for a video that can't be read."""
        name = draw_name(video) if how.draws else ""  # the test view looks the same under any name
        key = msgspec.json.encode((SCHEMA, how, name.encode("utf-8", "surrogateescape"), self._digest(video)))
        digest = hashlib.sha256(key).hexdigest()
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def read(self, entry: Path, how: Encoding) -> Tensor | None:
        """The features that an entry keeps, None if there is no such entry yet."""
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
            raise _damaged(entry, "it does not hold what was written")
        return features

    def write(self, entry: Path, features: Tensor) -> None:
        """Keep the features of a video."""
        _write_whole(entry, save({FEATURES: features.contiguous()}, metadata={DIGEST: _digest(features)}))
        self.added += 1

    def remember(self) -> None:
        """Write down which file has which content: a large data set then need not be read again to be recognised."""
        if self._known != self._written:
            self._known = {**_read_index(self.folder / INDEX), **self._known}  # another process may have added some
            _write_whole(self.folder / INDEX, msgspec.json.encode(self._known))
            self._written = dict(self._known)

    def _digest(self, video: Path) -> str:
        """A video's content, read only if a file of this path, size and times was not read before."""
        look = _look(video)
        if look not in self._known:
            self._known[look] = content_digest(video)
        return self._known[look]


def _look(video: Path) -> str:
    """A digest of a file's path, size and times: it changes with the content, and tells nobody the path."""
    with reading(video):
        status = video.stat()
    look = f"{video.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return hashlib.sha256(look.encode("utf-8", "surrogateescape")).hexdigest()


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.to(torch.float32).numpy().tobytes()).hexdigest()


def _read_index(file: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, NotADirectoryError):  # writing it will tell of the latter
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, why: str) -> DataError:
    return DataError(f"{file} of the cache is damaged ({why}); delete this file: what it held is made again.")


def _write_whole(file: Path, content: bytes) -> None:
    try:
        write_file(file, content)
    except OSError as error:
        raise DataError(
            f"the cache can't write {file} ({error.strerror}); make room there, name another --cache or leave it out."
        ) from error
