"""Each address has its own options of FFmpeg, which OpenCV takes from the environment alone."""

from __future__ import annotations

import os

import pytest

from stpr.runtime.sources.ffmpeg import FFMPEG_OPTIONS, open_with_ffmpeg


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
