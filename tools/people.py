"""Draws people, as bodies of a chain of joints, and the places where a camera sees them, with light and shadow."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stpr.runtime.contract.preprocess import Image
from stpr.runtime.motions_figures import SHIFT, SUPERSAMPLE, Floats

WIDE, HIGH = 320, 240
FRAME: Final = np.array([WIDE, HIGH]) * SUPERSAMPLE
MARGIN: Final = 16 * SUPERSAMPLE  # around a frame, for a shaking camera
EDGES: Final = 14  # of a cross section of a body
GAMMA: Final = 2.2

# Joints: root, chest, neck; hip, knee, ankle, shoulder and elbow on the right; the same five on the left.
JOINTS, TRUNK = 13, 3  # the first ones are of the trunk
PARENTS: Final = (-1, 0, 1, 0, 3, 4, 1, 6, 0, 8, 9, 1, 11)
MIRRORED: Final = (0, 1, 2, 8, 9, 10, 11, 12, 3, 4, 5, 6, 7)
_RIGHT = [(0, 0, 0.085), (0, -0.42, 0), (0, -0.41, 0), (-0.024, 0.244, 0.183), (0, -0.275, 0)]
BONES: Final = np.array([(0, 0, 0), (0, 0.236, 0), (0, 0.224, 0), *_RIGHT, *np.multiply(_RIGHT, [1, 1, -1])])
# Cross sections of trunk, leg and arm, from the top down: joint, centre forward and up of it, radii forward and
# sideways (centimetres, arms hanging), and what the part below it is covered with.
_TRUNK = """2 1 31.5 1 1 hair, 2 0 30.5 5 4 hair, 2 1 27 9 7 head, 2 2 22 10 8 head, 2 2 17 10 8 head, 2 3 12 8 6 head,
2 2 8 5 4.5 skin, 2 0 3 5 5 skin, 1 -1 27.5 6 8 top, 1 -1 25 8 14 top, 1 -1 20 10.5 18 top, 1 0 14 12 17.6 top,
1 0 7 11.5 16 top, 1 0 0 10.6 14.5 top, 0 0 13 10.5 14 top, 0 0 6 11.5 15.5 legs, 0 -1 0 12 16.8 legs,
0 -1 -6 10.5 15.5 legs, 0 0 -10 4 8 legs"""
_LEG = """3 0 5 6 6 legs, 3 0 -6 9 8.8 legs, 3 0 -20 8 8 legs, 3 0 -36 6 6 legs, 4 0 -4 5.6 5.5 calf,
4 -1 -13 5.8 5.6 calf, 4 -1 -27 4.5 4.3 calf, 4 0 -37 4 3.8 shoe, 5 0 0 5.5 4 shoe, 5 4 -2.5 10.5 4.6 shoe,
5 5 -5.2 12 4.8 shoe, 5 5 -5.5 1 1 shoe"""
_ARM = """6 0 5 1.5 1.5 top, 6 0 3.5 4.5 4.5 top, 6 0 -2 6 5.8 top, 6 0 -13 5.2 5 top, 6 0 -24 4.2 4.2 arms,
7 0 -4 4.3 4.2 arms, 7 0 -12 4 3.8 arms, 7 0 -24 2.8 2.6 skin, 7 1 -29 4.2 2.2 skin, 7 1 -36 3.6 2 skin,
7 1 -41 1 1 skin"""


class Moves(NamedTuple):
    """What a body does, facing forward."""

    places: Floats  # (F, 3), the root's: forward, up, right; metres
    turns: Floats  # (F, 13, 3, 3), of each joint from its parent


@dataclass(frozen=True)
class Person:
    """A body's surface, facing forward with hanging arms, its clothes and its way to move."""

    bones: Floats  # (13, 3), each joint's place from its parent's, metres
    joints: NDArray[np.int64]  # (V,), which moves the point
    points: Floats  # (V, 3), from that joint
    faces: NDArray[np.int64]  # (F, 4), of points
    colours: Floats  # (F, 3), RGB up to 1
    manner: tuple[float, float, bool]  # speed, reach of the turns around their mean, mirrored

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Person:
        """Draw a person at random."""
        (trunk, leg, arm, breadth), girth = rng.uniform(0.88, 1.12, 4), rng.uniform(0.75, 1.25)
        lengths = np.array([trunk, trunk, 1, *[leg, leg, 1, arm, arm] * 2])
        joints, points, faces, covers = np.zeros(0, int), np.zeros((0, 3)), np.zeros((0, 4), int), []
        for chain, side in ((_TRUNK, 0), (_LEG, 0), (_LEG, 5), (_ARM, 0), (_ARM, 5)):
            sections = [section.split() for section in chain.split(",")]
            joint = np.array([int(section[0]) + side for section in sections])
            wide = np.where(np.isin(joint, (2, 5, 10)), 1, girth)  # but for head and feet
            ahead, up, *radii = np.array([section[1:5] for section in sections], float).T / 100
            surface = _loft(
                np.stack([ahead, up * lengths[joint], 0 * up, radii[0] * wide, radii[1] * wide], axis=-1), EDGES
            )
            faces = np.concatenate([faces, surface[1] + len(points)])
            points = np.concatenate([points, surface[0]])
            joints = np.concatenate([joints, np.repeat(joint, EDGES)])
            covers += [section[5] for section in sections[:-1] for _ in range(EDGES)]
        bones = BONES * np.stack([np.ones(13), lengths[list(PARENTS)], np.full(13, breadth)], axis=-1)
        manner = (rng.uniform(0.8, 1.25), rng.uniform(0.85, 1.15), bool(rng.integers(2)))
        return cls(bones, joints, points, faces, _clothes(covers, rng), manner)

    def posed(self, moves: Moves, rng: np.random.Generator) -> Floats:
        """Points `(F, V, 3)` of the body in these poses, around a random spot of the floor, which is at height 0."""
        places, turns = moves
        if self.manner[2]:
            flip = np.array([1, 1, -1])
            places, turns = places * flip, turns[:, MIRRORED] * np.outer(flip, flip)
        at, axes = [places * self.bones[4, 1] / BONES[4, 1]], [turns[:, 0]]  # as high as the legs are long
        for joint in range(1, JOINTS):
            at.append(at[PARENTS[joint]] + axes[PARENTS[joint]] @ self.bones[joint])
            axes.append(axes[PARENTS[joint]] @ turns[:, joint])
        points = np.einsum("vtab,vb->tva", np.stack(axes)[self.joints], self.points)
        points += np.stack(at, axis=1)[:, self.joints]
        points[..., ::2] += rng.uniform(-0.1, 0.1, 2)
        # The captured person had another body: what is lowest within about a leap is put on the floor.
        lowest = cv2.erode(points[..., 1].min(axis=1, keepdims=True), np.ones((21, 1)))
        points[..., 1] -= cv2.blur(lowest, (1, 21))
        return np.asarray(points)


def _clothes(covers: list[str], rng: np.random.Generator) -> Floats:
    """Random colours `(F, 3)` of a body's faces by what they are covered with."""
    worn = {cover: _colour(rng, (0, 1), (0, 0.8), (0.15, 0.9)) for cover in ("top", "legs", "shoe", "stripe")}
    worn["skin"] = _colour(rng, (0.05, 0.09), (0.3, 0.6), (0.35, 0.95))
    worn["hair"] = _colour(rng, (0.04, 0.12), (0.2, 0.7), (0.08, 0.6))
    worn["arms"], worn["calf"] = worn[rng.choice(["skin", "top"])], worn[rng.choice(["skin", "legs", "legs"])]
    hairline, striped = rng.uniform(-0.6, 0.5), rng.uniform() < 0.3
    colours = []
    for face, cover in enumerate(covers):
        if cover == "head":  # the first edge is at the front
            cover = "skin" if np.cos((face % EDGES + 0.5) / EDGES * 2 * np.pi) > hairline else "hair"
        colours.append(worn["stripe" if striped and cover == "top" and face // EDGES % 2 else cover])
    return np.array(colours)


def _colour(rng: np.random.Generator, *ranges: tuple[float, float]) -> tuple[float, float, float]:
    """A random RGB colour, up to 1, within ranges of hue, saturation and value."""
    hue, saturation, value = (rng.uniform(*limits) for limits in ranges)
    return colorsys.hsv_to_rgb(hue, saturation, value)


def _loft(rings: Floats, edges: int) -> tuple[Floats, NDArray[np.int64]]:
    """Points and faces of a surface through elliptic rings `(R, 5)` from the top down: centre, radii."""
    angles = np.arange(edges) / edges * 2 * np.pi
    circle = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], axis=-1)
    points = rings[:, None, :3] + circle * np.insert(rings[:, 3:], 1, 0, axis=1)[:, None]
    ring, edge = (index.ravel() for index in np.indices((len(rings) - 1, edges)))
    right = (edge + 1) % edges
    corners = [ring * edges + edge, ring * edges + right, (ring + 1) * edges + right, (ring + 1) * edges + edge]
    return points.reshape(-1, 3), np.stack(corners, axis=-1)


@dataclass(frozen=True)
class Scene:
    """Where the camera stands (in direction x of the origin, looking back) and where light comes from."""

    camera: Floats  # (3,), metres
    axes: Floats  # (3, 3), the camera's: right, down, forward
    focal: float  # pixels
    light: Floats  # (3,)
    tint: Floats  # (2, 3), RGB of light from everywhere and from there

    @classmethod
    def around(cls, points: Floats, rng: np.random.Generator, *, far: float = 1.0) -> Scene:
        """Draw a scene; the camera is so far away that a person with points `(F, V, 3)` has a random size.

        `far`: or that many times as far.
        """
        low, (azimuth, height, warm) = rng.uniform(0.05, 0.44), rng.uniform((-1.8, 0.8, -0.1), (1.8, 1.3, 0.1))
        away = np.array([np.cos(low), np.sin(low), 0])
        axes = np.array([(0, 0, -1), (np.sin(low), -np.cos(low), 0), -away])
        light = np.array([np.cos(azimuth) * np.cos(height), np.sin(height), np.sin(azimuth) * np.cos(height)])
        tint = np.outer([rng.uniform(0.25, 0.45), 0.75], [1 + warm, 1, 1 - warm])
        centre = (points.min(axis=(0, 1)) + points.max(axis=(0, 1))) / 2
        focal, share, distance = FRAME[1] / rng.uniform(0.7, 1.1), rng.uniform(0.45, 0.85), 4.0
        for _ in range(16):
            scene = cls(centre + distance * away, axes, focal, light, tint)
            seen = (scene.project(points)[0] - MARGIN) / FRAME
            size = np.percentile(np.ptp(seen, axis=1) * (0.75, 1), 90, axis=0).max() / share
            distance *= float(max(size, 2 * np.abs(seen - 0.5).max())) ** 0.5  # half a step, which does not swing
        return replace(scene, camera=centre + far * (scene.camera - centre))

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels `(…, 2)` of the supersampled frame with its margin, and depths `(…)` in metres."""
        seen = (points - self.camera) @ self.axes.T
        depth = seen[..., 2].clip(0.1)
        return seen[..., :2] / depth[..., None] * self.focal + FRAME / 2 + MARGIN, depth

    def shaded(self, colours: Floats, normals: Floats) -> Floats:
        """Display colours `(…, 3)`, up to 255, of surfaces with these colours and unit normals."""
        lit = self.tint[0] * (0.8 + 0.2 * normals[..., 1:2]) + self.tint[1] * (normals @ self.light).clip(0)[..., None]
        return np.asarray((255 * colours * lit ** (1 / GAMMA)).clip(0, 255))

    def paint(self, canvas: Image, points: Floats, faces: NDArray[np.int64], colours: Floats) -> None:
        """Paint a closed surface with points `(V, 3)`, from its back to its front, and its shadow on the floor."""
        a, b, c, d = np.moveaxis(points[faces], 1, 0)
        normals = np.cross(c - a, d - b)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
        lit = faces[normals @ self.light > 0]
        shadow = np.zeros((canvas.shape[0] // 4, canvas.shape[1] // 4), np.uint8)
        on_floor = self.project(points - points[:, 1:2] / self.light[1] * self.light)[0] / 4
        _fill(shadow, on_floor[lit], np.full(len(lit), 150))
        shade = 255 - cv2.resize(cv2.GaussianBlur(shadow, (0, 0), 2), canvas.shape[1::-1])
        cv2.multiply(canvas, cv2.merge([shade] * 3), dst=canvas, scale=1 / 255)
        shown = np.flatnonzero(((self.camera - a) * normals).sum(axis=1) > 0)
        shown = shown[np.argsort(-self.project(points[faces[shown]].mean(axis=1))[1])]
        _fill(canvas, self.project(points)[0][faces[shown]], self.shaded(colours[shown], normals[shown]))


def _fill(canvas: Image, outlines: Floats, tones: Floats) -> None:
    """Fill convex outlines `(F, 4, 2)` one over the other."""
    for outline, tone in zip(np.rint(outlines * 2**SHIFT).astype(np.int32), tones.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, outline, tone, shift=SHIFT)


def backdrop(scene: Scene, rng: np.random.Generator) -> Image:
    """A supersampled frame with its margin, without a person: a floor, a wall or a fence below the sky, boxes."""
    wide, high = FRAME + 2 * MARGIN
    x, y = np.meshgrid(np.arange(wide) - wide / 2, np.arange(high) - high / 2)
    rays = np.stack([x, y, np.full_like(x, scene.focal)], axis=-1) / scene.focal @ scene.axes
    turn, back, fence = rng.uniform(-0.4, 0.4), rng.uniform(2.5, 5), rng.uniform(0.6, 2.5)
    front, along = np.array([np.cos(turn), 0, np.sin(turn)]), np.array([-np.sin(turn), 0, np.cos(turn)])
    to_wall = (back + scene.camera @ front) / np.maximum(-rays @ front, 1e-6)
    to_floor = scene.camera[1] / np.maximum(-rays[..., 1], 1e-6)
    hit = scene.camera + np.minimum(to_floor, to_wall)[..., None] * rays
    floor = scene.shaded(_tiled(hit[..., 0], hit[..., 2], rng), np.array([0.0, 1.0, 0.0]))
    wall = scene.shaded(_tiled(hit @ along, hit[..., 1], rng), front)
    seen = np.where((to_floor < to_wall)[..., None], floor, wall * (0.75 + 0.25 * hit[..., 1:2]).clip(0, 1))
    if rng.uniform() < 0.5:
        sky = np.array([150, 190, 235]) - rays[..., 1:2].clip(0, 0.5) * [120, 80, 20]
        seen = np.where(hit[..., 1:2] > fence, sky, seen)
    canvas = np.asarray(cv2.GaussianBlur(seen, (0, 0), 1.5).clip(0, 255), np.uint8)
    for _ in range(rng.integers(2, 6)):
        middle = along * rng.uniform(-3, 3) - front * back * rng.uniform(0.5, 0.85)
        size = rng.uniform((0.4, 0.2, 0.2), (1.6, 0.5, 0.5))
        rings = [[middle[0], up * size[0], middle[2], *size[1:] * wide] for up, wide in ((1, 0), (1, 1), (0, 1))]
        points, faces = _loft(np.array(rings), int(rng.integers(4, 9)))
        scene.paint(canvas, points, faces, np.tile(_colour(rng, (0, 1), (0.1, 0.7), (0.2, 0.8)), (len(faces), 1)))
    return canvas


def _tiled(across: Floats, up: Floats, rng: np.random.Generator) -> Floats:
    """RGB `(…, 3)`, up to 1, at places (metres) of a surface: random and rough; plain, boards, checks or bricks."""
    rows, columns = np.indices((256, 256))
    size = 2 ** int(rng.integers(4, 7))
    odd = rows // size % 2
    bricks = (rows % size < 2) | ((columns + size * odd) % (2 * size) < 2)
    pattern = (np.zeros_like(rows), columns % size < 3, odd ^ columns // size % 2, bricks)[rng.integers(4)]
    rough = sum(cv2.resize(rng.normal(0, 0.05, (side, side)), (256, 256)) for side in (8, 64, 256))
    tile = (1 + rough - rng.uniform(0.15, 0.5) * pattern).astype(np.float32)
    # Every other tile is mirrored, so that none has visible edges.
    x, y = (np.asarray(np.abs(axis * 256 / rng.uniform(1.5, 3) % 512 - 256), np.float32) for axis in (across, up))
    seen = cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen[..., None] * _colour(rng, (0, 1), (0.05, 0.35), (0.4, 0.9)))
