"""What every test may ask for, and which tests run when: `--quick` leaves the slow ones out, `--rare` runs the rest."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

# A time limit per example fails on a busy machine, and says nothing about the code.
settings.register_profile("stpr", deadline=None)
settings.load_profile("stpr")

HERE: Final = Path(__file__).parent
SLOW: Final = (  # folders and files that take more than some seconds: whole runs, exports, statistics over seeds
    "architecture/test_import_rules.py",
    "end_to_end",
    "export/graphs",
    "export/package",
    "export/parity/test_gate.py",
    "export/precisions/test_variants.py",
    "export/served",
    "export/test_cli.py",
    "export/test_measure_engines.py",
    "export/test_targets.py",
    "runtime/contract/test_durable.py",
    "runtime/sinks/test_clips.py",
    "runtime/sinks/test_mqtt.py",
    "runtime/sinks/test_recording.py",
    "runtime/sinks/test_webhook.py",
    "runtime/doctor",
    "runtime/record/test_record.py",
    "runtime/sources/test_stream.py",
    "runtime/test_cli.py",
    "runtime/serve/test_page.py",
    "runtime/serve/test_server.py",
    "runtime/test_stopping.py",
    "runtime/updates/test_building.py",
    "runtime/updates/test_updater.py",
    "train/cli",
    "train/estimate/test_audit.py",
    "train/estimate/test_dry_run.py",
    "train/estimate/test_work.py",
    "train/methods",
    "train/learning/test_frozen_pass.py",
    "train/model/test_backbone.py",
    "train/model/test_processor.py",
    "train/model/test_tiny_backbone.py",
    "train/report/test_run.py",
    "train/run/test_checkpoint.py",
    "train/run/test_task.py",
    "export/parity/test_departure.py",
    "runtime/sources/test_network.py",
    "runtime/sinks/test_background.py",
    "train/datasets/test_benchmarks.py",
    "runtime/test_motions_streams.py",
    "runtime/test_service.py",
    "train/model/scores/test_reliability.py",
    "runtime/sources/test_live.py",
    "runtime/sources/test_reasons.py",
    "runtime/sources/test_relay.py",
    "runtime/sources/test_recorded.py",
    "runtime/sources/test_waiting.py",
    "train/report/test_needs.py",
    "train/report/test_strips.py",
    "runtime/test_torch_free.py",
    "runtime/serve/test_shelf.py",
    "train/data/test_videos.py",
    "runtime/sources/test_pictures.py",
    "runtime/sinks/test_strip.py",
    "runtime/sources/test_uris.py",
    "runtime/contract/test_delta.py",
    "runtime/contract/test_interlaced.py",
    "train/estimate/test_cost.py",
    "train/run/test_execute.py",
    "train/run/test_old_runs.py",
    "architecture/test_wheel.py",
    "runtime/bench/test_bench.py",
    "runtime/contract/test_mp4.py",
    "runtime/contract/test_old_bundles.py",
    "train/compare/test_jobs.py",
    "train/data/test_cache.py",
    "train/data/test_clips.py",
    "train/data/test_source.py",
    "train/learning/test_stage_clips.py",
    "train/model/test_class_vectors.py",
    "train/report/test_page.py",
    "train/run/test_background.py",
    "train/run/test_open_set.py",
    "runtime/bench/test_videos.py",
    "runtime/contract/test_command.py",
    "runtime/filters/test_watchdog.py",
    "runtime/record/test_look.py",
    "runtime/test_log.py",
    "runtime/test_motions.py",
    "train/datasets/test_motions_writer.py",
    "train/learning/test_precision.py",
    "train/run/test_calibration.py",
    "train/run/test_clips.py",
    "train/run/test_protocol.py",
)
RARE: Final = (  # takes minutes and rarely breaks: a tier of its own, `./tools/test --rare`, which CI runs as well
    "architecture/test_site.py",
    "end_to_end/test_clip_graph_alone.py",
    "end_to_end/test_documents.py",
    "end_to_end/test_killed.py",
    "end_to_end/test_later_stage.py",
    "end_to_end/test_readme.py",
    "end_to_end/test_real_data.py",
    "end_to_end/test_two_processes.py",
    "export/graphs/test_any_network.py",
    "export/graphs/test_grid.py",
    "export/graphs/test_operators.py",
    "export/graphs/test_plain.py",
    "export/graphs/test_trace.py",
    "export/package/test_card.py",
    "export/package/test_large_network.py",
    "export/package/test_old_runs.py",
    "export/parity/test_departure.py",
    "export/parity/test_gate.py",
    "export/precisions/test_variants.py",
    "export/served",
    "export/test_measure_consumers.py",
    "export/test_measure_engines.py",
    "export/test_measure_stages.py",
    "export/test_measure_updates.py",
    "export/test_targets.py",
    "runtime/contract/test_durable.py",
    "runtime/sources/test_soak.py",
    "runtime/sources/test_stream.py",
    "runtime/test_stopping.py",
    "train/estimate/test_audit.py",
    "train/estimate/test_work.py",
    "train/methods/test_baselines.py",
    "train/model/test_any_network.py",
    "train/model/test_tiny_backbone.py",
    "train/report/test_run.py",
    "train/test_measure_first_session.py",
)
TIERS: Final = {"slow": SLOW, "rare": RARE}


def pytest_configure() -> None:
    """Take signals as a terminal's processes do: started in the background or by nohup, pytest ignores some of them.

    What is ignored is inherited, and tests stop processes by such signals.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of other tiers before they are imported, which takes longer than running some."""
    chosen = config.getoption("markexpr")
    left_out = [path for name, paths in TIERS.items() if f"not {name}" in chosen for path in paths]
    return True if str(collection_path.relative_to(HERE)) in left_out else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of each tier, so that `-m` can choose among them, and run slow ones first: none is left alone."""
    for name, paths in TIERS.items():
        marked = {str(HERE / path) for path in paths}
        assert all(map(os.path.exists, marked)), f"{name.upper()} in tests/conftest.py names what is not there"
        for item in items:
            if not marked.isdisjoint(_and_folders(str(item.path))):
                item.add_marker(name)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@cache
def _and_folders(file: str) -> list[str]:
    """A file and the folders that it is in."""
    return [file, *map(str, Path(file).parents)]


@pytest.fixture(autouse=True)
def _end_processes() -> Iterator[None]:
    """End the processes that a test started and, having failed, left running: they would slow all tests after it."""
    before = _children()
    yield
    for child in _children() - before:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _children() -> set[int]:
    """The processes that this one started; without those that Python keeps for its own use, which start but once."""
    found = set[int]()
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            found |= {int(child) for child in file.read_text().split()}
    return {child for child in found if b"multiprocessing" not in _command_line(child)}


def _command_line(process: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the repository; the test is skipped where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data at ../shared/data")
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte: less than a bundle takes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)
