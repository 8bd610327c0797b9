"""`--mqtt`: publish predictions and events to an MQTT broker.

    BASE/available      online or offline; set to offline at a clean end, else by the broker (last will)
    BASE/CAMERA/state   each prediction whose label or state has changed, as a line of `--json`
    BASE/CAMERA/event   starts and ends of actions, as lines of `--json`

The first two are retained, so that later subscribers get them immediately. Events are delivered at least once: while
the broker is unreachable they are queued here. The network runs in its own thread, which reconnects automatically.
"""

from __future__ import annotations

import logging
import os
import ssl
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from stpr.runtime.contract.errors import StprError
from stpr.runtime.decision import State
from stpr.runtime.log import Overdue
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.credentials import read_secret
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sinks.store import plain

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
USER, PASSWORD = "STPR_MQTT_USER", "STPR_MQTT_PASSWORD"
MOST_WAITING: Final = 1000  # events queued while the broker is unreachable
KEEPALIVE: Final = 20  # seconds of silence after which each side considers the other gone
LONGEST_PAUSE: Final = 30  # maximum seconds between attempts to connect: 1, 2, 4 …
CLOSE_SECONDS: Final = 0.5  # for the last messages to arrive

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """The address of a broker, and our base topic."""

    host: str
    port: int
    encrypted: bool
    topic: str

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.host}:{self.port}"


class Mqtt:
    """Publishes to one broker; if it is unreachable or refuses us, this is logged now and then and delays nothing."""

    every_frame = False

    def __init__(self, broker: Broker, client: Client) -> None:
        """`client` is configured, but not connected yet."""
        self._broker, self._client = broker, client
        self._encoder = msgspec.json.Encoder()
        self._refused = False  # the broker has refused the connection
        self._published: dict[str, tuple[State, str | None]] = {}
        self._states: dict[str, bytes] = {}  # by topic; published again after every reconnect
        self._sent: set[int] = set()  # events not known to be confirmed by the broker
        self._confirmed: deque[int] = deque()  # since then; no lock, since the client calls us inside its own
        self._attempt: Overdue | None = None  # the attempt to connect under way
        client.on_pre_connect = self._asks
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_disconnect, client.on_publish = self._disconnected, self._arrived
        client.will_set(self._topic("available"), "offline", qos=1, retain=True)
        client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE)
        client.loop_start()

    def write(self, result: Result) -> None:
        """Publish changed predictions and events. Raises MissedError if the queue of events is full."""
        camera = plain(result.frame.source.name)
        if (prediction := result.prediction) is not None:
            topic, state = self._topic(camera, "state"), (prediction.state, prediction.label)
            if self._published.get(topic) != state:
                self._published[topic] = state
                self._states[topic] = self._encoder.encode(prediction.line())
                if self._client.is_connected():
                    self._client.publish(topic, self._states[topic], retain=True)
        for event in result.events:
            if self._waiting() >= MOST_WAITING:
                raise MissedError(
                    f"{MOST_WAITING} events wait for the broker {self._broker.name}; see that it comes back."
                )
            sent = self._client.publish(self._topic(camera, "event"), self._encoder.encode(event), qos=1)
            self._sent.add(sent.mid)

    def close(self) -> None:
        """Publish offline and disconnect; undelivered events are logged."""
        gone = self._client.publish(self._topic("available"), "offline", qos=1, retain=True)
        with suppress(RuntimeError, ValueError):  # not connected
            gone.wait_for_publish(CLOSE_SECONDS)
        self._client.disconnect()
        self._answered()
        if lost := self._waiting():
            log.warning("mqtt: %d events have not reached the broker %s.", lost, self._broker.name)

    def _waiting(self) -> int:
        while self._confirmed:
            self._sent.discard(self._confirmed.popleft())
        return len(self._sent)

    def _topic(self, *parts: str) -> str:
        return "/".join((self._broker.topic, *parts))

    # The methods below are called by the client, in its thread.

    def _asks(self, _client: Client, _data: object) -> None:
        self._answered()
        self._attempt = Overdue(self._is_silent)

    def _is_silent(self, seconds: float) -> None:
        log.warning(
            "mqtt: the broker %s has not answered within %.0f s; events wait until it does.", self._broker.name, seconds
        )

    def _answered(self) -> bool:
        """Stop waiting for an answer to the attempt to connect; returns whether there was none yet."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.done()
        return attempt is not None

    def _connected(self, client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        self._answered()
        self._refused = reason.is_failure
        if self._refused:
            log.error(
                "mqtt: the broker %s refuses us (%s); check user, password and permissions.", self._broker.name, reason
            )
            return
        log.info("mqtt: connected to the broker %s.", self._broker.name)
        client.publish(self._topic("available"), "online", qos=1, retain=True)
        for topic, state in [*self._states.items()]:
            client.publish(topic, state, retain=True)

    def _failed(self, _client: Client, _data: object) -> None:
        self._answered()
        error = sys.exc_info()[1]  # the client is handling it, but does not pass the reason
        reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
        log.warning("mqtt: no broker at %s (%s); events wait until there is one.", self._broker.name, reason)

    def _disconnected(self, _client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        what = "did not answer" if self._answered() else "is gone"
        if reason.is_failure and not self._refused:
            words = "the connection broke" if str(reason) == "Unspecified error" else reason
            log.warning("mqtt: the broker %s %s (%s); events wait until it is back.", self._broker.name, what, words)

    def _arrived(self, _client: Client, _data: object, number: int, _reason: object, _more: object) -> None:
        self._confirmed.append(number)


def open_mqtt(settings: Settings) -> Mqtt | None:
    """Open the sink if `--mqtt` is set. Raises StprError for an invalid address; an absent broker is waited for."""
    if settings.mqtt is None:
        return None
    broker, login = parse_broker(settings.mqtt), _login(settings.mqtt_login)
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise StprError(f'--mqtt needs paho-mqtt ({error}): `pip install "stpr[mqtt]"`.') from error
    client = Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(MOST_WAITING + 1)  # plus the offline message
    client.reconnect_delay_set(1, LONGEST_PAUSE)
    if login is not None:
        client.username_pw_set(*login)
    if broker.encrypted:
        client.tls_set_context(_trust(settings.mqtt_ca))
    return Mqtt(broker, client)


def parse_broker(address: str) -> Broker:
    """Parse `mqtt://HOST:PORT/TOPIC`. Raises StprError for anything else, and for secrets in it."""
    if "@" in address:
        raise StprError(
            f"--mqtt must not contain a user or password, which every process here can read; set {USER} and {PASSWORD},"
            " or name a file with --mqtt-login."
        )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        host = port = None
    topic = parts.path.strip("/") if host else ""
    if not host or parts.scheme not in PORTS or set(address) & set("?#+\0"):
        raise StprError(f"--mqtt {address} is not a broker's address; write mqtt://HOST[:PORT][/TOPIC], or mqtts://.")
    return Broker(host, port or PORTS[parts.scheme], parts.scheme == "mqtts", topic or "stpr")


def _login(path: Path | None) -> tuple[str, str] | None:
    """User and password, from the file or else the environment."""
    if path is not None:
        user, password = read_secret(path, "--mqtt-login", 2)
        return user, password
    user = os.environ.get(USER, "")
    return (user, os.environ.get(PASSWORD, "")) if user else None


def _trust(authority: Path | None) -> ssl.SSLContext:
    """The trusted certificate authorities: the file's, or the system's."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise StprError(f"--mqtt-ca {authority} has no certificates ({error}); name a PEM file.") from error
