"""Snapshots of an unfinished fit, so that a killed run continues to exactly the same weights.

One safetensors file, written atomically: trained parameters, SGD momentum, and the random state of every process; its
header has the loss curves so far and a fingerprint of the task. What precedes the fit is reproduced from the stage's
seed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stpr.runtime.contract.durable import whole_file
from stpr.runtime.contract.errors import CheckpointError
from stpr.train.datasets.annotations import Video
from stpr.train.learning.distributed import ALONE, Processes
from stpr.train.settings.recipe import Recipe

EVERY: Final = 60.0  # seconds; a snapshot is taken at the end of the epoch
HEADER: Final = "snapshot"

Curves = list[dict[str, float]]  # epoch -> loss term -> mean


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of a snapshot."""

    stage: int
    fingerprint: str
    seconds: float  # spent on the stage so far
    curves: Curves  # of the finished epochs
    scaler: dict[str, float] = {}  # of fp16's gradient scaler


def fingerprint(recipe: Recipe, network: str, learnt: Sequence[tuple[str, ...]], videos: Sequence[Video]) -> str:
    """SHA-256 of what a stage's fit depends on: settings, the network's digest, classes so far, names of the videos.

    Excludes the paths of network and data set, and the videos' contents, since a damaged one may have been repaired.
    """
    tables = msgspec.to_builtins(recipe.deciding)
    settings = {name: value for name, value in tables.items() if name not in ("data", "stages")}
    clips = [["/".join(video.path.parts[-2:]), video.label] for video in videos]
    return hashlib.sha256(msgspec.json.encode([settings, network, learnt, clips])).hexdigest()


@dataclass(frozen=True, slots=True)
class FitState:
    """The state that a fit changes in every step."""

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    processes: Processes = ALONE

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors; every process must call this, since each has its own random state."""
        values = {f"value.{name}": value.detach() for name, value in self.parameters.items()}
        for name, value in self.parameters.items():
            moved = self.optimizer.state[value].get("momentum_buffer")
            if moved is not None:
                values[f"momentum.{name}"] = moved
        for name, numbers in self._random().items():
            values[f"random.{name}"] = self.processes.join(numbers[None], self.processes.count)
        return {name: value.cpu().contiguous() for name, value in values.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the state from `tensors()`."""
        for name, value in self.parameters.items():
            value.copy_(tensors[f"value.{name}"])
            if f"momentum.{name}" in tensors:
                self.optimizer.state[value]["momentum_buffer"] = tensors[f"momentum.{name}"].to(value.device)
        torch.set_rng_state(tensors["random.cpu"][self.processes.index])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"][self.processes.index], self.processes.device)

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether names and shapes match this fit's."""
        wanted = {f"value.{name}": tuple(value.shape) for name, value in self.parameters.items()}
        wanted |= {f"random.{name}": (self.processes.count, *value.shape) for name, value in self._random().items()}
        found = {name: tuple(value.shape) for name, value in tensors.items() if not name.startswith("momentum.")}
        return wanted == found

    def _random(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.processes.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.processes.device)
        return states


@dataclass(slots=True)
class Snapshots:
    """Reads and writes the snapshots of one stage; `say` receives a sentence on what happened to an existing one."""

    file: Path
    stage: int
    fingerprint: str
    say: Callable[[str], None]
    processes: Processes = ALONE
    spent: float = 0.0  # seconds, before this process
    began: float = field(default_factory=time.monotonic)
    taken: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds that the stage has taken so far, interrupted attempts included."""
        return self.spent + time.monotonic() - self.began

    def restore(self, state: FitState) -> Curves:
        """Go on from the snapshot that is there; returns the curves of the epochs behind it, none without."""
        file = self.file
        if not file.is_file():
            return []
        try:
            with safe_open(file, framework="pt") as held:
                header = msgspec.json.decode((held.metadata() or {})[HEADER], type=Header)
                tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118  (it is no mapping)
        except (OSError, SafetensorError, KeyError, msgspec.DecodeError) as error:
            self.say(f"stage {self.stage} starts again: {file} can't be read ({type(error).__name__}).")
            return []
        if header.stage < self.stage:
            return []  # left over from a stage that has been finished
        if header.fingerprint != self.fingerprint or not state.fits(tensors):
            self.say(f"stage {self.stage} starts again: {file} is of other videos, classes, settings or processes.")
            return []
        state.restore(tensors)
        if state.scaler is not None:
            state.scaler.load_state_dict(dict(header.scaler))
        self.spent = header.seconds
        self.say(f"stage {self.stage} continues after epoch {len(header.curves)}.")
        return header.curves

    def epoch_ended(self, state: FitState, curves: Curves) -> None:
        """Write a snapshot if the last one is older than EVERY. Raises CheckpointError if it can't be written."""
        if not self.processes.main_says(time.monotonic() - self.taken >= EVERY):
            return
        tensors = state.tensors()
        header = Header(
            stage=self.stage,
            fingerprint=self.fingerprint,
            seconds=self.seconds,
            curves=curves,
            scaler=state.scaler.state_dict() if state.scaler is not None else {},
        )
        with self.processes.together():
            if self.processes.is_main:
                self._write(tensors, header)
        self.taken = time.monotonic()

    def _write(self, tensors: dict[str, Tensor], header: Header) -> None:
        try:
            with whole_file(self.file) as part:
                save_file(tensors, part, metadata={HEADER: msgspec.json.encode(header).decode()})
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{self.file} can't be written ({error}); free disk space, then continue with --resume."
            ) from error
