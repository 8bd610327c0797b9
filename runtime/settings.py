"""The settings of a device's commands. A field that has an Option is the option of that name."""

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


_EVENTS: Final = " ".join(f"{field.name}={field.default:g}" for field in msgspec.structs.fields(EventSettings))

# Options that several commands have.
EngineName: TypeAlias = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Runs the graphs: onnxruntime (CPU), onnxruntime-cuda, …; an unknown name is answered with all.",
    ),
]
Threads: TypeAlias = Annotated[
    int | None, Option(bounds=click.IntRange(1, 256), help="CPU threads of one run.", default="all cores")
]
PublicKey: TypeAlias = Annotated[
    Path | None,
    Option(
        metavar="PUBKEY",
        help="Refuse a bundle that is not signed with the key of this file (KEY.pub of stpr-export keygen KEY).",
    ),
]
Events: TypeAlias = Annotated[
    EventSettings,
    Option(
        several=True,
        metavar="NAME=NUMBER",
        help="How events are told: wait, seconds before a start is said, linger, seconds before an end is; threshold"
        " and fade, in nats; apart, in spans.",
        default=_EVENTS,
    ),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-run`: what to watch, with what, and where results go. `--camera N` is source N."""

    source: str
    more_sources: tuple[str, ...] = ()  # watched beside it
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
        Option(metavar="FILE|DIR", help="Record what is seen to a .mp4 file, or to a folder in videos of a minute."),
    ] = None
    clips: Annotated[Path | None, Option(metavar="DIR", help="Save a short video of each action to DIR.")] = None
    keep: Annotated[
        str | None,
        Option(
            metavar="SIZE,AGE",
            help="How much of such a folder to keep, such as 20GB,7d; the oldest videos are removed.",
            default="all",
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
            help="User and password, a line each.",
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
        Option(metavar="FILE", help="A header for it in one line, such as Authorization: Bearer SECRET."),
    ] = None
    serve: Annotated[
        str | None,
        Option(
            alone=PAGE_ADDRESS,
            metavar="[HOST:PORT]",
            help=f"A live page, /metrics, /healthz and /readyz, at {PAGE_ADDRESS} unless told; other machines need a"
            " token.",
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Option(metavar="FILE", help="Holds the token of the page.", default="the environment's STPR_TOKEN"),
    ] = None
    watch: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Take over newer bundles and updates that appear in DIR, without losing a frame; SIGUSR1 rolls back.",
        ),
    ] = None
    adapt: Annotated[
        bool,
        Option(
            help="Follow slow drift: of people, place and light never filmed. Bounded, and forgotten when the run ends."
        ),
    ] = False
    login: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="User and password of streams, a line each.",
            default="STPR_SOURCE_USER and STPR_SOURCE_PASSWORD, if set",
        ),
    ] = None
    transport: Annotated[Literal["tcp", "udp"], Option(help="What RTSP goes over.")] = "tcp"
    wait: Annotated[
        bool | None,
        Option(
            both=True,
            help="Wait for cameras and streams that are not up yet.",
            default="under a service of systemd",
        ),
    ] = None
    events: Events = EventSettings()
    threads: Threads = None
    updates: UpdateSettings = UpdateSettings()

    @property
    def sources(self) -> tuple[str, ...]:
        """All that is watched."""
        return (self.source, *self.more_sources)


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-check`: how to run the bundle, and whom to trust."""

    require_signature: PublicKey = None
    engine: EngineName = ENGINE
    threads: Threads = None


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-bench`: what to watch with what, and where the figures go."""

    bundle: Path
    annotations: Annotated[
        str | None,
        Option(
            metavar="FILE|synthetic:NAME",
            help="A CSV of the columns file, start, end, label (seconds); or videos made here: synthetic:motions, or"
            " one of them, such as synthetic:idle.",
            default="none, speed alone is measured",
        ),
    ] = None
    videos: Annotated[
        Path | None,
        Option(metavar="DIR", help="The folder of the annotated videos.", default="the folder of FILE"),
    ] = None
    out: Annotated[
        Path | None, Option(metavar="DIR", help="A folder for events.json and a timeline of each video.")
    ] = None
    json: Annotated[
        str | None, Option(metavar="FILE|-", help="All figures as JSON, to FILE or to standard output.")
    ] = None
    tolerance: Annotated[
        float | None,
        Option(
            bounds=click.FloatRange(min=0),
            metavar="SECONDS",
            help="How late after its action's end an event may start.",
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
            help="Synthetic videos of each kind; of several also the mean and deviation.",
        ),
    ] = 1
    split: Annotated[
        Literal["train", "test"], Option(help="Whose actors act in synthetic videos; choose settings on train.")
    ] = "test"
    seconds: Annotated[
        float,
        Option(
            bounds=click.FloatRange(min=0, min_open=True),
            metavar="N",
            help="Length of the video, where speed alone is measured.",
        ),
    ] = 60
    cameras: Annotated[
        int,
        Option(
            bounds=click.IntRange(min=1, max=64),
            metavar="N",
            help="How many cameras show it at once, where speed alone is measured.",
        ),
    ] = 1
    events: Events = EventSettings()
    waits: Annotated[
        str | None,
        Option(
            metavar="N,N,...",
            help="Also say what each of these waits (seconds before a start is said) costs and gives.",
        ),
    ] = None
    engine: EngineName = ENGINE
    threads: Threads = None

    def __post_init__(self) -> None:
        """Refuse waits that are none."""
        _ = self.other_events

    @property
    def other_events(self) -> tuple[EventSettings, ...]:
        """The event settings with each of the waits."""
        return () if self.waits is None else _read_waits(self.waits, self.events)


class RecordSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`stpr-record`: what to record, and where it goes. `--camera N` is source N."""

    source: str
    label: Annotated[str, Option(metavar="NAME", help="The action: clips go to a folder of this name.")]
    seconds: Annotated[
        float, Option(bounds=click.FloatRange(min=0.5, max=60), metavar="N", help="Length of each clip.")
    ] = 2
    count: Annotated[int, Option(bounds=click.IntRange(min=1), metavar="N", help="How many clips to record.")] = 10
    out: Annotated[Path, Option(metavar="DIR", help="The folder of classes.")] = Path("videos")
    countdown: Annotated[float, Option(bounds=click.FloatRange(min=0), metavar="N", help="Seconds before a clip.")] = 3
    yes: Annotated[bool, Option(help="Keep every clip without asking.")] = False


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


def _read_waits(text: str, settings: EventSettings) -> tuple[EventSettings, ...]:
    """The settings with each wait of a text such as `0,0.25,0.5`. Raises ContractError for a text that is none."""
    try:
        waits = [float(part) for part in text.split(",")]
    except ValueError:
        waits = [math.nan]
    if not all(math.isfinite(wait) and wait >= 0 for wait in waits):
        raise ContractError(f"--waits {text}: write seconds with commas between, such as 0,0.25,0.5.")
    return tuple(msgspec.structs.replace(settings, wait=wait) for wait in dict.fromkeys(waits))
