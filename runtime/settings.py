"""The settings of the device's commands. A field with an Option is a command-line option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import click
import msgspec

from stpr.runtime.contract.errors import ContractError
from stpr.runtime.events import EventSettings
from stpr.runtime.options import Option

ENGINE: Final = "onnxruntime"
PAGE_ADDRESS: Final = "localhost:8080"


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions for a newer bundle to replace the running one."""

    predictions: int = 40  # number compared in shadow, and until the new bundle is marked good
    disagreement: float = 0.1  # maximum share that may differ on old classes

    def __post_init__(self) -> None:
        """Reject invalid values."""
        if self.predictions < 1 or not 0 <= self.disagreement < 1:
            raise ContractError(
                f"updates are compared on 1 prediction or more and may differ on a share from 0 to below 1, got"
                f" {self.predictions} and {self.disagreement:g}."
            )


_EVENTS: Final = " ".join(f"{field.name}={field.default:g}" for field in msgspec.structs.fields(EventSettings))

# Options that several commands have.
EngineName: TypeAlias = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Engine of the graphs: onnxruntime (CPU), onnxruntime-cuda, …; an unknown name lists all.",
    ),
]
Threads: TypeAlias = Annotated[
    int | None, Option(bounds=click.IntRange(1, 256), help="CPU threads of one run.", default="all cores")
]
PublicKey: TypeAlias = Annotated[
    Path | None,
    Option(
        metavar="PUBKEY",
        help="Refuse a bundle that is not signed with this key (KEY.pub of stpr-export keygen KEY).",
    ),
]
Events: TypeAlias = Annotated[
    EventSettings,
    Option(
        several=True,
        metavar="NAME=NUMBER",
        help="Event detection: wait and linger, seconds before a start or an end is reported; threshold and fade,"
        " in nats; apart, in spans.",
        default=_EVENTS,
    ),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-run`: sources, bundle, engine and outputs. `--camera N` is source N."""

    source: str
    more_sources: tuple[str, ...] = ()  # further sources
    bundle: Annotated[
        Path | None,
        Option(metavar="DIR", help="A bundle from stpr-export.", default="the newest under bundles/"),
    ] = None
    require_signature: PublicKey = None
    engine: EngineName = ENGINE
    headless: Annotated[bool, Option(help="No window.")] = False
    json: Annotated[
        str | None, Option(metavar="FILE|-", help="Append predictions to FILE, or write them to standard output.")
    ] = None
    record: Annotated[
        Path | None,
        Option(metavar="FILE|DIR", help="Record with the overlay to a .mp4 file, or to a folder in one-minute videos."),
    ] = None
    clips: Annotated[Path | None, Option(metavar="DIR", help="Save a short video of each action to DIR.")] = None
    keep: Annotated[
        str | None,
        Option(
            metavar="SIZE,AGE",
            help="Limits of these folders, such as 20GB,7d; the oldest videos are deleted.",
            default="no limit",
        ),
    ] = None
    mqtt: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="Publish to a broker, mqtt[s]://HOST[:PORT][/TOPIC]: TOPIC/available, TOPIC/CAMERA/state and …/event.",
        ),
    ] = None
    mqtt_login: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="User and password, one per line.",
            default="STPR_MQTT_USER and STPR_MQTT_PASSWORD, if set",
        ),
    ] = None
    mqtt_ca: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Trust the certificate authorities in this file (PEM) for mqtts://.",
            default="the system's",
        ),
    ] = None
    webhook: Annotated[str | None, Option(metavar="URL", help="Post the start and the end of each action as JSON.")] = (
        None
    )
    webhook_header: Annotated[
        Path | None,
        Option(metavar="FILE", help="File with a header for it, such as Authorization: Bearer SECRET."),
    ] = None
    serve: Annotated[
        str | None,
        Option(
            alone=PAGE_ADDRESS,
            metavar="[HOST:PORT]",
            help=f"A live page, /metrics, /healthz and /readyz, by default at {PAGE_ADDRESS}; other machines need a"
            " token.",
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Option(metavar="FILE", help="File with the page's token.", default="the environment's STPR_TOKEN"),
    ] = None
    watch: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Switch to newer bundles and updates that appear in DIR, without losing a frame; SIGUSR1 rolls back.",
        ),
    ] = None
    adapt: Annotated[
        bool,
        Option(
            help="Compensate slow drift, for people, places and light not in the training clips. Limited; not stored."
        ),
    ] = False
    login: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="User and password of streams, one per line.",
            default="STPR_SOURCE_USER and STPR_SOURCE_PASSWORD, if set",
        ),
    ] = None
    transport: Annotated[Literal["tcp", "udp"], Option(help="Transport of RTSP.")] = "tcp"
    wait: Annotated[
        bool | None,
        Option(
            both=True,
            help="Wait for cameras and streams that are not up yet.",
            default="only as a systemd service",
        ),
    ] = None
    events: Events = EventSettings()
    threads: Threads = None
    updates: UpdateSettings = UpdateSettings()

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources."""
        return (self.source, *self.more_sources)


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-check`: engine, and trusted key."""

    require_signature: PublicKey = None
    engine: EngineName = ENGINE
    threads: Threads = None


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-bench`: videos, bundle, engine and outputs."""

    bundle: Path
    annotations: Annotated[
        str | None,
        Option(
            metavar="FILE|synthetic:NAME",
            help="A CSV with the columns file, start, end (seconds), label; or generated videos: synthetic:motions, or"
            " one of them, such as synthetic:idle.",
            default="none, only speed is measured",
        ),
    ] = None
    videos: Annotated[
        Path | None,
        Option(metavar="DIR", help="The folder of the annotated videos.", default="the folder of FILE"),
    ] = None
    out: Annotated[Path | None, Option(metavar="DIR", help="Folder for events.json and a timeline per video.")] = None
    json: Annotated[
        str | None, Option(metavar="FILE|-", help="Write all results as JSON to FILE or standard output.")
    ] = None
    tolerance: Annotated[
        float | None,
        Option(
            bounds=click.FloatRange(min=0),
            metavar="SECONDS",
            help="How long after its action's end an event may start.",
            default="1.1 spans of the bundle's clips",
        ),
    ] = None
    actions: Annotated[
        int, Option(bounds=click.IntRange(min=1), metavar="N", help="Actions in each synthetic video.")
    ] = 20
    seeds: Annotated[
        int,
        Option(
            bounds=click.IntRange(min=1),
            metavar="N",
            help="Synthetic videos per kind; with several also mean and standard deviation.",
        ),
    ] = 1
    split: Annotated[
        Literal["train", "test"], Option(help="Actors in synthetic videos; use train for choosing settings.")
    ] = "test"
    seconds: Annotated[
        float,
        Option(
            bounds=click.FloatRange(min=0, min_open=True),
            metavar="N",
            help="Length of the video if only speed is measured.",
        ),
    ] = 60
    cameras: Annotated[
        int,
        Option(
            bounds=click.IntRange(min=1, max=64),
            metavar="N",
            help="Number of simultaneous cameras if only speed is measured.",
        ),
    ] = 1
    events: Events = EventSettings()
    waits: Annotated[
        str | None,
        Option(
            metavar="N,N,...",
            help="Also evaluate each of these values of wait (seconds before a start is reported).",
        ),
    ] = None
    engine: EngineName = ENGINE
    threads: Threads = None

    def __post_init__(self) -> None:
        """Reject invalid waits."""
        _ = self.other_events

    @property
    def other_events(self) -> tuple[EventSettings, ...]:
        """The event settings for each of the waits."""
        return () if self.waits is None else _read_waits(self.waits, self.events)


class RecordSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-record`: source, label and output. `--camera N` is source N."""

    source: str
    label: Annotated[str, Option(metavar="NAME", help="The action: clips go to a folder of this name.")]
    seconds: Annotated[
        float, Option(bounds=click.FloatRange(min=0.5, max=60), metavar="N", help="Length of each clip.")
    ] = 2
    count: Annotated[int, Option(bounds=click.IntRange(min=1), metavar="N", help="Number of clips.")] = 10
    out: Annotated[Path, Option(metavar="DIR", help="The folder of classes.")] = Path("videos")
    countdown: Annotated[float, Option(bounds=click.FloatRange(min=0), metavar="N", help="Seconds before a clip.")] = 3
    yes: Annotated[bool, Option(help="Keep every clip without asking.")] = False


def read_event_settings(texts: Sequence[str]) -> EventSettings:
    """Parse event settings such as `wait=0.25`; others keep their defaults.

    Raises ContractError for an invalid text.
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
            raise ContractError(f"--events {text}: {value or 'nothing'} is not a number; write for example wait=0.25.")
    return EventSettings(**found)


def _read_waits(text: str, settings: EventSettings) -> tuple[EventSettings, ...]:
    """The settings with each wait of a list such as `0,0.25,0.5`. Raises ContractError for an invalid list."""
    try:
        waits = [float(part) for part in text.split(",")]
    except ValueError:
        waits = [math.nan]
    if not all(math.isfinite(wait) and wait >= 0 for wait in waits):
        raise ContractError(f"--waits {text}: write seconds separated by commas, such as 0,0.25,0.5.")
    return tuple(msgspec.structs.replace(settings, wait=wait) for wait in dict.fromkeys(waits))
