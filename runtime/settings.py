"""The settings of `stpr-run`: what its options say, in one place for the parts that it opens."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from stpr.runtime.events import EventSettings

ENGINE: Final = "onnxruntime"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to watch, with what, and where results go: a field has the name of its option, `--camera N` is source N."""

    source: str
    bundle: Path | None = None  # None: the newest one under bundles/
    engine: str = ENGINE
    threads: int | None = None  # CPU threads of one run; None: all cores
    headless: bool = False  # no window
    json: str | None = None  # a file, or - for standard output
    record: Path | None = None  # a file, or a folder of videos
    keep: str | None = None  # how much and how long folders of videos are kept; None: nothing is removed
    mqtt: str | None = None  # mqtt://HOST:PORT/TOPIC, or mqtts://
    mqtt_login: Path | None = None  # a file of user and password; None: the environment's, if any
    mqtt_ca: Path | None = None  # a file of authorities to believe; None: the system's
    webhook: str | None = None  # where events are posted
    webhook_header: Path | None = None  # a file of one line, such as Authorization: Bearer …
    events: EventSettings = EventSettings()
