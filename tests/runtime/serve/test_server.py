"""A run that is asked over HTTP: health, metrics, pictures, and what it does not do for everybody."""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from stpr.runtime.cli import run as run_command
from stpr.runtime.contract.bundle import open_bundle
from tests.factories import make_bundle, make_video
from tests.runtime.serve.runs import TOKEN, Served, clips_of, make_clip, served

BEARER = {"Authorization": f"Bearer {TOKEN}"}
CAMERA = {"camera": "synthetic:motions"}


@contextmanager
def chdir(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("watched"))


@pytest.fixture(scope="module")
def run(bundle: Path) -> Iterator[Served]:
    with served(bundle.parents[1]) as one:
        yield one


def test_health_says_what_runs_and_how_old_its_picture_is(run: Served, bundle: Path) -> None:
    said = run.ask("/healthz").json
    manifest = open_bundle(bundle)
    assert said["status"] == "ok"
    assert said["bundle"] == {"name": "toy", "stage": 2, "digest": manifest.digest}
    assert (said["engine"], said["precision"]) == ("onnxruntime CPUExecutionProvider", "fp32")
    assert said["parity"] == {"clips": 1, "worst_logits": 1e-7, "top1_agreement": 1.0}
    assert 0 <= said["newest_frame_age_seconds"]["synthetic:motions"] < 5
    ready = run.ask("/readyz")
    assert (ready.status, ready.json) == (200, {"ready": True, "blind": {}})


def values(run: Served, accept: str = "text/plain") -> dict[tuple[str, str], float]:
    """Every sample of `/metrics` as Prometheus's own library reads it, by name and by its label besides the camera."""
    answer = run.ask("/metrics", headers={"Accept": accept})
    assert answer.status == 200
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation
        for sample in family.samples:
            others = {key: value for key, value in sample.labels.items() if key != "camera"}
            if sample.name.startswith("stpr_") and "camera" in sample.labels:
                assert sample.labels["camera"] == "synthetic:motions"
            found[sample.name, ",".join(others.values())] = sample.value
    return found


def test_metrics_are_read_by_prometheus_and_grow_with_the_run(run: Served, bundle: Path) -> None:
    first = values(run)
    run.wait_for(lambda state: state["cameras"]["synthetic:motions"]["frames"] > first["stpr_frames_total", ""] + 16)
    second = values(run)
    assert second["stpr_frames_total", ""] > first["stpr_frames_total", ""] > 0
    assert second["stpr_frames_total", ""] > second["stpr_frames_encoded_total", ""] > 0
    assert second["stpr_latency_seconds_count", ""] == second["stpr_latency_seconds_bucket", "+Inf"]
    assert abs(second["stpr_latency_seconds_count", ""] - second["stpr_predictions_total", ""]) <= 1
    heights = [second["stpr_latency_seconds_bucket", bound] for bound in ("0.002", "0.05", "1.0", "+Inf")]
    assert heights == sorted(heights)
    assert 0 < second["stpr_latency_seconds_sum", ""] < 60
    assert 0 <= second["stpr_newest_frame_age_seconds", ""] < 5
    assert {second[name, ""] for name in ("stpr_reconnects_total", "stpr_frames_unreadable_total")} == {0}
    assert second["stpr_bundle_stage", ""] == 2
    assert second["stpr_parity_top1_agreement_ratio", ""] == 1
    assert second["process_resident_memory_bytes", ""] > 1e6
    (info,) = [key for name, key in second if name == "stpr_bundle_info"]
    assert open_bundle(bundle).digest in info
    assert "onnxruntime CPUExecutionProvider" in info


def test_the_picture_is_what_the_camera_sees_and_moves_on(run: Served) -> None:
    first = run.ask("/picture")
    second = run.ask(f"/picture?camera=synthetic:motions&after={first.headers['X-Frame']}")
    assert int(second.headers["X-Frame"]) > int(first.headers["X-Frame"])
    assert second.headers["Content-Type"] == "image/jpeg"
    pictures = [cv2.imdecode(np.frombuffer(one.body, np.uint8), cv2.IMREAD_COLOR) for one in (first, second)]
    one, other = map(np.asarray, pictures)
    assert one.shape == other.shape == (96, 96, 3)
    assert not np.array_equal(one, other)
    for path in ("/picture?camera=none", "/picture?after=x", "/picture?after=-2"):
        assert run.ask(path).status == 404


@pytest.mark.parametrize("path", ["/update", "/roll-back"])
@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        ({}, 401, "needs the token"),
        ({"Authorization": "Bearer wrong"}, 401, "needs the token"),
        ({"Authorization": TOKEN}, 401, "needs the token"),
        ({"Cookie": f"token={TOKEN}"}, 401, "needs the token"),
        (BEARER | {"Origin": "http://evil.example"}, 403, "another site"),
        (BEARER | {"Origin": "null"}, 403, "another site"),
        (BEARER | {"Sec-Fetch-Site": "cross-site"}, 403, "another site"),
        (BEARER | {"Host": "evil.example"}, 403, "name localhost"),
    ],
)
def test_nothing_is_changed_for_others(run: Served, path: str, headers: dict[str, str], status: int, why: str) -> None:
    answer = run.ask(path, headers=headers, body=b"{}")
    assert answer.status == status
    assert why in answer.json["error"]
    assert TOKEN not in answer.body.decode()


def test_a_foreign_name_that_leads_here_reads_nothing(run: Served) -> None:
    """A page of elsewhere can have its own name answered with 127.0.0.1; the browser then thinks this is its server."""
    for path in ("/state", "/picture", "/metrics", "/bundle"):
        assert run.ask(path, headers={"Host": "evil.example:80"}).status == 403
        assert run.ask(path, headers={"Host": "[::1]:80"}).status == 200


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 400, "can't be read"),
        (b"{", 400, "can't be read"),
        (b'{"digest": 3}', 400, "can't be read"),
        (b'{"digest": "ab"}', 404, "no bundle with that digest"),
        (b" " * 5000, 413, "more than 4096 bytes"),
    ],
)
def test_bad_wishes_are_answered_in_one_line(run: Served, body: bytes, status: int, why: str) -> None:
    answer = run.ask("/update", headers=BEARER, body=body)
    assert answer.status == status
    assert why in answer.json["error"]


def test_there_is_nothing_to_roll_back_to_at_first(run: Served) -> None:
    answer = run.ask("/roll-back", headers=BEARER, body=b"")
    assert (answer.status, answer.json["error"][:24]) == (409, "nothing ran here before ")


def test_a_clip_is_given_whole_in_part_and_as_pictures(run: Served, bundle: Path) -> None:
    clip = make_clip(clips_of(bundle.parents[1]), "20260102T030405Z_synthetic-motions-wave-1.mp4")
    time.sleep(1.1)
    (listed,) = run.ask("/clips").json
    assert (listed["name"], listed["title"], listed["camera"]) == (clip.name, "wave", "synthetic-motions")
    path = f"/clips/{clip.name}"
    whole = run.ask(path)
    assert (whole.status, whole.body) == (200, clip.read_bytes())
    assert whole.headers["Content-Type"] == "video/mp4"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    part = run.ask(path, headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, clip.read_bytes()[100:200])
    assert run.ask(path, headers={"Range": "bytes=99999999-"}).status == 416
    film = run.ask(f"{path}/pictures")
    assert (film.headers["X-Rate"], film.headers["X-Pictures"]) == ("15", "30")
    rest, shades = film.body, []
    while rest:
        length = int.from_bytes(rest[:4], "big")
        picture = cv2.imdecode(np.frombuffer(rest[4 : 4 + length], np.uint8), cv2.IMREAD_COLOR)
        shades.append(float(np.mean(np.asarray(picture))))
        rest = rest[4 + length :]
    assert shades == pytest.approx([8 * number for number in range(30)], abs=6)
    os.utime(clip)
    assert (again := run.ask(path)).status == 409
    assert "is still being written" in again.json["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/clips/..%2f..%2fupdates.json",
        "/clips/../updates.json",
        "/clips/%2e%2e%2fupdates.json/pictures",
        "/clips/20260102T030405Z_%2fetc%2fpasswd.mp4",
        "/clips/20260102T030405Z_gone.mp4",
        "/clips/20260102T030405Z_gone.mp4/pictures",
        "/clips//etc/passwd",
        "/clips/20260102T030405Z_%00.mp4",
        "/clips/20260102T030405Z_%ff.mp4",
    ],
)
def test_no_file_but_a_clip_is_given(run: Served, path: str) -> None:
    answer = run.ask(path)
    assert answer.status == 404
    assert b"schema" not in answer.body
    assert run.ask("/clips", headers={"Host": "evil.example"}).status == 403
    assert run.ask("/clips/20260102T030405Z_gone.mp4", headers={"Host": "evil.example"}).status == 403


def test_junk_does_no_harm(run: Served) -> None:
    rng = random.Random(0)
    host, port = run.url.removeprefix("http://").split(":")
    before = run.ask("/state").json["cameras"]["synthetic:motions"]["frames"]
    for number in range(200):
        words = [
            b"GET",
            b"POST",
            b"/",
            b"/picture?after=",
            b"/update",
            b" HTTP/1.1\r\n",
            b"Host: localhost\r\n",
            b"\r\n",
        ]
        words += [
            b"Content-Length: 99999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
            rng.randbytes(rng.randrange(99)),
        ]
        junk = b"".join(rng.choices(words, k=rng.randrange(1, 12))) + (b"A" * 99_999 if number % 50 == 0 else b"")
        if number % 10 == 0:  # the library that reads requests trips over these
            junk = [b"PUT /state HTTP/1.1\r\n", b"HEAD /%00 HTTP/1.1\r\n"][number // 10 % 2] + (
                b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            )
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.settimeout(0.01)
            try:
                connection.sendall(junk)
                connection.recv(100)
            except OSError:
                pass
    assert run.ask("/healthz").status == 200
    run.wait_for(lambda state: state["cameras"]["synthetic:motions"]["frames"] > before)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--serve", "0.0.0.0:0"], "is open to other machines and needs a token: set STPR_TOKEN or --token-file FILE"),
        (["--serve", "[::]:0"], "is open to other machines and needs a token"),
        (["--serve", "host:port"], "--serve takes HOST:PORT, such as localhost:8080, not 'host:port'"),
        (["--serve", "localhost:0", "--token-file", "nowhere"], "the token in nowhere can't be read"),
        (["--serve", "localhost:0", "--token-file", "short"], "the token has 3 characters; use 16 or more"),
        (["--serve", "192.0.2.1:0", "--token-file", "long"], "can't serve on 192.0.2.1:0"),
    ],
)
def test_what_can_not_be_served_is_one_line(tmp_path: Path, bundle: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "long").write_text(f"{TOKEN}\n")
    assert why in failed(tmp_path, bundle, *arguments)


def test_two_runs_can_not_have_one_port(tmp_path: Path, bundle: Path, run: Served) -> None:
    port = run.url.rpartition(":")[2]
    said = failed(tmp_path, bundle, "--serve", f"127.0.0.1:{port}")
    assert f"can't serve on 127.0.0.1:{port} (Address already in use); choose another" in said


def test_a_package_that_is_not_there_is_named_with_its_extra(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert 'pip install "stpr[serve]"' in failed(tmp_path, bundle, "--serve", "localhost:0")


def failed(folder: Path, bundle: Path, *arguments: str) -> str:
    """What a run that must not begin says last."""
    video = make_video(folder / "clip.avi")
    runner = CliRunner()
    with chdir(folder):
        done = runner.invoke(run_command, ["--source", str(video), "--bundle", str(bundle), "--headless", *arguments])
    assert done.exit_code == 2, done.output
    *_, last = done.output.splitlines()
    assert last.startswith("Error: ")
    return last
