from __future__ import annotations

import dataclasses

import msgspec

from stpr.runtime.filters import FILTERS, open_filters
from stpr.runtime.filters.latest import Latest
from stpr.runtime.result import Result
from stpr.runtime.settings import Settings
from tests.factories import make_manifest
from tests.runtime.sinks.results import make_result


def test_each_camera_has_filters_of_its_own() -> None:
    settings = Settings(source="0")
    here, there = open_filters(settings, make_manifest()), open_filters(settings, make_manifest())
    assert len(here) == len(FILTERS)
    assert all(one is not other for one, other in zip(here, there, strict=True))


def test_between_two_predictions_the_newest_stays_and_it_is_that_of_the_filters_before() -> None:
    def shout(result: Result) -> Result:
        if result.prediction is None:
            return result
        assert result.prediction.label is not None
        louder = msgspec.structs.replace(result.prediction, label=result.prediction.label.upper())
        return dataclasses.replace(result, prediction=louder)

    latest, seen = Latest(), []
    for index, label in enumerate([None, "wave", None, None, "jump", None]):
        result = latest(shout(make_result(index, label or "", said=label is not None)))
        seen.append(None if result.latest is None else result.latest.label)
    assert seen == [None, "WAVE", "WAVE", "WAVE", "JUMP", "JUMP"]
