"""The frozen image network F, loaded through `transformers` from a local folder or a hub id (method §2.1)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES

from stpr.runtime.contract.errors import RecipeError
from stpr.runtime.contract.preprocess import PreprocessSpec
from stpr.train.model.correlations import Correlations
from stpr.train.model.hub import cached_only, fetched_elsewhere
from stpr.train.model.processor import read_processor
from stpr.train.settings.automatic import BackboneTraits

TINY = "tiny"
Inner: TypeAlias = Literal["none", "auto", "pairs"] | tuple[int, ...]
# Shares of the depth. Of a MobileNetV2's 16 hidden states: 10 and 12; the pairs 9 and 14, 11 and 12; 11 and 12.
BY_DEPTH: Final = {"auto": (0.63, 0.75), "pairs": (0.56, 0.875, 0.69, 0.75), "correlated": (0.69, 0.75)}
LARGEST: Final = 1e8  # a weight; variances of batch norms behind unscaled pixels reach 1e6
TINY_FOLDER = Path(__file__).parent / "tiny"


class Backbone(nn.Module):
    """A frozen network of `transformers` that turns normalised pixels `(N, 3, H, W)` into features `(N, W)`.

    With `inner` layers (method §13.1) their means and standard deviations over the picture `(N, I)` are appended, and
    after `correlate` the correlations of channels.
    """

    def __init__(
        self, network: nn.Module, spec: PreprocessSpec, *, source: str, inner: Inner = "none", text: bool = False
    ) -> None:
        super().__init__()
        # Channels last: about twice as fast for MobileNetV2 on a CPU, and slower for no network.
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec = spec
        self.source = source
        self.text = text
        self.swaps = False  # whether the network expects BGR, according to its processor
        self.processor_note = ""  # a note if pictures differ slightly from its own processor's
        self._digest: str | None = None
        self._has_cls = any(name.endswith("cls_token") for name, _ in network.named_parameters())
        self.inner: tuple[int, ...] = ()
        self.layer_widths: tuple[int, ...] = ()  # columns of each inner layer
        self.correlated: tuple[int, ...] = ()  # hidden states whose channels are correlated
        self.correlations = nn.ModuleList()
        blank = torch.zeros(1, 3, spec.height, spec.width)
        try:
            with torch.no_grad():
                self.width = int(self(blank).shape[1])
                self.inner, self.layer_widths = self._layers(inner)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise RecipeError(
                f"[backbone] source {source!r} gives no feature vector for a picture of {spec.height}x{spec.width}"
                f" ({first_line(error)}); name an image network of transformers with a pooled output."
            ) from error

    def forward(self, pixels: Tensor) -> Tensor:
        """The projected CLS token of CLIP (the paper), the pooled features of any other network: `(N, W + I)`.

        Of a transformer without a pooler it is the CLS token.
        """
        deep = bool(self.inner or self.correlated)
        output = self._output(pixels, deep=deep)
        embeds = getattr(output, "image_embeds", None)
        pooled: Tensor = output.pooler_output if embeds is None else embeds
        if pooled is None and self._has_cls:
            pooled = output.last_hidden_state[:, 0]
        pooled = pooled.flatten(1)  # (N, W)
        if not deep:
            return pooled
        states = output.hidden_states
        correlated = (part(states[layer]) for layer, part in zip(self.correlated, self.correlations, strict=True))
        return torch.cat([pooled, *(spread(states[layer]) for layer in self.inner), *correlated], dim=1)

    def _output(self, pixels: Tensor, *, deep: bool) -> Any:
        """What the network gives, with hidden states if `deep`."""
        if self.swaps:
            pixels = pixels[:, [2, 1, 0]]
        return self.network(pixels, output_hidden_states=True) if deep else self.network(pixels)

    def correlate(self, layers: Literal["auto"] | tuple[int, ...], axes: int) -> None:
        """Append correlations between `axes` directions of the channels of these hidden states, once axes are learnt.

        Raises RecipeError for a missing hidden state.
        """
        states = self._states()
        found = by_depth("correlated", len(states)) if layers == "auto" else layers
        if (layers and not found) or max(found, default=-1) >= len(states):
            raise self._missing("correlations", found or layers, none="[]", states=len(states))
        self.correlated = found
        self.correlations = nn.ModuleList(Correlations(_channels(states[layer]), axes) for layer in found)

    @property
    def correlated_widths(self) -> tuple[int, ...]:
        """Columns of each hidden state whose channels are correlated."""
        return tuple(part.width for part in self._parts())

    @property
    def axes(self) -> list[Tensor]:
        """The axes `(C, K)` of each correlated hidden state; zeros before they are learnt."""
        return [part.axes for part in self._parts()]

    def axes_digest(self) -> str | None:
        """SHA-256 of the correlated hidden states and their axes; None without any."""
        if not self.correlated:
            return None
        digest = hashlib.sha256(repr(self.correlated).encode())
        for axes in self.axes:
            digest.update(axes.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def covariances(self, pixels: Tensor) -> list[Tensor]:
        """The covariance of channels `(C, C)` of each correlated hidden state, averaged over pixels `(N, 3, H, W)`."""
        states = self._output(pixels, deep=True).hidden_states
        return [part.covariance(states[layer]) for layer, part in zip(self.correlated, self._parts(), strict=True)]

    def fit_axes(self, covariances: list[Tensor]) -> None:
        """Learn the axes from mean covariances."""
        for part, covariance in zip(self._parts(), covariances, strict=True):
            part.fit(covariance)

    def _parts(self) -> list[Correlations]:
        return list(self.correlations)  # type: ignore[arg-type]  # of nothing else

    def _layers(self, inner: Inner) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Resolve `inner` to numbers of hidden states; also their columns. Raises RecipeError for a missing one."""
        if inner == "none":
            return (), ()
        states = self._states()
        found = by_depth(inner, len(states)) if isinstance(inner, str) else tuple(inner)
        if not found or max(found) >= len(states):
            raise self._missing("inner", found or inner, none='"none"', states=len(states))
        return found, tuple(spread(states[layer]).shape[1] for layer in found)

    def _missing(self, key: str, asked: tuple[int, ...] | str, *, none: str, states: int) -> RecipeError:
        """A hidden state was asked for that the network doesn't have."""
        what = asked if isinstance(asked, str) else list(asked)
        return RecipeError(
            f"[backbone] {key}: {self.source} has {states} hidden states, numbered from 0, so {what} can't be taken;"
            f" name others, or set {key} = {none}."
        )

    @torch.no_grad()
    def _states(self) -> tuple[Tensor, ...]:
        """The hidden states of a blank picture; none if the network shows none."""
        blank = torch.zeros(1, 3, self.spec.height, self.spec.width)
        return getattr(self.network(blank, output_hidden_states=True), "hidden_states", None) or ()

    @property
    def inner_width(self) -> int:
        """I, the columns of all inner layers."""
        return sum(self.layer_widths)

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, so that batch statistics and dropout are frozen too."""
        del mode
        return self

    def transformer_blocks(self) -> list[nn.Module]:
        """The residual blocks that adapters can be inserted into; empty without transformer blocks."""
        lists = [module for module in self.network.modules() if isinstance(module, nn.ModuleList)]
        return [block for blocks in lists for block in blocks if isinstance(getattr(block, "mlp", None), nn.Module)]

    @property
    def traits(self) -> BackboneTraits:
        """The traits that "auto" settings of a recipe depend on."""
        return BackboneTraits(blocks=bool(self.transformer_blocks()), text=self.text, width=self.width)

    def digest(self) -> str:
        """SHA-256 of names and values of all frozen weights, without adapters; computed once."""
        if self._digest is None:
            self._digest = self._hashed()
        return self._digest

    def _hashed(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            if "adapter" not in name:
                digest.update(name.replace(".frozen.", ".").encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def by_depth(which: Literal["auto", "pairs", "correlated"], states: int) -> tuple[int, ...]:
    """Hidden states at shares of the depth; a shallow network has fewer, still an even number for "pairs"."""
    if not states:
        return ()
    last = states - 1
    found = tuple(dict.fromkeys(min(last, round(share * states)) for share in BY_DEPTH[which]))
    if which != "pairs" or len(found) % 2 == 0:
        return found
    return found[:-1] or (max(0, found[0] - 1), found[0])


def _channels(state: Tensor) -> int:
    """C of a hidden state `(N, C, h, w)` or `(N, t, C)`."""
    return state.shape[1] if state.ndim == 4 else state.shape[2]


def spread(state: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over positions: `(N, C, h, w)` or `(N, t, C)` -> `(N, 2 C)`.

    Deviations are at least 0.001, where the square root would be too steep.
    """
    over = (2, 3) if state.ndim == 4 else (1,)
    mean = state.mean(dim=over, keepdim=True)
    variance = (state - mean).square().mean(dim=over)
    return torch.cat([mean.flatten(1), (variance + 1e-6).sqrt()], dim=1)


def resolve_source(source: str) -> str:
    """The folder or hub id for `source`; "tiny" is the network that ships with the project."""
    return str(TINY_FOLDER) if source == TINY else str(Path(source).expanduser()) if source[:1] == "~" else source


def load_backbone(source: str, inner: Inner = "none") -> Backbone:
    """Load a frozen backbone: "tiny", a local folder as `save_pretrained` writes it, or a hub id.

    Raises RecipeError naming the source if it can't be loaded.
    """
    place = resolve_source(source)
    looks_local = place.startswith((".", "/")) or place.count("/") > 1
    if looks_local and not Path(place).is_dir():
        raise RecipeError(f"[backbone] source: there is no folder {place}; name one with a config.json, or a hub id.")
    away = not Path(place).is_dir() and cached_only()
    try:
        _check_readable(Path(place))
        config = transformers.AutoConfig.from_pretrained(place)
        _check_pictures(source, config)
        network = _network(place, config)
        seen = read_processor(place, source)
    except (ImportError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        fix = fetched_elsewhere(source) if away else "give a local folder or hub id: --set backbone.source=DIR."
        raise RecipeError(f"[backbone] source {source!r} can't be loaded ({first_line(error)}); {fix}") from error
    backbone = Backbone(network, seen.spec, source=source, inner=inner, text=config.model_type == "clip")
    backbone.swaps, backbone.processor_note = seen.swaps, seen.note
    return backbone


def _check_readable(folder: Path) -> None:
    """Raise OSError for a file of a local network that can't be read, which the library takes for missing."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.suffix in {".json", ".safetensors", ".bin"}:
            file.open("rb").close()


def _check_pictures(source: str, config: Any) -> None:
    """Raise RecipeError for a video network."""
    if config.model_type in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES or hasattr(config, "num_frames"):
        raise RecipeError(
            f"[backbone] source {source!r} is a video network ({config.model_type}), but frames are encoded one by one;"
            " name an image network, such as a ViT, DINOv2, CLIP or MobileNetV2."
        )


def load_pretrained(kind: Any, place: str) -> nn.Module:
    """Load a network of `transformers` in float32; raises ValueError for missing, NaN, infinite or absurd weights.

    The library would initialise missing weights at random, and the features would not show it.
    """
    quiet()
    network, report = kind.from_pretrained(place, dtype=torch.float32, output_loading_info=True)
    lost = sorted(report["missing_keys"])
    if lost and all(name.startswith("pooler.") for name in lost):
        network.pooler, lost = None, []  # saved with a classifier, as most ViT: the features are the CLS token's
    if lost:
        raise ValueError(f"its weights lack {len(lost)} tensors of {kind.__name__}, such as {lost[0]}")
    for name, value in network.state_dict().items():
        if not value.is_floating_point() or not value.numel():
            continue
        if not value.isfinite().all():
            raise ValueError(f"its weights contain NaN or infinity, in {name}")
        if (size := float(value.abs().max())) > LARGEST:
            raise ValueError(f"its weights are as large as {size:.0e}, in {name}, so they are damaged")
    loaded: nn.Module = network
    return loaded


def first_line(error: Exception) -> str:
    """The first line of a library's error, for a one-line message."""
    text = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
    return next(iter(text.strip().splitlines()), type(error).__name__)


def _network(place: str, config: Any) -> nn.Module:
    """Load the vision tower of a CLIP with its projection, or the base network of any other model."""
    kind = (
        transformers.CLIPVisionModelWithProjection
        if config.model_type in {"clip", "clip_vision_model"}
        else transformers.AutoModel
    )
    return load_pretrained(kind, place)


def quiet() -> None:
    """Disable the library's progress bars and reports; a network that can't be loaded still raises."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
