"""The frozen image network F, loaded through `transformers` from a local folder or a hub id (method §2.1)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.image_processing_base import ImageProcessingMixin

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.preprocess import PreprocessSpec

TINY = "tiny"
TINY_FOLDER = Path(__file__).parent / "tiny"


class Backbone(nn.Module):
    """A frozen network of `transformers` that turns normalised pixels `(N, 3, H, W)` into features `(N, W)`."""

    def __init__(self, network: nn.Module, spec: PreprocessSpec, *, source: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.spec = spec
        self.source = source
        with torch.no_grad():
            self.width = int(self(torch.zeros(1, 3, spec.height, spec.width)).shape[1])

    def forward(self, pixels: Tensor) -> Tensor:
        """The projected CLS token of CLIP (the paper), the pooled features of any other network."""
        output = self.network(pixels)
        embeds = getattr(output, "image_embeds", None)
        pooled: Tensor = output.pooler_output if embeds is None else embeds
        return pooled.flatten(1)  # (N, W)

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode: batch statistics and dropout of a frozen network are frozen too."""
        del mode
        return self

    def transformer_blocks(self) -> list[nn.Module]:
        """The residual blocks that adapters can be put into; empty for a network without transformer blocks."""
        layers = [module for name, module in self.network.named_modules() if name.endswith("encoder.layers")]
        return [block for block in layers[0] if hasattr(block, "mlp")] if layers else []

    def digest(self) -> str:
        """SHA-256 over names and values of all frozen weights, adapters left out."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            if "adapter" not in name:
                digest.update(name.replace(".frozen.", ".").encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def resolve_source(source: str) -> str:
    """The folder or hub id that `source` means: "tiny" is the network that ships with the project."""
    return str(TINY_FOLDER) if source == TINY else source


def load_backbone(source: str) -> Backbone:
    """Load a frozen backbone: "tiny", a local folder as `save_pretrained` writes it, or a hub id.

    Raises RecipeError naming the source when it can't be had.
    """
    place = resolve_source(source)
    looks_local = place.startswith((".", "/", "~")) or place.count("/") > 1
    if looks_local and not Path(place).expanduser().is_dir():
        raise RecipeError(
            f"[backbone] source: there is no folder {place}; name one that holds config.json, or a hub id."
        )
    place = str(Path(place).expanduser()) if looks_local else place
    try:
        config = transformers.AutoConfig.from_pretrained(place)
        network = _network(place, config)
        processor, _ = ImageProcessingMixin.get_image_processor_dict(place)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RecipeError(
            f"[backbone] source {source!r} can't be loaded ({reason}); give a local folder or hub id."
        ) from error
    return Backbone(network, preprocess_spec(processor), source=source)


def _network(place: str, config: Any) -> nn.Module:
    """The vision half of a CLIP with its projection, or the bare network of any other model."""
    kind = (
        transformers.CLIPVisionModelWithProjection
        if config.model_type in {"clip", "clip_vision_model"}
        else transformers.AutoModel
    )
    quiet()
    network: nn.Module = kind.from_pretrained(place)
    return network


def quiet() -> None:
    """Keep the library's loading bars and reports from burying our own lines; what can't load raises all the same."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def preprocess_spec(processor: dict[str, Any]) -> PreprocessSpec:
    """The contract's form of an image processor's settings (`preprocessor_config.json`)."""
    size, crop = processor["size"], processor.get("crop_size") or processor["size"]
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    stretch = "shortest_edge" not in size
    box = size if stretch else crop
    return PreprocessSpec(
        height=box["height"],
        width=box["width"],
        resize="stretch" if stretch else "crop",
        crop_fraction=1.0 if stretch else min(box["height"], box["width"]) / size["shortest_edge"],
        mean=tuple(processor["image_mean"]),
        std=tuple(processor["image_std"]),
    )
