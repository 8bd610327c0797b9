"""Sinks: the outputs of a run. Read in this order: sink, background, group, then any of the others.

To add one: a file with a function that opens it, then its import and its entry in SINKS here. It is enabled by a field
of Settings (runtime/settings.py), which is also its command-line option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stpr.runtime.contract.errors import StprError
from stpr.runtime.settings import Settings
from stpr.runtime.sinks.clips import open_clips
from stpr.runtime.sinks.group import Sinks, open_all
from stpr.runtime.sinks.json_lines import open_json_lines
from stpr.runtime.sinks.mqtt import open_mqtt
from stpr.runtime.sinks.recording import open_recording
from stpr.runtime.sinks.sink import Counts, Sink, StopRun
from stpr.runtime.sinks.targets import check_targets
from stpr.runtime.sinks.text import open_text
from stpr.runtime.sinks.webhook import open_webhook
from stpr.runtime.sinks.window import open_window, why_no_window

__all__ = ["SINKS", "Counts", "Sinks", "StopRun", "open_sinks", "why_no_window"]

# Each opens its sink if the settings enable it, else returns None.
SINKS: Mapping[str, Callable[[Settings], Sink | None]] = {
    "json": open_json_lines,
    "text": open_text,
    "record": open_recording,
    "clips": open_clips,
    "mqtt": open_mqtt,
    "webhook": open_webhook,
    "window": open_window,
}


def open_sinks(settings: Settings) -> Sinks:
    """Open the sinks that the settings enable. Raises StprError if one fails, after closing the others.

    Also raises if there is neither a sink nor a page, since the run would have no output.
    """
    check_targets(settings)
    sinks = open_all(SINKS, settings)
    if not len(sinks) and settings.serve is None:
        raise StprError("the run would have no output, since standard output is closed; add --json FILE or --serve.")
    return sinks
