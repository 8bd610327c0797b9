"""A recipe: everything that decides the outcome of a run. Torch-free, so that a command line can read one at once."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from stpr.train.datasets import AnyDataset
from stpr.train.settings.bounds import Count, Seed
from stpr.train.settings.learning import (
    ContrastSettings,
    EwcSettings,
    LwfSettings,
    OptimizerSettings,
    PreservationSettings,
    SamplingSettings,
    UnknownSettings,
)
from stpr.train.settings.model import (
    AdapterSettings,
    BackboneSettings,
    ClassVectorSettings,
    ExpertSettings,
    FusionSettings,
    HeadSettings,
    ProbeSettings,
    RidgeSettings,
    RouterSettings,
    StatisticsSettings,
)
from stpr.train.settings.section import Section

SCORED: Final[dict[str, Literal["gaussian", "ridge", "logistic"]]] = {  # methods that are clip statistics alone
    "streaming_lda": "gaussian",
    "ranpac": "ridge",
    "linear_probe": "logistic",
}
KEEPS_VIDEOS: Final = "{} keeps the videos of all stages and learns them anew each time: a bound, not a rival."
REVISITS: Final = ("linear_probe", "joint")  # methods that keep old videos, to learn all stages anew after each


class StageSettings(Section, frozen=True):
    """How many classes each stage has, drawn by `seed`; or the classes; or the stages that a benchmark has `fixed`."""

    sizes: tuple[Count, ...] = ()
    seed: Seed | None = None  # the run's own
    classes: tuple[tuple[str, ...], ...] = ()
    fixed: bool = False

    def __post_init__(self) -> None:
        """Refuse none and more than one."""
        if [bool(self.sizes), bool(self.classes), self.fixed].count(True) != 1:
            raise ValueError("[stages] needs either sizes or classes or fixed = true, and only one of them")


class Recipe(Section, frozen=True):
    """Everything that decides the outcome of a run."""

    name: str
    data: AnyDataset
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
        said = self.data.cautions(drawn=bool(self.stages.sizes))
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
