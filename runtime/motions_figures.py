"""Draw the random actors and scenes of the embedded `motions` set."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from stpr.runtime.contract.preprocess import Image

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]
# A filled outline in the actor's own coordinates: y points down, the head is up, about 1 high each way.
Part = tuple[Floats, Colour]

SUPERSAMPLE: Final = 2
SHIFT: Final = 4  # fractional bits of OpenCV's polygon coordinates
# Body families: exponent of the superellipse, half width, half height, pear (wider below), lean, scallops: depth, count
_BODIES: tuple[tuple[float, float, float, float, float, float, int], ...] = (
    (2.0, 0.52, 0.72, 0.10, 0.00, 0.00, 1),
    (4.5, 0.58, 0.66, 0.00, 0.00, 0.00, 1),
    (1.9, 0.60, 0.70, 0.28, 0.00, 0.00, 1),
    (1.2, 0.70, 0.82, 0.05, 0.00, 0.00, 1),
    (2.2, 0.60, 0.70, 0.05, 0.00, 0.09, 7),
    (2.0, 0.56, 0.74, 0.00, 0.22, 0.00, 1),
)


def make_actor(rng: np.random.Generator) -> list[Part]:
    """One actor's parts, back to front: limbs, body, its texture, head-dress, head, eyes."""
    family = _BODIES[int(rng.integers(len(_BODIES)))]
    body = _body(rng, family)
    hue = rng.uniform()
    main = _colour(hue, rng.uniform(0.5, 0.95), rng.uniform(0.6, 1.0))
    second = _colour(hue + rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.9), rng.uniform(0.5, 1.0))
    face = _colour(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.05, 0.4), rng.uniform(0.85, 1.0))
    ink = _colour(hue, 0.5, rng.uniform(0.1, 0.3))
    top = float(body[:, 1].min())
    radius = rng.uniform(0.34, 0.44)
    head = np.array([rng.uniform(-0.08, 0.08), top - 0.35 * radius])
    gaze = rng.uniform(-0.06, 0.06)
    parts = [(_disc(np.array([side * 0.3, 0.92]), 0.2), ink) for side in (-1, 1)]
    parts.append((_disc(np.array([rng.choice((-1, 1)) * 0.68, rng.uniform(0.0, 0.4)]), 0.19), second))
    parts += [(_grown(body, 0.06), ink), (body, main), *_texture(rng, body, (main, second, ink))]
    parts += [(points + head, second) for points in _head_dress(rng, radius)]
    parts += [(_disc(head, radius + 0.06), ink), (_disc(head, radius), face)]
    for side in (-1, 1):
        eye = head + np.array([side * 0.42 * radius + gaze, -0.05])
        parts.append((_disc(eye, 0.3 * radius), ink))
    return parts


def _body(rng: np.random.Generator, family: tuple[float, float, float, float, float, float, int]) -> Floats:
    """A star-shaped outline `(48, 2)` around (0, 0.25), of the family with every number shaken."""
    exponent, width, height, pear, lean, depth, scallops = family
    exponent, width, height = np.array([exponent, width, height]) * rng.uniform(0.85, 1.15, 3)
    pear, lean = pear + rng.uniform(-0.06, 0.06), (lean + rng.uniform(-0.06, 0.06)) * rng.choice((-1, 1))
    angle = np.linspace(0.0, 2 * math.pi, 48, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    radius = (np.abs(cos / width) ** exponent + np.abs(sin / height) ** exponent) ** (-1 / exponent)
    radius = radius * (1 + pear * sin + lean * cos + depth * np.cos(scallops * angle))
    return np.stack([radius * cos, 0.25 + radius * sin], axis=1)


def _texture(rng: np.random.Generator, body: Floats, colours: tuple[Colour, Colour, Colour]) -> list[Part]:
    """What is painted on the body, inside its outline: nothing, a belly, rings, a patch, a sunburst or spots."""
    main, second, ink = colours
    centre = body.mean(axis=0)
    start = int(rng.integers(48))
    kind = int(rng.integers(6))
    if kind == 1:
        return [((body - centre) * [0.62, 0.6] + centre + [0.0, 0.12], second)]
    if kind == 2:
        return [
            ((body - centre) * scale + centre, colour)
            for scale, colour in ((0.75, second), (0.5, main), (0.25, second))
        ]
    if kind == 3:
        return [(_slice(body, start, int(rng.integers(14, 26))), second)]
    if kind == 4:
        return [(_slice(body, start + step, 4), second) for step in range(0, 48, 10)]
    if kind == 5:
        return [(_disc(centre + 0.6 * (body[(start + step) % 48] - centre), 0.13), ink) for step in range(0, 48, 9)]
    return []


def _head_dress(rng: np.random.Generator, radius: float) -> list[Floats]:
    """What the head wears, around (0, 0): ears, one antenna, a crest, or nothing."""
    kind = int(rng.integers(4))
    if kind == 0:
        return [np.array([[0.15, -0.8], [1.0, -0.55], [0.85, -1.6]]) * [side * radius, radius] for side in (-1, 1)]
    if kind == 1:
        bend = rng.uniform(-0.6, 0.6)
        stalk = np.array([[-0.12, -0.8], [0.12, -0.8], [bend + 0.08, -1.7], [bend - 0.08, -1.7]]) * radius
        return [stalk, _disc(np.array([bend, -1.7]) * radius, 0.28 * radius)]
    if kind == 2:
        return [np.array([[at - 0.3, -0.7], [at + 0.3, -0.7], [1.4 * at, -1.55]]) * radius for at in (-0.5, 0.0, 0.5)]
    return []


def make_scene(rng: np.random.Generator, size: int) -> Image:
    """A supersampled background, 1/12 of a frame larger on each side: a gradient, soft noise and still clutter."""
    side = SUPERSAMPLE * (size + 2 * (size // 12))
    hue = rng.uniform()
    near, far, extra = (
        np.array(_colour(hue + rng.uniform(-0.15, 0.15), rng.uniform(0.08, 0.4), rng.uniform(0.3, 0.85)))
        for _ in range(3)
    )
    angle = rng.uniform(0.0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, 9)
    blend = np.clip(0.5 + math.cos(angle) * ramp + math.sin(angle) * ramp[:, None], 0.0, 1.0)[..., None]
    coarse = near * (1 - blend) + far * blend + rng.normal(0.0, rng.uniform(3.0, 14.0), (9, 9, 1))
    image = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_LINEAR_EXACT)
    for _ in range(int(rng.integers(3, 10))):
        tint = np.clip(near + (extra - near) * rng.uniform(0.2, 1.0) + rng.uniform(-25, 25), 0, 255)
        corners = int(rng.choice((3, 4, 4, 5, 24)))
        turn = 2 * math.pi * np.arange(corners) / corners + rng.uniform(0.0, 2 * math.pi)
        shape = np.stack([np.cos(turn), np.sin(turn)], axis=1) * rng.uniform(0.03, 0.16, 2)
        points = np.rint((shape + rng.uniform(0.0, 1.0, 2)) * side * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(image, [points], tint.tolist(), shift=SHIFT)
    return np.asarray(cv2.GaussianBlur(image, (5, 5), 0), np.uint8)


def _slice(body: Floats, start: int, length: int) -> Floats:
    """The pie slice of the body from outline point `start` on."""
    return np.concatenate([body.mean(axis=0, keepdims=True), body[np.arange(start, start + length + 1) % len(body)]])


def _grown(outline: Floats, by: float) -> Floats:
    """The outline moved outwards from its centre by a fixed distance."""
    spokes = outline - outline.mean(axis=0)
    return np.asarray(outline + by * spokes / np.linalg.norm(spokes, axis=1, keepdims=True))


def _disc(centre: Floats, radius: float) -> Floats:
    """A round outline `(16, 2)`."""
    angle = np.linspace(0.0, 2 * math.pi, 16, endpoint=False)
    return np.asarray(centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """RGB bytes of a hue in turns, saturation and value in 0..1."""
    weights = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0.0, 1.0)
    red, green, blue = np.rint(255 * value * (1 - saturation * (1 - weights))).astype(int).tolist()
    return red, green, blue
