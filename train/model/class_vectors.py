"""Class vectors T_c: CLIP's text features (the paper), or substitutes for a backbone without a text tower."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
import transformers
from torch import Tensor

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.backbone import first_line, load_pretrained, resolve_source
from stpr.train.model.directions import unit

BYTES: Final = 256  # a byte-level vocabulary has at least these


def spoken(name: str) -> str:
    """A class name in words: "ApplyEyeMakeup" and "apply_eye_makeup" -> "apply eye makeup" (method §2.3)."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-]+", " ", name)
    return " ".join(split.split()).lower()


def text_vectors(classes: Sequence[str], *, source: str, prompts: Sequence[str]) -> Tensor:
    """CLIP text features `(c, D)`, normalised; for several prompts the mean of normalised features, as in CLIP.

    Raises RecipeError if the backbone has no text tower.
    """
    place = resolve_source(source)
    try:
        tower: Any = load_pretrained(transformers.CLIPTextModelWithProjection, place).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        if len(tokenizer) < BYTES:  # transformers creates an empty tokenizer if the files are missing
            raise ValueError("its tokenizer has no vocabulary: vocab.json or tokenizer.json is missing")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise RecipeError(
            f'[class_vectors] kind = "text": {source} has no text tower that loads'
            f' ({first_line(error)}); use kind = "prototypes".'
        ) from error
    longest, total = tower.config.max_position_embeddings, torch.zeros(())
    for prompt in prompts:
        sentences = [prompt.replace("{}", spoken(name)) for name in classes]
        tokens = tokenizer(sentences, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            total = total + unit(tower(**tokens).text_embeds)
    return unit(total)


def prototype_vectors(static: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean of each class's frame-mean features `(n, D)`, normalised: `(c, D)`."""
    return unit(torch.stack([static[labels == index].mean(dim=0) for index in range(classes)]))


def code_vectors(classes: Sequence[str], width: int) -> Tensor:
    """Random unit vectors `(c, D)`, each seeded by its class name: the same in every run and order."""
    rows = []
    for name in classes:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        rows.append(np.random.default_rng(seed).standard_normal(width))
    return unit(torch.tensor(np.array(rows), dtype=torch.float32))
