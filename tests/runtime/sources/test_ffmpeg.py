"""Each address has its own options of FFmpeg, which OpenCV takes from the environment alone."""

from __future__ import annotations

import os
import threading
import time

import pytest

from stpr.runtime.sources.ffmpeg import FFMPEG_OPTIONS, Environment, open_with_ffmpeg


def passed(options: dict[str, str]) -> str:
    open_with_ffmpeg("/no/such/film", options=options).release()
    return os.environ[FFMPEG_OPTIONS]


def test_options_of_a_stream_are_not_those_of_the_next_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FFMPEG_OPTIONS, raising=False)
    assert passed({"rtsp_transport": "udp", "fpsprobesize": "0"}) == "rtsp_transport;udp|fpsprobesize;0"
    assert passed({}) == ""
    assert passed({"rtsp_transport": "tcp"}) == "rtsp_transport;tcp"


def test_the_options_of_the_user_have_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FFMPEG_OPTIONS, "rtsp_transport;http")
    assert passed({"rtsp_transport": "udp"}) == passed({}) == "rtsp_transport;http"


def test_options_of_streams_that_are_opened_at_the_same_time_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV reads the environment at some moment of its opening: it must be the stream's own until the end of it."""
    monkeypatch.delenv(FFMPEG_OPTIONS, raising=False)
    environment, wrong, at_once, most = Environment(), [], 0, 0

    def opened(words: str) -> None:
        nonlocal at_once, most
        for _ in range(20):
            with environment.with_options(words):
                at_once += 1
                most = max(most, at_once)
                time.sleep(0.002)
                wrong.extend([words] if os.environ[FFMPEG_OPTIONS] != words else [])
                at_once -= 1

    threads = [threading.Thread(target=opened, args=(words,)) for words in ("a;1", "a;1", "a;1", "b;2", "c;3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert most > 1  # the same ones need not wait for each other
