"""The cache of engines built on this machine, stored beside the bundle; it may be deleted at any time.

bundles/NAME/engines/stage-5/encoder.plan   the engine, as written by its library
                            /encoder.json   its key (files, library, machine), and its digest
                            /encoder-onnxruntime-…/    engines of onnxruntime's TensorRT provider
bundles/NAME/engines/timing-….bin           timings measured on this GPU, which speed up later builds

If the bundle's folder is not writable, ~/.cache/stpr/engines (or $XDG_CACHE_HOME) is used instead.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from stpr.runtime.contract.bundle import MANIFEST, file_entry
from stpr.runtime.contract.durable import FolderInUseError, explain, locked, write_file
from stpr.runtime.contract.errors import EngineError

# How ONNX files refer to a weight file: a key and a value in protobuf, each preceded by its length.
LOCATION: Final = re.compile(rb"\x0a\x08location\x12([\x00-\x7f])")
POLL: Final = 0.5  # seconds between checks of a lock
NO_PLAN: Final = "there is none yet"


class Plan(NamedTuple):
    """A serialised engine; None with a reason if it must be built."""

    data: bytes | None
    reason: str = ""


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a plan."""

    key: dict[str, str]
    sha256: str
    seconds: float  # build time
    types: dict[str, int]  # number of tensors per element type, its real precision


class Plans:
    """The cached plan of one graph."""

    def __init__(self, graph: Path) -> None:
        """`graph`: an ONNX file, in a bundle or alone."""
        self._graph = graph.absolute()  # not resolved, since a bundle's files may be links
        holders = [folder for folder in self._graph.parents if (folder / MANIFEST).is_file()]
        self._root = holders[0] if holders else self._graph.parent
        self._stem = "-".join(self._graph.relative_to(self._root).with_suffix("").parts)

    def files(self) -> dict[str, str]:
        """SHA-256 of the graph and of each weight file that it refers to, by name."""
        raw = self._graph.read_bytes()
        found = {self._graph.name: hashlib.sha256(raw).hexdigest()}
        for name in sorted({_text_at(raw, match.start(1)) for match in LOCATION.finditer(raw)}):
            file = self._graph.parent / name
            if not file.is_file():
                raise EngineError(f"{self._graph} needs {file}, which is missing; copy the bundle again.")
            found[name] = file_entry(file).sha256
        return found

    def size(self) -> int:
        """Approximate bytes of a plan: those of the graph and its weights."""
        return sum((self._graph.parent / name).stat().st_size for name in self.files())

    def find(self, key: Mapping[str, str]) -> Plan:
        """Find the plan with this key."""
        reason = NO_PLAN
        for folder in self._folders():
            try:
                record = msgspec.json.decode(self._file(folder, ".json").read_bytes(), type=_Record)
                data = self._file(folder, ".plan").read_bytes()
            except (OSError, msgspec.DecodeError):
                continue
            if stale := sorted(name for name in {*key, *record.key} if key.get(name) != record.key.get(name)):
                changes = (f"{name} was {record.key.get(name, 'none')[:40]}" for name in stale)
                reason = f"the cached one is for something else ({', '.join(changes)})"
            elif hashlib.sha256(data).hexdigest() != record.sha256:
                reason = "the cached one is damaged"
            else:
                return Plan(data)
        return Plan(None, reason)

    def keep(self, plan: bytes, key: Mapping[str, str], seconds: float, types: Mapping[str, int]) -> Path:
        """Store a plan; returns its file. Raises EngineError if it can't be written."""
        folder = self._writable()
        record = _Record(
            key=dict(key), sha256=hashlib.sha256(plan).hexdigest(), seconds=round(seconds, 1), types=dict(types)
        )
        try:
            # In this order, since a plan without its record, or with an older one's, is never used.
            file = write_file(self._file(folder, ".plan"), plan)
            write_file(self._file(folder, ".json"), msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
        except OSError as error:
            raise EngineError(f"{explain(error, folder, needs=len(plan))}.") from error
        return file

    def check_room(self, needs: int) -> None:
        """Raise EngineError if there is not enough disk space for `needs` bytes."""
        folder = self._writable()
        if (free := shutil.disk_usage(folder).free) < needs:
            raise EngineError(
                f"no space for a TensorRT engine of {self._graph} in {folder}: it needs about {needs / 1e6:.0f} MB of"
                f" which {free / 1e6:.0f} are free; free some."
            )

    def timings(self, name: str) -> bytes:
        """Timings of earlier builds under this name, of any graph and stage; b"" if there are none."""
        files = [folder.parent / _timing_file(name) for folder in self._folders()]
        return next((file.read_bytes() for file in files if file.is_file()), b"")

    def keep_timings(self, name: str, data: bytes) -> None:
        """Store timings for the next build; raises EngineError if they can't be written."""
        file = self._writable().parent / _timing_file(name)
        try:
            write_file(file, data)
        except OSError as error:
            raise EngineError(f"{explain(error, file, needs=len(data))}.") from error

    def folder_of_another(self, library: str) -> Path:
        """A cache folder for `library`, which chooses its own file names; empty, or filled for exactly these files.

        The library identifies engines by the graph's structure and not by weights, so those for others are deleted.
        """
        digest = hashlib.sha256(repr(self.files()).encode()).hexdigest()[:12]
        folder = self._file(self._writable(), f"-{library}-{digest}")
        for other in folder.parent.glob(f"{glob.escape(self._stem)}-{library}-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Lock the plan against other processes; waits, with a message, if another one is building it."""
        target = self._file(self._writable(), ".plan")
        with ExitStack() as held:
            waited = False
            while True:
                try:
                    held.enter_context(locked(target))
                    break
                except FolderInUseError as error:
                    if not waited:
                        say(f"{target}: {error.strerror}; waiting for it")
                    waited = True
                    time.sleep(POLL)
                except OSError as error:
                    raise EngineError(f"{explain(error, target)}.") from error
            yield

    def _folders(self) -> tuple[Path, ...]:
        """The cache folders, in order of priority."""
        root = self._root
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stpr" / "engines"
        # Distinguishes bundles of the same name in different folders.
        place = hashlib.sha256(os.fsencode(root.parent)).hexdigest()[:12]
        return root.parent / "engines" / root.name, caches / f"{root.parent.name}-{place}" / root.name

    def _writable(self) -> Path:
        """The first writable folder, created if necessary."""
        faults = []
        for folder in self._folders():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                faults.append(str(error))
                continue
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
            faults.append(f"{folder} can't be written")
        raise EngineError(
            f"no place to keep a TensorRT engine of {self._graph}: {'; '.join(faults)}; fix one of these."
        )

    def _file(self, folder: Path, suffix: str) -> Path:
        return folder / f"{self._stem}{suffix}"


def _text_at(raw: bytes, start: int) -> str:
    """Read a text preceded by its length in one byte, since our names are short."""
    return raw[start + 1 : start + 1 + raw[start]].decode(errors="replace")


def _timing_file(name: str) -> str:
    return f"timing-{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.bin"
