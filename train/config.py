"""What a recipe says: TOML in, frozen settings out; a misspelt key is an error, a default has one home."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import tomli_w

from stpr.runtime.contract.errors import RecipeError
from stpr.train.data.benchmarks import BenchmarkData, cautions
from stpr.train.data.clips import Augment
from stpr.train.explain import explain, nearest
from stpr.train.losses.preservation import PreservationSettings
from stpr.train.model.adapters import AdapterSettings
from stpr.train.model.class_vectors import ClassVectorSettings
from stpr.train.model.experts import ExpertSettings
from stpr.train.model.probe import ProbeSettings
from stpr.train.model.ridge import RidgeSettings
from stpr.train.model.routing import RouterSettings
from stpr.train.model.statistics import StatisticsSettings
from stpr.train.model.stpr import FusionSettings, HeadSettings
from stpr.train.ranges import Count, CountOrNone, NotNegative, Positive, Seed, ShareBelowOne

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).parent / "recipes"
SCORED: Final[dict[str, Literal["gaussian", "ridge", "logistic"]]] = {  # methods that are clip statistics alone
    "streaming_lda": "gaussian",
    "ranpac": "ridge",
    "linear_probe": "logistic",
}
KEEPS_VIDEOS: Final = "{} keeps the videos of all stages and learns them anew each time: a bound, not a rival."
REVISITS: Final = ("linear_probe", "joint")  # methods that keep old videos, to learn all stages anew after each


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the recipe."""


# [data] skip is a list of videos to leave out: a file relative to `root`, as are all files and folders of [data].


class MotionsData(_Section, tag_field="kind", tag="motions", frozen=True):
    """The embedded set, generated into `root` when it is not there yet."""

    root: str = "data/motions"
    train_per_class: Count = 100
    test_per_class: Count = 40
    seed: int = 0
    skip: str = ""


class FolderData(_Section, tag_field="kind", tag="folder", frozen=True):
    """`root/train/<class>/<video>` and `root/test/<class>/<video>`."""

    root: str
    skip: str = ""


class CsvData(_Section, tag_field="kind", tag="csv", frozen=True):
    """A list with the columns path and label; `train` and `test` choose rows by the values of any columns."""

    root: str
    file: str = "clips.csv"
    videos: str = "clips"
    skip: str = ""
    train: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"split": ("train",)})
    test: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"split": ("test",)})


DataSettings: TypeAlias = MotionsData | FolderData | CsvData | BenchmarkData


class StageSettings(_Section, frozen=True):
    """How many classes each stage has, drawn by `seed`; or the classes; or the stages that a benchmark has `fixed`."""

    sizes: tuple[Count, ...] = ()
    seed: Seed | None = None  # the run's own
    classes: tuple[tuple[str, ...], ...] = ()
    fixed: bool = False

    def __post_init__(self) -> None:
        """Refuse none and more than one."""
        if [bool(self.sizes), bool(self.classes), self.fixed].count(True) != 1:
            raise ValueError("[stages] needs either sizes or classes or fixed = true, and only one of them")


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


class UnknownSettings(_Section, frozen=True):
    """Thresholds for "none of the known actions": the share of each class's training clips that they are set on."""

    holdout: ShareBelowOne = 0.1  # 0: no thresholds, nothing is ever unknown
    recall: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95  # of known clips


class OptimizerSettings(_Section, frozen=True):
    """SGD with a cosine to zero (method §6)."""

    rate: Positive = 0.01
    batch: Count = 40
    epochs_first: CountOrNone = 60
    epochs_later: CountOrNone = 30
    momentum: ShareBelowOne = 0.9
    weight_decay: NotNegative = 5e-4
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of forward and backward; weights and tests are float32


class LwfSettings(_Section, frozen=True):
    """Learning without forgetting: how soft the old network's posteriors are made, and what holding them weighs."""

    temperature: Positive = 2.0  # of the distillation, on top of the contrast's
    weight: NotNegative = 1.0


class EwcSettings(_Section, frozen=True):
    """Elastic weight consolidation: what moving an important parameter costs."""

    weight: NotNegative = 30.0


class Recipe(_Section, frozen=True):
    """Everything that decides the outcome of a run."""

    name: str
    data: DataSettings
    stages: StageSettings
    backbone: BackboneSettings
    method: Literal[
        "stpr",
        "finetune",
        "lwf",
        "ewc",
        "nearest_mean",
        "streaming_lda",
        "ranpac",
        "linear_probe",
        "joint",
        "spatial",
    ] = "stpr"
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
    lwf: LwfSettings = LwfSettings()
    ewc: EwcSettings = EwcSettings()
    ranpac: RidgeSettings = RidgeSettings()
    linear_probe: ProbeSettings = ProbeSettings()
    unknown: UnknownSettings = UnknownSettings()
    optimizer: OptimizerSettings = OptimizerSettings()

    def __post_init__(self) -> None:
        """Draw the stages by the run's seed unless they have their own: another seed, another class order."""
        if self.stages.seed is None:
            msgspec.structs.force_setattr(self, "stages", msgspec.structs.replace(self.stages, seed=self.seed))

    @property
    def expert_per_stage(self) -> bool:
        """Whether each stage gets an expert of its own; a baseline has a single one."""
        return self.method == "stpr"

    @property
    def cautions(self) -> list[str]:
        """What must be said wherever figures of this recipe are shown."""
        said = cautions(self.data, drawn=bool(self.stages.sizes))
        return [*said, KEEPS_VIDEOS.format(self.method)] if self.revisits else said

    @property
    def revisits(self) -> bool:
        """Whether each stage is learnt by a fresh network from the videos of all stages so far."""
        return self.method in REVISITS

    @property
    def head(self) -> HeadSettings:
        """The settings of everything behind the frame feature."""
        if self.expert_per_stage:
            return HeadSettings(expert=self.expert, router=self.router, fusion=self.fusion, statistics=self.statistics)
        trains = self.method in ("finetune", "lwf", "ewc", "joint")
        expert = self.expert if trains else ExpertSettings(layers=1, heads=1, mlp_ratio=1)  # untrained: the identity
        if self.method in SCORED:
            return HeadSettings(
                expert=expert,
                # The raw router finds no anchors and gives its expert no weight: the posterior alone is heard.
                router=RouterSettings(),
                fusion=FusionSettings(static=0.0, evidence=1.0),
                statistics=msgspec.structs.replace(self.statistics, likelihood="gaussian"),
                scores=SCORED[self.method],
                ridge=self.ranpac,
                probe=self.linear_probe,
            )
        fusion = msgspec.structs.replace(self.fusion, evidence=0.0)
        return HeadSettings(expert=expert, router=RouterSettings(kind="equal"), fusion=fusion)


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
    """Write the resolved recipe, every default spelt out, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(tomli_w.dumps(msgspec.to_builtins(recipe)), encoding="utf-8")
    part.replace(file)


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
