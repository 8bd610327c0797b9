"""MQTT against real brokers, which are killed, restarted, and refuse: mosquitto where it is installed, and amqtt."""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from stpr.runtime import log
from stpr.runtime.contract.errors import StprError
from stpr.runtime.events import Start
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from stpr.runtime.sinks import open_sinks
from stpr.runtime.sinks.mqtt import MOST_WAITING, Broker, Mqtt, open_mqtt, parse_broker
from stpr.runtime.sinks.sink import MissedError
from tests.runtime.sinks.results import CAMERA, make_prediction, make_result

MOSQUITTO = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/bin:/usr/local/bin")
TOPIC = "stpr/camera-0/"


class Running:
    """A broker on a port of its own, in a process of its own."""

    def __init__(self, kind: str, folder: Path, extra: str = "") -> None:
        self.kind, self.folder = kind, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.extra = extra
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.folder / "broker.conf"
        if self.kind == "mosquitto":
            assert MOSQUITTO is not None
            config.write_text(f"user root\nlistener {self.port} 127.0.0.1\n" + (self.extra or "allow_anonymous true\n"))
            command = [MOSQUITTO, "-c", str(config)]
        else:
            config.write_text(
                f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{self.port}\n"
                "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
            )
            code = "from amqtt.scripts.broker_script import main; main()"
            command = [sys.executable, "-c", code, "-c", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        """As an administrator does, so that it keeps its sessions."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def wait_for(there: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    if request.param == "mosquitto" and MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    running = Running(request.param, tmp_path)
    yield running
    running.kill()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """Opens a mosquitto with more lines in its configuration."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    opened: list[Running] = []

    def open_it(extra: str) -> Running:
        opened.append(Running("mosquitto", tmp_path, extra))
        return opened[-1]

    yield open_it
    for running in opened:
        running.kill()


@contextmanager
def subscriber(broker: Running, session: str = "", **options: Any) -> Iterator[list[tuple[str, str, bool]]]:
    """All messages: topic, content, and whether the broker had retained it."""
    client = Client(CallbackAPIVersion.VERSION2, client_id=session, clean_session=not session)
    heard, ready = list[tuple[str, str, bool]](), list[int]()

    def hear(_client: Client, _data: object, message: MQTTMessage) -> None:
        heard.append((message.topic, message.payload.decode(), message.retain))

    client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: ready.append(1)
    client.on_message = hear
    for name, value in options.items():
        getattr(client, name)(*value)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    wait_for(lambda: ready)
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def opened(broker: Running, **changes: Any) -> Mqtt:
    sink = open_mqtt(Settings(source="0", mqtt=broker.address, **changes))
    assert sink is not None
    return sink


def seen(index: int = 0, label: str | None = "wave") -> Result:
    return make_result(index, label, source=CAMERA)


def event(number: int) -> Result:
    time = "2026-01-01T00:00:00+00:00"
    start = Start(id=number, label="wave", stage=1, score=0.9, frame=0, time=time, peak_frame=0, peak_time=time)
    return dataclasses.replace(make_result(said=False, source=CAMERA), events=(start,))


def said(heard: list[tuple[str, str, bool]], topic: str) -> list[str]:
    return [content for found, content, _ in heard if found == topic]


def test_states_events_and_whether_it_is_there(broker: Running) -> None:
    with subscriber(broker) as heard:
        with closing(opened(broker)) as sink:
            wait_for(lambda: said(heard, "stpr/available") == ["online"])
            for index, label in enumerate((None, "wave", "wave", "jump")):
                sink.write(seen(index, label))
            sink.write(event(7))
            wait_for(lambda: said(heard, TOPIC + "event"))
            with subscriber(broker) as later:  # knows at once how things stand
                wait_for(lambda: len(set(later)) == 2)  # amqtt says them twice
                assert {(topic, retained) for topic, _, retained in later} == {
                    ("stpr/available", True),
                    (TOPIC + "state", True),
                }
                line = msgspec.json.encode(make_prediction(3, "jump").line())
                assert set(said(later, TOPIC + "state")) == {line.decode()}
        wait_for(lambda: said(heard, "stpr/available") == ["online", "offline"])
    states = [json.loads(line) for line in said(heard, TOPIC + "state")]
    assert [(line["state"], line["label"], line["frame"]) for line in states] == [
        ("warming_up", None, 0),
        ("known", "wave", 1),
        ("known", "jump", 3),
    ]
    assert json.loads(said(heard, TOPIC + "event")[0])["id"] == 7


def test_a_process_that_is_gone_is_said_to_be_offline(broker: Running) -> None:
    code = (
        "import sys, time; from stpr.runtime.settings import Settings; from stpr.runtime.sinks.mqtt import open_mqtt\n"
        f"sink = open_mqtt(Settings(source='0', mqtt='{broker.address}/house/yard')); time.sleep(60)"
    )
    with subscriber(broker) as heard:
        process = subprocess.Popen([sys.executable, "-c", code])
        wait_for(lambda: said(heard, "house/yard/available") == ["online"])
        process.kill()
        process.wait()
        wait_for(lambda: said(heard, "house/yard/available") == ["online", "offline"])


def test_a_broker_that_was_killed_knows_all_again_once_it_is_back(
    broker: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(opened(broker)) as sink:
        wait_for(sink._client.is_connected)
        sink.write(seen())
        for attempt in range(2):
            broker.kill()
            wait_for(lambda: not sink._client.is_connected())
            sink.write(seen(1, f"label {attempt}"))
            sink.write(event(10 + attempt))
            broker.start()
            with subscriber(broker) as heard:
                wait_for(lambda heard=heard: said(heard, "stpr/available") and said(heard, TOPIC + "state"))  # type: ignore[misc]
                assert said(heard, "stpr/available")[-1] == "online"
                assert json.loads(said(heard, TOPIC + "state")[-1])["label"] == f"label {attempt}"
                wait_for(lambda: sink._waiting() == 0)  # it confirmed the event
    assert f"mqtt: the broker 127.0.0.1:{broker.port} is gone (the connection broke)" in caplog.messages[0]
    assert all(f" 127.0.0.1:{broker.port} " in words for words in caplog.messages)


def test_every_event_arrives_however_often_the_broker_is_away(
    mosquitto: Callable[[str], Running], tmp_path: Path
) -> None:
    """The listener has a session that the broker keeps over restarts, so that only our own losses would count."""
    broker = mosquitto(f"allow_anonymous true\npersistence true\npersistence_location {tmp_path}/\n")
    with subscriber(broker, session="listener") as heard, closing(opened(broker)) as sink:
        wait_for(sink._client.is_connected)
        for number in range(30):
            if number in {5, 15}:
                broker.end()
            sink.write(event(number))
            if number in {8, 18}:
                broker.start()
                wait_for(lambda: sink._waiting() == 0)
        numbers = range(30)
        wait_for(lambda: {json.loads(line)["id"] for line in said(heard, TOPIC + "event")} == set(numbers))


def test_a_broker_that_is_not_there_holds_up_neither_start_nor_end(
    broker: Running, caplog: pytest.LogCaptureFixture
) -> None:
    broker.kill()
    begun = time.monotonic()
    sinks = open_sinks(Settings(source="0", headless=True, mqtt=broker.address))
    sinks.write(seen())
    sinks.write(event(1))
    wait_for(lambda: caplog.messages)
    sinks.close()
    assert time.monotonic() - begun < 3
    assert caplog.messages[0] == (
        f"mqtt: no broker at 127.0.0.1:{broker.port} (Connection refused); events wait until there is one."
    )
    assert caplog.messages[-1] == f"mqtt: 1 events have not reached the broker 127.0.0.1:{broker.port}."


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_broker_that_takes_the_connection_and_says_nothing_is_told(
    hangs_up: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "FIRST_WORD_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        sink = open_mqtt(Settings(source="0", mqtt=f"mqtt://{place}"))
        assert sink is not None
        with closing(sink), silent.accept()[0] as taken:
            if hangs_up:
                taken.close()
            wait_for(lambda: caplog.messages)
    if hangs_up:
        assert caplog.messages[0].startswith(f"mqtt: the broker {place} did not answer (")
    else:
        assert caplog.messages[0] == f"mqtt: the broker {place} has not answered within 0 s; events wait until it does."


def test_what_waits_is_bounded_and_the_rest_counted(broker: Running) -> None:
    broker.kill()
    sink = opened(broker)
    for number in range(MOST_WAITING):
        sink.write(event(number))
    with pytest.raises(MissedError, match=f"^{MOST_WAITING} events wait for the broker"):
        sink.write(event(MOST_WAITING))
    broker.start()
    wait_for(lambda: sink._waiting() == 0)
    sink.write(event(0))
    sink.close()


@pytest.mark.parametrize("how", ["file", "environment"])
def test_credentials_come_from_a_file_or_the_environment_and_are_not_shown(
    mosquitto: Callable[[str], Running],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "eve", "s3cret: ü"], check=True, capture_output=True)
    broker = mosquitto(f"allow_anonymous false\npassword_file {users}\n")
    login = tmp_path / "login"

    def opened_with(password: str) -> Mqtt:
        if how == "environment":
            monkeypatch.setenv("STPR_MQTT_USER", "eve")
            monkeypatch.setenv("STPR_MQTT_PASSWORD", password)
            return opened(broker)
        login.write_text(f"eve\n{password}\n", encoding="utf-8")
        return opened(broker, mqtt_login=login)

    with closing(opened_with("s3cret: ü")) as sink:
        wait_for(sink._client.is_connected)
    assert not caplog.messages
    with closing(opened_with("wrong")):
        wait_for(lambda: caplog.messages)
    assert caplog.messages == [
        f"mqtt: the broker 127.0.0.1:{broker.port} refuses us (Not authorized); check user, password and permissions."
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to Python
def test_tls_is_spoken_with_whom_the_authority_vouches_for(
    mosquitto: Callable[[str], Running], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "pem")]
    subprocess.run(make, check=True, capture_output=True)
    broker = mosquitto(f"allow_anonymous true\ncertfile {tmp_path / 'pem'}\nkeyfile {tmp_path / 'key'}\n")
    address = broker.address.replace("mqtt:", "mqtts:")
    context = ssl.create_default_context(cafile=tmp_path / "pem")
    with subscriber(broker, tls_set_context=[context]) as heard:
        sink = open_mqtt(Settings(source="0", mqtt=address, mqtt_ca=tmp_path / "pem"))
        assert sink is not None
        wait_for(lambda: said(heard, "stpr/available") == ["online"])
        sink.close()
    stranger = open_mqtt(Settings(source="0", mqtt=address))
    assert stranger is not None
    wait_for(lambda: caplog.messages)
    stranger.close()
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("paho")])
    gc.collect()
    assert caplog.messages == [
        f"mqtt: no broker at 127.0.0.1:{broker.port} (self-signed certificate); events wait until there is one."
    ]


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("mqtt://broker", Broker("broker", 1883, False, "stpr")),
        ("mqtts://10.0.0.1/house/yard/", Broker("10.0.0.1", 8883, True, "house/yard")),
        ("mqtt://[::1]:99/a", Broker("::1", 99, False, "a")),
    ],
)
def test_an_address_says_where_and_under_which_topic(address: str, meant: Broker) -> None:
    assert parse_broker(address) == meant


@pytest.mark.parametrize(
    "address",
    [
        "",
        "broker",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://a:b",
        "mqtt://a/#",
        "mqtt://a/x?y",
        "mqtt://a:99999",
    ],
)
def test_what_is_no_address_is_one_line(address: str) -> None:
    with pytest.raises(StprError, match=r"^--mqtt .* is not a broker's address; write mqtt://HOST"):
        parse_broker(address)


@pytest.mark.parametrize("address", ["mqtt://adam:s3cret@broker", "adam:s3cret@broker", "mqtt://a/adam:s3cret@"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(StprError, match="STPR_MQTT_PASSWORD") as caught:
        parse_broker(address)
    assert "s3cret" not in str(caught.value)
    assert "adam" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"eve\n", b"\ns3cret\n", b"eve\ns3cret\nmore\n", b"\xff\n\xfe\n", None])
def test_a_file_of_credentials_that_is_none_is_one_line_without_them(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "login").write_bytes(content)
    with pytest.raises(StprError, match=r"--mqtt-login .*login (\(|holds \d lines; write 2 lines there)") as caught:
        open_mqtt(Settings(source="0", mqtt="mqtt://broker", mqtt_login=tmp_path / "login"))
    assert "s3cret" not in str(caught.value)


def test_what_holds_no_certificates_is_one_line(tmp_path: Path) -> None:
    for content in (None, b"no certificate"):
        if content is not None:
            (tmp_path / "ca.pem").write_bytes(content)
        with pytest.raises(StprError, match=r"^--mqtt-ca .*ca\.pem has no certificates .*; name a PEM file\.$"):
            open_mqtt(Settings(source="0", mqtt="mqtts://broker", mqtt_ca=tmp_path / "ca.pem"))
