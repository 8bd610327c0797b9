"""Check which engines can really run a graph here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from stpr.runtime.contract.errors import EngineError
from stpr.runtime.doctor.finding import Finding, broken, note, ok
from stpr.runtime.doctor.libraries import ON_JETSON, version_of
from stpr.runtime.engines import DEFAULTS, ENGINES, open_engine
from stpr.runtime.settings import ENGINE

# y = x + x for four numbers, opset 18, IR 10, as in bundles; tests/runtime/doctor builds it with the onnx package.
TINY: Final = bytes.fromhex(
    "080a12003a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a08080112040a020804620f0a0179120a0a08080112040a02"
    "080442040a001012"
)

FOR_JETSON: Final = (
    "use --engine tensorrt, which JetPack brings; onnxruntime-gpu has wheels for JetPack 7 alone (from 1.31.1: Python"
    " 3.12, CUDA 13, --engine onnxruntime-cuda)"
)


def check_engines(root: Path) -> Iterator[Finding]:
    """Run a one-node graph on each engine and check which provider it used.

    onnxruntime's get_available_providers() lists what was compiled in, not what can be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "tiny.onnx"
        graph.write_bytes(TINY)
        for name in ENGINES:
            what = f"engine {name}"
            try:
                engine = open_engine(name, graph, DEFAULTS)
                summed = engine.run({"x": np.ones(4, np.float32)})["y"]
                used = engine.name
                engine.close()
            except EngineError as error:
                # Whoever has installed the GPU variant wants it to be used.
                wanted = name == ENGINE or (name.endswith("-cuda") and version_of("onnxruntime-gpu"))
                say = broken if wanted else note
                cause, _, fix = " ".join(str(error).replace(f"{graph} ", "").split()).rpartition(": ")
                jetson = name.startswith("onnxruntime-") and (root / ON_JETSON).exists()
                yield say(what, cause or "can't be used", FOR_JETSON if jetson else fix)
            else:
                right = bool((summed == 2).all())
                yield ok(what, f"runs on {used}") if right else broken(what, f"1 + 1 is {summed[0]:g}", "don't use it")
