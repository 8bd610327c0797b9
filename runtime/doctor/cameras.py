"""List the cameras, and check whether each gives a frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2

from stpr.runtime.doctor.finding import Finding, broken, note, ok


def check_cameras(root: Path) -> Iterator[Finding]:
    """One finding per /dev/video that is a camera; further nodes of a camera carry only metadata."""
    nodes = sorted((root / "dev").glob("video[0-9]*"), key=lambda node: int(node.name[5:]))
    if not nodes:
        yield note(
            "cameras",
            "no /dev/video*",
            "plug one in; in a container add --device /dev/video0; not needed for files and streams",
        )
    for node in nodes:
        system = root / "sys/class/video4linux" / node.name
        name = _read(system / "name") or "no name"
        if _read(system / "index") not in ("0", ""):
            continue
        yield _try(node, name)


def _try(node: Path, name: str) -> Finding:
    what = f"camera {node.name[5:]}"
    if not os.access(node, os.R_OK | os.W_OK):
        fix = f"`sudo usermod -aG video {os.environ.get('USER', 'USER')}`, then log in again"
        return broken(what, f"{name}: no permission for {node}", fix)
    if users := _users(node):
        return note(what, f"{name}: in use by process {', '.join(users)}", "end that process; a camera has one reader")
    if "vi-output" in name or "tegra" in name.lower():
        return ok(what, f"{name}: a raw sensor; watch it with --source csi://{node.name[5:]}")
    device = cv2.VideoCapture(int(node.name[5:]), cv2.CAP_V4L2)
    try:
        read, image = device.read() if device.isOpened() else (False, None)
    finally:
        device.release()
    if not read or image is None:
        return broken(what, f"{name}: it gives no frame", "use another port, without a hub; `v4l2-ctl --list-formats`")
    return ok(what, f"{name}: {image.shape[1]}x{image.shape[0]}")


def _users(node: Path) -> list[str]:
    """The processes that have it open, as far as visible to us."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == node:
                found.add(link.parts[2])
        except OSError:
            continue
    return sorted(found, key=int)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
