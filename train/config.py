"""What a recipe says: TOML in, frozen settings out; a misspelt key is an error, a default has one home."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import tomli_w

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.clips import Augment
from stpr.train.explain import explain, nearest
from stpr.train.losses.preservation import PreservationSettings
from stpr.train.model.adapters import AdapterSettings
from stpr.train.model.class_vectors import ClassVectorSettings
from stpr.train.model.experts import ExpertSettings
from stpr.train.model.routing import RouterSettings
from stpr.train.model.statistics import StatisticsSettings
from stpr.train.model.stpr import FusionSettings, HeadSettings
from stpr.train.ranges import Count, CountOrNone, NotNegative, Positive, Seed, ShareBelowOne

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).parent / "recipes"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the recipe."""


class MotionsData(_Section, tag_field="kind", tag="motions", frozen=True):
    """The embedded set, generated into `root` when it is not there yet."""

    root: str = "data/motions"
    train_per_class: Count = 100
    test_per_class: Count = 40
    seed: int = 0


class FolderData(_Section, tag_field="kind", tag="folder", frozen=True):
    """`root/train/<class>/<video>` and `root/test/<class>/<video>`."""

    root: str


class CsvData(_Section, tag_field="kind", tag="csv", frozen=True):
    """A list with the columns path and label; `train` and `test` choose rows by the values of any columns."""

    root: str
    file: str = "clips.csv"
    videos: str = "clips"
    train: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"split": ("train",)})
    test: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"split": ("test",)})


DataSettings: TypeAlias = MotionsData | FolderData | CsvData


class StageSettings(_Section, frozen=True):
    """Either how many classes each stage has, drawn by `seed`, or the classes themselves."""

    sizes: tuple[Count, ...] = ()
    seed: Seed = 0
    classes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse both or neither."""
        if bool(self.sizes) == bool(self.classes):
            raise ValueError("[stages] needs either sizes or classes, not both and not neither")


class BackboneSettings(_Section, frozen=True):
    """The frozen network: "tiny", a local folder, or a hub id; `projection` 0 keeps its own width."""

    source: str
    projection: CountOrNone = 0


class SamplingSettings(_Section, frozen=True):
    """Frames of a clip, and how many random draws of each training clip are encoded when nothing upstream trains."""

    frames: Annotated[int, msgspec.Meta(ge=2)] = 8  # of one frame there is no temporal part
    draws: CountOrNone = 4
    augment: Augment = Augment(multi_scale_crop=True, flip=True)
    workers: Count = 2  # threads that decode ahead


class ContrastSettings(_Section, frozen=True):
    """L_Cont: its temperature, its negatives, and whether the spatial term is used."""

    temperature: Positive = 0.01
    negatives: Literal["seen", "current"] = "seen"
    distractors: CountOrNone = 0  # random unit vectors among the negatives: they stand for classes yet to come
    spatial: bool = True


class OptimizerSettings(_Section, frozen=True):
    """SGD with a cosine to zero (method §6)."""

    rate: Positive = 0.01
    batch: Count = 40
    epochs_first: CountOrNone = 60
    epochs_later: CountOrNone = 30
    momentum: ShareBelowOne = 0.9
    weight_decay: NotNegative = 5e-4


class Recipe(_Section, frozen=True):
    """Everything that decides the outcome of a run."""

    name: str
    data: DataSettings
    stages: StageSettings
    backbone: BackboneSettings
    method: Literal["stpr", "finetune"] = "stpr"
    seed: Seed = 0
    sampling: SamplingSettings = SamplingSettings()
    class_vectors: ClassVectorSettings = ClassVectorSettings()
    adapter: AdapterSettings = AdapterSettings()
    expert: ExpertSettings = ExpertSettings()
    router: RouterSettings = RouterSettings()
    fusion: FusionSettings = FusionSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    contrast: ContrastSettings = ContrastSettings()
    preservation: PreservationSettings = PreservationSettings()
    optimizer: OptimizerSettings = OptimizerSettings()

    @property
    def head(self) -> HeadSettings:
        """The settings of everything behind the frame feature."""
        if self.method == "finetune":
            fusion = msgspec.structs.replace(self.fusion, evidence=0.0)
            return HeadSettings(expert=self.expert, router=RouterSettings(kind="equal"), fusion=fusion)
        return HeadSettings(expert=self.expert, router=self.router, fusion=self.fusion, statistics=self.statistics)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def load_recipe(name: str, *, changes: Sequence[str] = (), root: str | None = None) -> Recipe:
    """Read a shipped recipe or a TOML file, with `KEY=VALUE` changes such as `optimizer.rate=0.02` applied.

    Raises RecipeError for an unknown recipe, key or value.
    """
    file = RECIPES / f"{name}.toml" if name in shipped_recipes() else Path(name)
    if not file.is_file():
        near = nearest(name, shipped_recipes())
        raise RecipeError(f"no recipe {name!r}{near}: give a TOML file or one of {', '.join(shipped_recipes())}.")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} is not TOML: {error}.") from error
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(f"--set {change!r}: write KEY=VALUE, such as --set optimizer.rate=0.02.")
        _apply(tables, key, _toml_value(text.strip()))
    if root is not None:
        _apply(tables, "data.root", root)
    return parse_recipe(tables, where=str(file))


def parse_recipe(tables: dict[str, Any], *, where: str) -> Recipe:
    """Check tables against the settings; raises RecipeError naming the key and what was expected there."""
    try:
        return msgspec.convert(tables, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {explain(str(error), tables, Recipe)}.") from error


def write_recipe(recipe: Recipe, file: Path) -> None:
    """Write the resolved recipe, every default spelt out."""
    file.write_text(tomli_w.dumps(msgspec.to_builtins(recipe)), encoding="utf-8")


def _apply(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; a table that is not there yet is made."""
    *path, last = (part.strip() for part in key.split("."))
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise RecipeError(f"{key.strip()!r} can't be set: {part!r} is a value, not a table of settings.")
    tables[last] = value


def _toml_value(text: str) -> Any:
    """What the text means in TOML; a bare word is a string, since nobody should have to quote twice for the shell."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text
