"""The recipe: all settings that determine a run's result. Free of torch, so that commands start fast."""

from __future__ import annotations

import msgspec

from stpr.train.datasets import AnyDataset
from stpr.train.datasets.annotations import composed
from stpr.train.settings.bounds import Count, Seed, check_folder_name
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
    FEWEST_FRAMES,
    RHYTHM_LAGS,
    AdapterSettings,
    BackboneSettings,
    ClassVectorSettings,
    ExpertSettings,
    FusionSettings,
    ProbeSettings,
    RidgeSettings,
    RouterSettings,
    StatisticsSettings,
)
from stpr.train.settings.section import Section


class StageSettings(Section, frozen=True):
    """The stages: `sizes` (classes drawn by `seed`), or `classes` per stage, or `fixed` by the data set."""

    sizes: tuple[Count, ...] = ()
    seed: Seed | None = None  # default: the run's seed
    classes: tuple[tuple[str, ...], ...] = ()
    fixed: bool = False

    def __post_init__(self) -> None:
        """Require exactly one of the three; compose the Unicode of class names."""
        if [bool(self.sizes), bool(self.classes), self.fixed].count(True) != 1:
            raise ValueError("[stages] needs either sizes or classes or fixed = true, and only one of them")
        msgspec.structs.force_setattr(self, "classes", tuple(tuple(map(composed, names)) for names in self.classes))


class Recipe(Section, frozen=True):
    """All settings that determine the result of a run."""

    name: str
    data: AnyDataset
    stages: StageSettings
    backbone: BackboneSettings
    method: str = "stpr"  # a name in stpr.train.methods.METHODS
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
        """Use the run's seed for the class order unless the stages have one; check settings against each other."""
        check_folder_name(self.name)
        if not self.unknown.holdout:
            if self.statistics.events:
                raise ValueError("[statistics] events = true learns from held-out clips; set [unknown] holdout above 0")
            if self.fusion.kind == "posteriors" and self.expert.layers:
                raise ValueError(
                    '[fusion] kind = "posteriors" tests experts on held-out clips; set [unknown] holdout above 0, or'
                    " [expert] layers = 0"
                )
        if not self.expert.layers and self.fusion.kind == "vectors":
            raise ValueError('[expert] layers = 0 leaves no vectors to fuse; set [fusion] kind = "posteriors"')
        self._check_views()
        for part in self.statistics.all_parts:
            if self.sampling.frames < (fewest := FEWEST_FRAMES.get(part, 1)):
                raise ValueError(
                    f"[statistics] part {part!r} compares {fewest} frames or more of a clip, but [sampling] frames is"
                    f" {self.sampling.frames}; take more frames or leave the part out"
                )
        if self.stages.seed is None:
            msgspec.structs.force_setattr(self, "stages", msgspec.structs.replace(self.stages, seed=self.seed))

    def _check_views(self) -> None:
        """Raise ValueError if the statistics use columns that the frame features lack."""
        statistics, pairs = self.statistics, self.sampling.motion
        if statistics.inner.parts and self.backbone.inner == "none":
            raise ValueError('[statistics] inner describes inner layers; name some in [backbone] inner, or "auto"')
        if self.backbone.correlations and statistics.likelihood == "cosine" and statistics.concentration != "learnt":
            raise ValueError(
                "[backbone] correlations are a view of their own, and one concentration can't weight several; set"
                ' [statistics] concentration = "learnt"'
            )
        if (statistics.motion.parts or statistics.rhythm or statistics.affine) and not pairs:
            raise ValueError("[statistics] motion, rhythm and affine describe motion; set [sampling] motion, such as 4")
        if statistics.rhythm and self.sampling.frames * pairs <= max(RHYTHM_LAGS):
            raise ValueError(
                f"[statistics] rhythm looks {max(RHYTHM_LAGS)} pairs back, and {self.sampling.frames} frames with"
                f" {pairs} pairs hold too few; set [sampling] motion or frames higher"
            )

    @property
    def deciding(self) -> Recipe:
        """The recipe without settings that only concern a machine (threads, paths): if equal, the results are equal.

        A network at another path is verified by its digest.
        """
        replace = msgspec.structs.replace
        return replace(self, backbone=replace(self.backbone, source=""), sampling=replace(self.sampling, workers=1))

    @property
    def data_cautions(self) -> list[str]:
        """Caveats that must accompany results on these data."""
        return self.data.cautions(drawn=bool(self.stages.sizes))
