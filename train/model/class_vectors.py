"""Class vectors T_c: CLIP's text features (the paper), or stand-ins for a backbone without a text tower."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from stpr.runtime.contract.errors import RecipeError
from stpr.train.model.backbone import quiet, resolve_source


class ClassVectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text` is the paper's; `prototypes` are means of frozen frame-mean features; `codes` are random."""

    kind: Literal["text", "prototypes", "codes"] = "text"
    prompt: str = "a video of a person {}."


def spoken(name: str) -> str:
    """A class name as one would say it: "ApplyEyeMakeup" and "apply_eye_makeup" -> "apply eye makeup" (method §2.3)."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_\-]+", " ", name)
    return " ".join(split.split()).lower()


def text_vectors(classes: Sequence[str], *, source: str, prompt: str) -> Tensor:
    """CLIP text features `(c, D)` of the prompts, unit length; raises RecipeError if the backbone has no text tower."""
    place = resolve_source(source)
    quiet()
    try:
        tower = transformers.CLIPTextModelWithProjection.from_pretrained(place).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise RecipeError(
            f'[class_vectors] kind = "text": {source} has no text tower that loads'
            f' ({str(error).splitlines()[0]}); use kind = "prototypes".'
        ) from error
    tokens = tokenizer([prompt.format(spoken(name)) for name in classes], padding=True, return_tensors="pt")
    with torch.no_grad():
        return F.normalize(tower(**tokens).text_embeds, dim=-1)


def prototype_vectors(static: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Means `(c, D)` of the frame-mean features `(n, D)` of each class, unit length."""
    return F.normalize(torch.stack([static[labels == index].mean(dim=0) for index in range(classes)]), dim=-1)


def code_vectors(classes: Sequence[str], width: int) -> Tensor:
    """Random unit vectors `(c, D)`, each drawn from its class name alone: the same in every run and order."""
    rows = []
    for name in classes:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        rows.append(np.random.default_rng(seed).standard_normal(width))
    return F.normalize(torch.tensor(np.array(rows), dtype=torch.float32), dim=-1)
