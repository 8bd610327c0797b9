"""What a certificate says of the figures in it."""

from __future__ import annotations

import pytest

from stpr.export.parity.certificate import Agreement, Certificate, Difference, summary


def difference(part: str, output: str, *, worst: float, scale: float, tolerance: float) -> Difference:
    return Difference(part=part, output=output, worst=worst, scale=scale, noise=0.0, tolerance=tolerance)


def test_share_of_no_decided_clip_is_whole() -> None:
    assert Agreement(part="clip", decision="routing", clips=2, undecided=2, disagreeing=0).share == 1.0


def test_the_manifest_carries_the_worst_of_each_output_and_what_a_device_must_repeat() -> None:
    certificate = Certificate(
        precision="fp32",
        engine="an engine",
        real_clips=("a", "b"),
        test_clips=5,
        random_seeds=(0,),
        batches=(1,),
        differences=(
            difference("encoder", "features", worst=1e-6, scale=50.0, tolerance=1e-2),
            difference("expert 1", "output", worst=0.5, scale=1.0, tolerance=1.0),  # no device runs it alone
            difference("head", "logits", worst=1e-6, scale=0.5, tolerance=1e-5),
            difference("live", "logits", worst=3e-6, scale=0.5, tolerance=4e-5),
            difference("clip", "logits", worst=2e-6, scale=0.5, tolerance=2e-5),
            difference("clip", "routing", worst=1e-7, scale=1.0, tolerance=1e-4),
            difference("live", "familiarity", worst=1e-3, scale=200.0, tolerance=2e-2),
        ),
        agreements=(
            Agreement(part="live", decision="top-1", clips=10, undecided=0, disagreeing=1),
            Agreement(part="clip", decision="top-1", clips=10, undecided=0, disagreeing=0),
            Agreement(part="clip", decision="routing", clips=10, undecided=5, disagreeing=1),
        ),
        rates=(),
        versions={},
    )
    found = summary(certificate)
    assert (found.clips, found.worst_logits, found.worst_familiarity) == (2, 3e-6, 1e-3)
    assert (found.top1_agreement, found.routing_agreement) == (0.9, 0.8)
    # Relative to the scale where that exceeds 1.
    assert found.tolerances == pytest.approx({"features": 2e-4, "logits": 4e-5, "routing": 1e-4, "familiarity": 1e-4})
