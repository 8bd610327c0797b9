"""`--mqtt`: what is seen, for a broker's subscribers.

    BASE/available      online, or offline: said at a clean end, and by the broker itself where this process is gone
    BASE/CAMERA/state   the newest prediction whose label or state is another, as a line of `--json`
    BASE/CAMERA/event   the start and the end of each action, as lines of `--json`

The first two are retained, so that who subscribes later knows them at once. Events reach the broker at least once:
while it is away they wait here. The network has a thread of its own, which connects again by itself.
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
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.credentials import read_secret
from stpr.runtime.sinks.sink import MissedError
from stpr.runtime.sinks.store import plain

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
USER, PASSWORD = "STPR_MQTT_USER", "STPR_MQTT_PASSWORD"
MOST_WAITING: Final = 1000  # events, while the broker is away
KEEPALIVE: Final = 20  # seconds of silence after which a broker, and for it this process, may be gone
LONGEST_PAUSE: Final = 30  # seconds between two attempts to connect; the first come after 1, 2, 4 …
CLOSE_SECONDS: Final = 0.5  # for the last messages to arrive

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is, and under which topic we speak there."""

    host: str
    port: int
    encrypted: bool
    topic: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.host}:{self.port}"


class Mqtt:
    """Publishes to one broker; that it is away, or refuses us, is told now and then and holds nothing up."""

    every_frame = False

    def __init__(self, broker: Broker, client: Client) -> None:
        """`client` is configured and not connected yet."""
        self._broker, self._client = broker, client
        self._encoder = msgspec.json.Encoder()
        self._refused = False  # by the broker, which closes the connection then
        self._said: dict[str, tuple[State, str | None]] = {}
        self._states: dict[str, bytes] = {}  # by topic: published again after every connection
        self._sent: set[int] = set()  # events that the broker has not confirmed, as far as was looked
        self._confirmed: deque[int] = deque()  # since then; no lock: the client calls us inside its own
        client.on_connect, client.on_connect_fail = self._connected, self._failed
        client.on_disconnect, client.on_publish = self._disconnected, self._arrived
        client.will_set(self._topic("available"), "offline", qos=1, retain=True)
        client.connect_async(broker.host, broker.port, keepalive=KEEPALIVE)
        client.loop_start()

    def write(self, result: Result) -> None:
        """Publish what is new. Raises MissedError where so many events wait that one more can't."""
        camera = plain(result.frame.source.name)
        if (prediction := result.prediction) is not None:
            topic, said = self._topic(camera, "state"), (prediction.state, prediction.label)
            if self._said.get(topic) != said:
                self._said[topic] = said
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
        """Say goodbye; events that have not arrived by then are told."""
        gone = self._client.publish(self._topic("available"), "offline", qos=1, retain=True)
        with suppress(RuntimeError, ValueError):  # no connection
            gone.wait_for_publish(CLOSE_SECONDS)
        self._client.disconnect()
        if lost := self._waiting():
            log.warning("mqtt: %d events have not reached the broker %s.", lost, self._broker.name)

    def _waiting(self) -> int:
        while self._confirmed:
            self._sent.discard(self._confirmed.popleft())
        return len(self._sent)

    def _topic(self, *parts: str) -> str:
        return "/".join((self._broker.topic, *parts))

    # What follows is called by the client, on its thread.

    def _connected(self, client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        self._refused = reason.is_failure
        if self._refused:
            log.error(
                "mqtt: the broker %s refuses us (%s); check user, password and rights.", self._broker.name, reason
            )
            return
        log.info("mqtt: connected to the broker %s.", self._broker.name)
        client.publish(self._topic("available"), "online", qos=1, retain=True)
        for topic, state in [*self._states.items()]:
            client.publish(topic, state, retain=True)

    def _failed(self, _client: Client, _data: object) -> None:
        error = sys.exc_info()[1]  # the client is handling it, and hands on no reason
        reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
        log.warning("mqtt: no broker at %s (%s); events wait until there is.", self._broker.name, reason)

    def _disconnected(self, _client: Client, _data: object, _flags: object, reason: Any, _more: object) -> None:
        if reason.is_failure and not self._refused:
            words = "the connection broke" if str(reason) == "Unspecified error" else reason
            log.warning("mqtt: the broker %s is gone (%s); events wait until it is back.", self._broker.name, words)

    def _arrived(self, _client: Client, _data: object, number: int, _reason: object, _more: object) -> None:
        self._confirmed.append(number)


def open_mqtt(settings: Settings) -> Mqtt | None:
    """What `--mqtt` asks for. Raises StprError where it can't be meant; a broker that is away is waited for."""
    if settings.mqtt is None:
        return None
    broker, login = parse_broker(settings.mqtt), _login(settings.mqtt_login)
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise StprError(f'--mqtt needs paho-mqtt ({error}): `pip install "stpr[mqtt]"`.') from error
    client = Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(MOST_WAITING + 1)  # beside the last word
    client.reconnect_delay_set(1, LONGEST_PAUSE)
    if login is not None:
        client.username_pw_set(*login)
    if broker.encrypted:
        client.tls_set_context(_trust(settings.mqtt_ca))
    return Mqtt(broker, client)


def parse_broker(address: str) -> Broker:
    """What `mqtt://HOST:PORT/TOPIC` says. Raises StprError for anything else, and for secrets in it."""
    if "@" in address:
        raise StprError(
            f"--mqtt must not hold a user or password, which every process here can read; set {USER} and {PASSWORD},"
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
        raise StprError(f"--mqtt {address} is no broker's address; say mqtt://HOST[:PORT][/TOPIC], or mqtts://.")
    return Broker(host, port or PORTS[parts.scheme], parts.scheme == "mqtts", topic or "stpr")


def _login(path: Path | None) -> tuple[str, str] | None:
    """User and password, of a file or else of the environment."""
    if path is not None:
        user, password = read_secret(path, "--mqtt-login", 2)
        return user, password
    user = os.environ.get(USER, "")
    return (user, os.environ.get(PASSWORD, "")) if user else None


def _trust(authority: Path | None) -> ssl.SSLContext:
    """Whom to believe that a broker is who it says: a file's authorities, or the system's."""
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise StprError(f"--mqtt-ca {authority} holds no certificates ({error}); name a PEM file.") from error
