"""Turn the arguments of `stpr-train` into a task: a recipe, a folder of videos, or new classes for a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from stpr.runtime.contract.errors import CheckpointError, DataError, RecipeError
from stpr.train.datasets.annotations import Video, carried, some
from stpr.train.datasets.class_folders import background_of, read_class_folders
from stpr.train.datasets.csv_list import CsvList, write_list
from stpr.train.datasets.folder import VIDEO_SUFFIXES
from stpr.train.methods import check_names
from stpr.train.methods.build import settle
from stpr.train.run.folder import RECIPE, VIDEOS, begun_stages, recipe_file, videos_file
from stpr.train.run.resume import read_history
from stpr.train.settings.load import folder_recipe, load_recipe, read_resolved
from stpr.train.settings.recipe import Recipe, StageSettings
from stpr.train.settings.shipped import shipped_recipes


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options besides the recipe or folder of videos; `run`: a finished run that should learn more classes."""

    data: str | None = None
    out: Path | None = None
    run: Path | None = None
    resume: bool = False
    changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A recipe and a run folder; for a folder of videos, also the list of videos, which is not written yet."""

    recipe: Recipe
    out: Path
    resume: bool
    videos: Sequence[Video] = ()
    notes: Sequence[str] = ()

    def write_list(self) -> None:
        """Write the list into the run folder; raises StprError, and writes nothing, if the run can't start there."""
        if not self.videos:
            return
        read_history(self.out, settle(self.recipe)[0], resume=self.resume)
        try:
            write_list(videos_file(self.out), self.videos)
        except OSError as error:
            raise RecipeError(f"--out {self.out} can't be written ({error.strerror}); choose another.") from error

    @contextmanager
    def for_dry_run(self) -> Iterator[Recipe]:
        """The recipe for a dry run, with the list in a temporary file."""
        if not self.videos:
            yield self.recipe
            return
        with TemporaryDirectory() as place:
            write_list(Path(place) / VIDEOS, self.videos)
            yield replace(self.recipe, data=replace(self.recipe.data, root=place))


def read_task(name: str, options: TaskOptions) -> Task:
    """The task of `stpr-train NAME`. Raises RecipeError or DataError for an invalid one."""
    if options.run is not None:
        task = _more_classes(Path(name), options.run, options)
    elif Path(name).is_dir() and name not in shipped_recipes():
        task = _folder(Path(name), options)
    elif Path(name).suffix.lower() in VIDEO_SUFFIXES:
        raise RecipeError(f"{name} is a video; give the folder that holds a folder of videos for each class.")
    else:
        task = _recipe(name, options)
    check_names(task.recipe)
    return task


def _recipe(name: str, options: TaskOptions) -> Task:
    """A recipe's stages. The recipe of a run on a folder of videos reads the list beside it, wherever the run is now.

    `--data` names the folder that such a run's videos were moved to.
    """
    run = Path(name).parent
    if Path(name).name != RECIPE or not videos_file(run).is_file() or not begun_stages(run):
        recipe = load_recipe(name, changes=options.changes, root=options.data)
        return Task(recipe, options.out or _default_out(recipe.name), options.resume)
    recipe = load_recipe(name, changes=options.changes, root=str(run))
    out = options.out or _default_out(recipe.name)
    moved = _found_again(run, Path(options.data)) if options.data else []
    recipe = replace(recipe, data=replace(recipe.data, root=str(out))) if moved else recipe
    return Task(recipe, out, options.resume, moved)


def _folder(folder: Path, options: TaskOptions) -> Task:
    """One stage with all classes of a folder; to resume a run, the videos it was started with."""
    if options.data is not None:
        raise RecipeError(f"--data {options.data}: {folder} is a folder of videos, not a recipe; leave --data out.")
    name = folder.resolve().name
    out = options.out or _default_out(name)
    lost = [file.name for file in (recipe_file(out), videos_file(out)) if not file.is_file()]
    if options.resume and lost and begun_stages(out):
        raise CheckpointError(
            f"{out} has stages but no {lost[0]}, with which they were learnt; restore it from a copy, or choose another"
            " --out."
        )
    if options.resume and not lost:
        recipe = _skipping(read_resolved(recipe_file(out), changes=options.changes, root=str(out)))
        return Task(recipe, out, resume=True, videos=_found_again(out, folder))
    videos, notes = read_class_folders(folder.resolve())
    background, background_notes = background_of(folder.resolve())
    classes = sorted({video.label for video in videos})
    data = {"kind": "csv", "root": str(out), "file": VIDEOS, "videos": "", "background": background}
    tables = {"name": name, "data": data, "stages": {"classes": [classes]}}
    recipe = _skipping(folder_recipe(tables, changes=options.changes))
    return Task(recipe, out, options.resume, videos, [*notes, *background_notes])


def _skipping(recipe: Recipe) -> Recipe:
    """Take a skip list relative to the working folder, as any path of a command: the root is the run folder here."""
    skip = recipe.data.skip
    return replace(recipe, data=replace(recipe.data, skip=str(Path(skip).absolute()))) if skip else recipe


def _found_again(run: Path, folder: Path) -> list[Video]:
    """The run's list with new paths for videos that were moved to the folder; empty if none was."""
    listed = CsvList(root=str(run), file=VIDEOS, videos="").listed().videos
    now = [dataclasses.replace(video, path=carried(video.path, folder.resolve())) for video in listed]
    return now if now != listed else []


def _more_classes(folder: Path, run: Path, options: TaskOptions) -> Task:
    """A further stage with those classes of a folder that the run has not learnt."""
    if options.data is not None or options.out is not None:
        raise RecipeError(f"--run {run} already determines the folder; remove --data and --out.")
    if not folder.is_dir():
        raise RecipeError(f"--run {run} needs a folder of videos to learn from, and {folder} is not one; name one.")
    if not recipe_file(run).is_file():
        raise CheckpointError(f"--run {run} is not a run: it has no {recipe_file(run).name}; name a run folder.")
    begun = read_resolved(recipe_file(run), changes=options.changes)
    past = read_history(run, begun, resume=True)
    if past is None:
        raise CheckpointError(f"--run {run} has no finished stage yet; finish it first, with --resume.")
    learnt = past.record.stages
    known = set(chain.from_iterable(learnt))
    videos, notes = read_class_folders(folder.resolve())
    background, background_notes = _background_of(folder.resolve(), begun)
    new = tuple(sorted({video.label for video in videos} - known))
    if not new:
        raise DataError(f"{folder} has no class that is new to {run}, which knows {some(sorted(known))}; add one.")
    _check_finished(begun.stages, learnt, new, run)
    if old := sorted({video.label for video in videos} & known):
        notes = [*notes, f"already learnt, so ignored: {some(old)}"]
    kept = CsvList(root=str(run), file=VIDEOS, videos="").listed().videos if videos_file(run).is_file() else []
    listed = [video for video in kept if video.label not in new] + [video for video in videos if video.label in new]
    recipe = replace(
        begun,
        data=CsvList(root=str(run), file=VIDEOS, videos="", background=background, skip=_skip_of(begun, run)),
        stages=StageSettings(classes=(*learnt, new), seed=begun.stages.seed),
    )
    return Task(recipe, run, resume=True, videos=listed, notes=[*notes, *background_notes])


def _skip_of(begun: Recipe, run: Path) -> str:
    """The run's skip list, or a new one relative to the working folder; "" without one."""
    skip, before = begun.data.skip, read_resolved(recipe_file(run)).data.skip
    return str(begun.data.path(skip) if skip == before else Path(skip).absolute()) if skip else ""


def _background_of(folder: Path, begun: Recipe) -> tuple[str, list[str]]:
    """The new folder's background videos, else those of the run, else none; and notes for the user."""
    background, notes = background_of(folder)
    if background or not begun.data.background:
        return background, notes
    kept = begun.data.path(begun.data.background)
    if kept.is_dir():
        return str(kept), notes
    return "", [f"the background videos in {kept} are gone: from now on events are learnt without them"]


def _check_finished(begun: StageSettings, learnt: Sequence[tuple[str, ...]], new: tuple[str, ...], run: Path) -> None:
    """Raise RecipeError if the run still has planned stages other than these new classes."""
    planned = len(begun.classes or begun.sizes)
    if planned > len(learnt) and begun.classes[len(learnt) :] != (new,):
        raise RecipeError(f"--run {run} has learnt {len(learnt)} of {planned} stages; finish it first, with --resume.")


def _default_out(name: str) -> Path:
    return Path("runs") / name
