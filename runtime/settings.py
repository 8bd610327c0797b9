"""The settings of `stpr-run`: what its options say, in one place for the parts that it opens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.events import EventSettings

ENGINE: Final = "onnxruntime"
PAGE_ADDRESS: Final = "localhost:8080"


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a newer bundle takes over from the running one."""

    predictions: int = 40  # on which both are compared, and after which the new one is marked good
    disagreement: float = 0.1  # the share of them that may differ on old classes

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.predictions < 1 or not 0 <= self.disagreement < 1:
            raise ContractError(
                f"updates are compared on 1 prediction or more and may differ on a share from 0 to below 1, got"
                f" {self.predictions} and {self.disagreement:g}."
            )


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to watch, with what, and where results go: a field has the name of its option, `--camera N` is source N."""

    source: str
    more_sources: tuple[str, ...] = ()  # watched beside it
    login: Path | None = None  # a file of user and password for streams; None: the environment's, if any
    transport: Literal["tcp", "udp"] = "tcp"  # of RTSP
    wait: bool | None = None  # for cameras and streams that are not up yet; None: under a service
    bundle: Path | None = None  # None: the newest one under bundles/
    require_signature: Path | None = None  # the public key that every bundle must be signed with
    engine: str = ENGINE
    threads: int | None = None  # CPU threads of one run; None: all cores
    headless: bool = False  # no window
    json: str | None = None  # a file, or - for standard output
    record: Path | None = None  # a file, or a folder of videos
    clips: Path | None = None  # a folder of a short video for each event
    keep: str | None = None  # how much and how long folders of videos are kept; None: nothing is removed
    mqtt: str | None = None  # mqtt://HOST:PORT/TOPIC, or mqtts://
    mqtt_login: Path | None = None  # a file of user and password; None: the environment's, if any
    mqtt_ca: Path | None = None  # a file of authorities to believe; None: the system's
    webhook: str | None = None  # where events are posted
    webhook_header: Path | None = None  # a file of one line, such as Authorization: Bearer …
    serve: str | None = None  # HOST:PORT of the page, with health and metrics
    token_file: Path | None = None  # holds what changes are made with; None: the environment's STPR_TOKEN, if any
    watch: Path | None = None  # a folder in which newer bundles and updates appear
    adapt: bool = False  # follow the drift of what a camera shows
    events: EventSettings = EventSettings()
    updates: UpdateSettings = UpdateSettings()

    @property
    def sources(self) -> tuple[str, ...]:
        """All that is watched."""
        return (self.source, *self.more_sources)


def read_event_settings(texts: Sequence[str]) -> EventSettings:
    """Event settings as a command line has them: `wait=0.25`, a text each; what is not named keeps its default.

    Raises ContractError for a text that is none.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name.strip() not in EventSettings.__struct_fields__:
            known = ", ".join(EventSettings.__struct_fields__)
            raise ContractError(f"--events {text}: write NAME=NUMBER; the names are {known}.")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            found[name.strip()] = math.nan
        if not math.isfinite(found[name.strip()]):
            raise ContractError(f"--events {text}: {value or 'nothing'} is no number; write such as wait=0.25.")
    return EventSettings(**found)


def read_waits(text: str, settings: EventSettings) -> tuple[EventSettings, ...]:
    """The settings with each wait of a text such as `0,0.25,0.5`. Raises ContractError for a text that is none."""
    try:
        waits = [float(part) for part in text.split(",")]
    except ValueError:
        waits = [math.nan]
    if not all(math.isfinite(wait) and wait >= 0 for wait in waits):
        raise ContractError(f"--waits {text}: write seconds with commas between, such as 0,0.25,0.5.")
    return tuple(msgspec.structs.replace(settings, wait=wait) for wait in dict.fromkeys(waits))
