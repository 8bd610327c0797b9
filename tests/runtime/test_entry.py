"""Signals while a command's modules are still being imported: a real process, held in an import."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from stpr.runtime.entry import NOTHING, SIGNALS

HELD = """
import sys, time
from importlib.abc import MetaPathFinder
class Held(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            print("importing", flush=True)
            time.sleep(20)
sys.meta_path.insert(0, Held())
from stpr.runtime.entry import {0}
{0}()
"""


@pytest.mark.parametrize("command", ["run", "record"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_import_is_a_clean_end(command: str, number: signal.Signals) -> None:
    program = [sys.executable, "-c", HELD.format(command)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=5)
    assert (process.returncode, said) == (0, f"{NOTHING}\n")
