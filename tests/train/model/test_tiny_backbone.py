"""The claim of the embedded set: frames look alike, motion tells; and the shipped backbone sees enough."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from transformers import CLIPVisionModelWithProjection

from stpr.runtime import motions
from stpr.runtime.contract.preprocess import Image, PreprocessSpec, preprocess
from stpr.runtime.contract.sampling import centre_frames
from stpr.train.datasets.motions_writer import write_motions

TINY = Path(__file__).parents[3] / "train" / "model" / "tiny"
FRAMES = 8


@dataclass(frozen=True, slots=True)
class Split:
    """Pixels `(N, T, H, W, 3)` of centre frames, frame features `(N, T, D)`, labels `(N,)`."""

    pixels: np.ndarray
    features: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def tiny() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection.from_pretrained(TINY).eval()


def embed(model: CLIPVisionModelWithProjection, frames: np.ndarray) -> np.ndarray:
    """Projected features `(N, D)` of uint8 frames `(N, H, W, 3)`, normalised as the folder says."""
    settings = json.loads((TINY / "preprocessor_config.json").read_text(encoding="utf-8"))
    mean, std = (torch.tensor(settings[key]) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        parts = [
            model(pixel_values=((part.float() / 255 - mean) / std).permute(0, 3, 1, 2)).image_embeds
            for part in torch.split(torch.from_numpy(frames), 512)
        ]
    return np.asarray(torch.cat(parts).double())


def spec() -> PreprocessSpec:
    """Geometry of the folder's image processor."""
    settings = json.loads((TINY / "preprocessor_config.json").read_text(encoding="utf-8"))
    crop = settings["crop_size"]
    assert settings["size"]["shortest_edge"] == crop["height"] == crop["width"]
    mean, std = (tuple(settings[key]) for key in ("image_mean", "image_std"))
    return PreprocessSpec(
        height=crop["height"], width=crop["width"], resize="crop", crop_fraction=1.0, mean=mean, std=std
    )


def read_clip(path: Path) -> np.ndarray:
    """The preprocessed centre frames `(T, H, W, 3)` RGB of a video."""
    capture = cv2.VideoCapture(str(path))
    frames: list[Image] = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
    capture.release()
    geometry = spec()
    return np.stack([preprocess(frames[index], geometry) for index in centre_frames(len(frames), FRAMES)])


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory, tiny: CLIPVisionModelWithProjection) -> tuple[Split, Split]:
    folder = write_motions(tmp_path_factory.mktemp("data") / "motions", train_per_class=50, test_per_class=20, seed=0)
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    both = []
    for split in ("train", "test"):
        chosen = [row for row in rows if row["split"] == split]
        pixels = np.stack([read_clip(folder / "clips" / row["path"]) for row in chosen])
        features = embed(tiny, pixels.reshape(-1, *pixels.shape[2:])).reshape(*pixels.shape[:2], -1)
        both.append(Split(pixels, features, np.array([motions.CLASSES.index(row["label"]) for row in chosen])))
    return both[0], both[1]


def class_means(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([inputs[labels == label].mean(axis=0) for label in range(len(motions.CLASSES))])


def nearest_class_mean(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    means = class_means(train, labels)
    return np.asarray(np.argmax(test @ means.T - 0.5 * (means**2).sum(axis=1), axis=1))


def discriminant(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Linear discriminant analysis: class means and one covariance, shrunk by 5 % towards the identity."""
    means = class_means(train, labels)
    residual = train - means[labels]
    covariance = residual.T @ residual / len(residual)
    shrunk = 0.95 * covariance + 0.05 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weights = np.linalg.solve(shrunk, means.T)
    return np.asarray(np.argmax(test @ weights - 0.5 * (means.T * weights).sum(axis=0), axis=1))


def temporal_statistics(features: np.ndarray) -> np.ndarray:
    """`(N, T, D)` -> `(N, 7 D)`: mean, second half less first, std over frames, DCT terms 1 to 4."""
    half = FRAMES // 2
    times = (np.arange(FRAMES) + 0.5) / FRAMES
    waves = [(features * np.cos(np.pi * term * times)[:, None]).mean(axis=1) for term in range(1, 5)]
    trend = features[:, half:].mean(axis=1) - features[:, :half].mean(axis=1)
    return np.concatenate([features.mean(axis=1), trend, features.std(axis=1), *waves], axis=1)


def test_it_loads_like_any_clip_and_is_small(tiny: CLIPVisionModelWithProjection) -> None:
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 1_000_000
    assert sorted(path.name for path in TINY.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert tiny.config.image_size == spec().height
    assert all(torch.isfinite(weights).all() for weights in tiny.parameters())


def test_where_an_unseen_actor_is_can_be_read_from_its_features(tiny: CLIPVisionModelWithProjection) -> None:
    rng = np.random.default_rng(0)
    poses = np.array([0.5, 0.52, 0.0, 0.0]) + rng.uniform(-1, 1, (2, 150, 4, 4)) * [0.3, 0.3, 0.5, 1.2]
    geometry = spec()
    told = []
    for split, some in zip(("train", "test"), poses, strict=True):
        name: motions.Split = "train" if split == "train" else "test"
        frames = [motions.draw(pose, actor_split=name, seed=seed) for seed, pose in enumerate(some)]
        small = np.stack([preprocess(image, geometry) for scene in frames for image in scene])
        told.append(np.pad(embed(tiny, small), ((0, 0), (0, 1)), constant_values=1.0))
    targets = poses.reshape(2, -1, 4)
    readout, *_ = np.linalg.lstsq(told[0], targets[0], rcond=None)
    error = (told[1] @ readout - targets[1]).std(axis=0) / targets[1].std(axis=0)
    assert error[:2].max() < 0.2
    assert error.max() < 0.6


@pytest.mark.parametrize("seen", ["pixels", "features"])
def test_the_mean_frame_does_not_tell_the_class(splits: tuple[Split, Split], seen: str) -> None:
    train, test = splits
    means = [getattr(split, seen).mean(axis=1).reshape(len(split.labels), -1) for split in splits]
    told = nearest_class_mean(means[0], train.labels, means[1])
    assert (told == test.labels).mean() <= 0.25


def test_the_order_of_frames_tells_the_class_of_unseen_actors(splits: tuple[Split, Split]) -> None:
    train, test = splits
    told = discriminant(temporal_statistics(train.features), train.labels, temporal_statistics(test.features))
    assert (told == test.labels).mean() >= 0.95


def test_without_their_order_the_same_frames_tell_little(splits: tuple[Split, Split]) -> None:
    train, test = splits
    shuffled = [np.random.default_rng(0).permuted(split.features, axis=1) for split in splits]
    told = discriminant(temporal_statistics(shuffled[0]), train.labels, temporal_statistics(shuffled[1]))
    assert (told == test.labels).mean() < 0.5
