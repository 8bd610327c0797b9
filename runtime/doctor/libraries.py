"""Check the runtime's libraries: installed variants, and whether OpenCV loads and what it can open."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from stpr.runtime.doctor.finding import Finding, broken, note, ok

# Distributions that install into the same folder: the last one wins, and removing it breaks the others, without a
# warning from pip.
FLAVOURS: Final = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "opencv": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
ON_JETSON: Final = "etc/nv_tegra_release"


def check_packages(root: Path) -> Iterator[Finding]:  # noqa: ARG001
    """Check for two variants of one library."""
    for library, names in FLAVOURS.items():
        present = [f"{name} {version}" for name in names if (version := version_of(name)) is not None]
        if len(present) > 1:
            both = " ".join(name for name in names if version_of(name) is not None)
            fix = f'they overwrite each other: `pip uninstall {both}`, then `pip install "stpr[server]"` or "stpr[gpu]"'
            yield broken(library, " and ".join(present), fix)
        elif present:
            yield ok(library, present[0])
        else:
            module = {"opencv": "cv2"}.get(library, library)
            yield from _not_from_pip(library, module)


def check_opencv(root: Path) -> Iterator[Finding]:
    """Check whether it loads, and what it can open."""
    try:
        cv2: Any = importlib.import_module("cv2")
    except (ImportError, AttributeError) as error:
        yield broken("cv2", " ".join(str(error).split()), _opencv_fix(str(error)))
        return
    built = cv2.getBuildInformation()
    yield ok("cv2", f"{cv2.__version__} from {Path(cv2.__file__).parent}")
    jetson = (root / ON_JETSON).exists()
    lacking = {
        "FFMPEG": "no files and streams: `pip install --force-reinstall opencv-python-headless`",
        "GStreamer": "no csi:// cameras: `pip uninstall opencv-python opencv-python-headless` and make the environment"
        " with --system-site-packages, so that JetPack's own OpenCV is found",
        "v4l/v4l2": "no USB cameras by v4l2://: install another build of OpenCV",
    }
    for part, fix in lacking.items():
        if re.search(rf"^\s*{part}:\s+YES", built, re.MULTILINE):
            yield ok(f"cv2: {part}", "yes")
        elif part == "FFMPEG":
            yield broken(f"cv2: {part}", "no", fix)
        elif part != "GStreamer" or jetson:
            yield note(f"cv2: {part}", "no", fix)
        else:
            yield ok(f"cv2: {part}", "no; only csi:// needs it, on a Jetson")


def _not_from_pip(library: str, module: str) -> Iterator[Finding]:
    """A library that was not installed by pip; the system's, such as JetPack's, is fine."""
    if importlib.util.find_spec(module) is not None:
        yield ok(library, "the system's own, not from pip")
    else:
        yield broken(library, "not installed", '`pip install "stpr[server]"`; on a Jetson see its own OpenCV first')


def _opencv_fix(error: str) -> str:
    if "libGL" in error:
        return 'a machine without a screen: `pip uninstall opencv-python`, then `pip install "stpr[server]"`'
    if "numpy" in error or "_ARRAY_API" in error:
        return "this OpenCV was built for numpy 1: `pip install 'numpy<2'`"
    return '`pip install "stpr[server]"`, or "stpr[desktop]" for a window'


def version_of(distribution: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
