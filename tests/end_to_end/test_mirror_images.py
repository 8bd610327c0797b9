"""Movements that are each other's mirror images stay apart, and others count with theirs."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from stpr.train.cli import main


def test_only_movements_that_no_other_class_mirrors_count_with_their_mirror_images(tmp_path: Path) -> None:
    later = '["turn_clockwise", "slide_left", "fall_then_rise", "rise_then_fall", "shrink", "sway"]'
    stages = f'[["slide_right", "grow", "bob", "turn_counterclockwise"], {later}]'
    settings = (
        "data.train_per_class=10", "data.test_per_class=8", f"stages={{classes={stages}}}", "expert.layers=0",
        "statistics.mirror=true", "statistics.relative_motion=true",
    )  # fmt: skip
    changes = [part for setting in settings for part in ("--set", setting)]
    run = tmp_path / "run"
    ended = CliRunner().invoke(main, ["motions", "--data", str(tmp_path / "data"), *changes, "--out", str(run)])
    assert ended.exit_code == 0, ended.output
    found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert found["one_sided"] == ["slide_right", "turn_counterclockwise", "turn_clockwise", "slide_left"]
    assert found["final"] > 0.9
    report = (run / "report/report.md").read_text(encoding="utf-8")
    assert "but not for slide_right, turn_counterclockwise, turn_clockwise, slide_left:" in report
