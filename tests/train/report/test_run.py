from __future__ import annotations

import base64
import itertools
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from markdown_it import MarkdownIt

from stpr.runtime.contract.errors import CheckpointError
from stpr.train.report.figures import (
    FAINT,
    accuracy_figure,
    confusion_figure,
    forgetting_figure,
    losses_figure,
    routing_figure,
)
from stpr.train.report.run import CAPTIONS, finished_runs, summary, write_report
from stpr.train.run.calibration import Calibration
from stpr.train.run.folder import classified_files
from stpr.train.run.metrics import UNKNOWN, Metrics, average_incremental, backward_forgetting, write_metrics
from stpr.train.run.open_set_metrics import UnknownFigures
from tests.factories import make_video


def made_up(sizes: list[int], *, method: str = "stpr", learns_by_epochs: bool = True) -> Metrics:
    """Figures of a run that loses two points per later stage."""
    count, stages = sum(sizes), len(sizes)
    classes = [f"class_{number}" for number in range(count)]
    edges = [0, *np.cumsum(sizes).tolist()]
    accuracy: list[list[float | None]] = [
        [0.98 - 0.02 * (row - stage) for stage in range(row + 1)] for row in range(stages)
    ]
    seen = [float(np.mean(np.asarray(row, dtype=float))) for row in accuracy]
    return Metrics(
        method=method,
        seed=7,
        classes=classes,
        stages=[classes[start:end] for start, end in itertools.pairwise(edges)],
        accuracy=accuracy,
        seen=seen,
        final=seen[-1],
        average_incremental=average_incremental(seen),
        backward_forgetting=backward_forgetting(accuracy),
        seconds=3725.0,
        environment={"command": "stpr-train motions --out 'runs/<a|b>'", "torch": "2.13.0"},
        confusion=(np.eye(count, dtype=int) * 9 + 1).tolist(),
        routing=[[1 / stages] * stages for _ in sizes] if learns_by_epochs else [],
        curves=[[{"contrast": 2.0, "preservation": 0.01}] * 3 if learns_by_epochs else [] for _ in sizes],
        routing_accuracy=0.875 if learns_by_epochs else None,
        oracle_accuracy=0.995 if learns_by_epochs else None,
    )


STRANGE = UnknownFigures(
    recall=0.9512, false_positive_rate=0.0321, auroc=0.9876, false_positive_rate_at_recall=0.0432, target_recall=0.95
)


def save(root: Path, name: str, metrics: Metrics) -> Path:
    run = root / name
    run.mkdir()
    write_metrics(run, metrics)
    return run


class Page(HTMLParser):
    """The pictures, links and text of a page; `handle_starttag` sees malformed nesting too."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(source)

    @classmethod
    def of(cls, file: Path) -> Page:
        """A page, or a file of Markdown with raw HTML and GitHub's strikethrough, as a reader would see it."""
        text = file.read_text(encoding="utf-8")
        return cls(
            MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text) if file.suffix == ".md" else text
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "img":
            self.images.append(found["src"] or "")
        elif found.get("href") or found.get("src"):
            self.links.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    lda = made_up([2, 1, 1, 2], method="lda", learns_by_epochs=False)
    path = save(root, "stpr", made_up([2, 1, 1]))
    assert write_report(path, {"streaming <LDA>": lda}) == path / "report" / "index.html"
    return path


def test_every_picture_is_drawn(run: Path) -> None:
    assert {path.name for path in (run / "report").iterdir()} == {
        "report.md", "index.html", *(f"{name}.png" for name in CAPTIONS)
    }  # fmt: skip
    for name in CAPTIONS:
        picture = cv2.imread(str(run / "report" / f"{name}.png"))
        assert picture is not None
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 10  # not a white sheet


def test_the_page_needs_nothing_beside_it(run: Path) -> None:
    page = Page((run / "report" / "index.html").read_text(encoding="utf-8"))
    assert page.links == []
    for name, source in zip(CAPTIONS, page.images, strict=True):
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (run / "report" / f"{name}.png").read_bytes()


def test_page_and_markdown_hold_the_same_results(run: Path) -> None:
    markdown = (run / "report" / "report.md").read_text(encoding="utf-8")
    metrics = made_up([2, 1, 1])
    figures = [f"{100 * share:.1f} %" for share in (metrics.final, metrics.average_incremental, 0.03, 0.875, 0.995)]
    for file in ("index.html", "report.md"):
        text = Page.of(run / "report" / file).text
        positions = [text.index(figure) for figure in ("stpr (this run)", *figures, "1 h 2 min", "streaming <LDA>")]
        assert positions == sorted(positions)
        assert "stpr-train motions --out 'runs/<a|b>'" in text
        assert "class_0, class_1" in text
        assert "stpr: 4 classes in 3 stages" in text
    for name in CAPTIONS:
        assert f"({name}.png)" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {3, 5, 6, 9}


def test_what_a_method_lacks_is_left_out(tmp_path: Path) -> None:
    closed = save(tmp_path, "lda", made_up([2, 1], learns_by_epochs=False))
    (closed / "report").mkdir()
    (closed / "report" / "losses.png").touch()  # of an earlier run in this folder
    page = write_report(closed)
    assert {path.stem for path in page.parent.glob("*.png")} == {"accuracy", "forgetting", "confusion"}
    assert len(Page(page.read_text(encoding="utf-8")).images) == 3


def test_what_a_single_stage_can_not_show_is_left_out(tmp_path: Path) -> None:
    run = save(tmp_path, "first", made_up([3]))
    page = write_report(run)
    assert {path.stem for path in page.parent.glob("*.png")} == {"confusion", "losses"}
    assert "average over stages" not in summary(made_up([3]), run, page)
    assert "average over stages" in summary(made_up([3, 1]), run, page)
    write_report(run, {"other": made_up([3])})
    assert {path.stem for path in page.parent.glob("*.png")} == {"accuracy", "confusion", "losses"}


@pytest.mark.parametrize("sizes", [[1], [3], [4, *[2] * 14], [60, 60]])
def test_pictures_are_drawn_at_any_size(sizes: list[int]) -> None:
    metrics = made_up(sizes)
    figures = [
        accuracy_figure(metrics, {}), forgetting_figure(metrics), confusion_figure(metrics),
        routing_figure(metrics), losses_figure(metrics),
    ]  # fmt: skip
    for figure in figures:
        width, height = figure.get_size_inches()
        assert min(width, height) > 2.5
        assert max(width, height) <= 20
        figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("count", "numbered", "named"), [(30, True, True), (31, False, True), (101, False, True), (174, False, False)]
)
def test_many_classes_stay_legible(count: int, numbered: bool, named: bool) -> None:
    axes = confusion_figure(made_up([count])).axes[0]
    assert bool(axes.texts) == numbered
    assert ("class_0" in [label.get_text() for label in axes.get_yticklabels()]) == named
    assert ("(%)" in axes.get_title()) == numbered


@pytest.mark.parametrize("count", [2, 10, 31, 100])
@pytest.mark.parametrize("letter", ["x", "W", "走"])
def test_long_names_take_nothing_from_the_table_and_stay_on_the_picture(count: int, letter: str) -> None:
    names = [f"{number:03}{letter * 64}{number:03}" for number in range(count)]
    figure = confusion_figure(msgspec.structs.replace(made_up([count]), classes=names, stages=[names]))
    figure.draw_without_rendering()  # matplotlib warns where nothing is left for the table
    axes = figure.axes[0]
    whole = figure.bbox
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        place = label.get_window_extent()
        assert place.x0 >= whole.x0 - 1
        assert place.y0 >= whole.y0 - 1
    assert axes.get_window_extent().width > 0.3 * whole.width
    assert len({label.get_text() for label in axes.get_yticklabels()}) == count


def test_a_stage_that_is_forgotten_entirely_shows_0() -> None:
    metrics = msgspec.structs.replace(made_up([1, 1]), accuracy=[[1.0], [0.0, 1.0]])
    numbers = [text.get_text() for text in forgetting_figure(metrics).axes[0].texts]
    assert numbers == ["100", "0", "100"]


def without_first_stages(metrics: Metrics, stages: int) -> Metrics:
    """The same run after the test videos of its first stages went."""
    gone = sum(len(names) for names in metrics.stages[:stages])
    return msgspec.structs.replace(
        metrics,
        accuracy=[*metrics.accuracy[:-1], [*[None] * stages, *metrics.accuracy[-1][stages:]]],
        confusion=[[0] * len(metrics.classes)] * gone + metrics.confusion[gone:],
        routing=[*[None] * stages, *metrics.routing[stages:]],
    )


def test_what_was_not_tested_is_a_dash_in_every_picture() -> None:
    metrics = without_first_stages(made_up([2, 1, 1]), 2)
    for figure, dashes in (
        (forgetting_figure(metrics), [(0, 2), (1, 2)]),
        (confusion_figure(metrics), [(column, row) for row in range(3) for column in range(4)]),
        (routing_figure(metrics), [(column, row) for row in range(2) for column in range(3)]),
    ):
        texts = figure.axes[0].texts
        assert [text.get_position() for text in texts if text.get_text() == UNKNOWN] == dashes
        assert len(texts) > len(dashes)
        figure.draw_without_rendering()
    accuracy_figure(metrics, {"other": made_up([2, 1])}).draw_without_rendering()


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        (1, "1 of 3 stages could not be tested because its videos are gone: 1."),
        (2, "2 of 3 stages could not be tested because their videos are gone: 1, 2."),
    ],
)
def test_the_report_says_what_was_not_tested(tmp_path: Path, stages: int, sentence: str) -> None:
    run = save(tmp_path, "later", without_first_stages(made_up([2, 1, 1]), stages))
    page = Page(write_report(run).read_text(encoding="utf-8")).text
    markdown = (run / "report" / "report.md").read_text(encoding="utf-8")
    assert sentence in page
    assert sentence in markdown.splitlines()
    row = next(line for line in markdown.splitlines() if "(this run)" in line)
    assert (f"| {UNKNOWN} |" in row) == (stages == 2)  # nothing is known of forgetting


def test_raw_routing_cosines_may_be_negative() -> None:
    metrics = msgspec.structs.replace(made_up([1, 1]), routing=[[0.5, -0.4], [-0.1, 0.6]])
    axes = routing_figure(metrics).axes[0]
    assert [text.get_text() for text in axes.texts] == ["50", "-40", "-10", "60"]
    assert axes.images[0].get_clim() == (-0.4, 1.0)


def test_each_loss_term_has_a_panel_of_its_own() -> None:
    epochs = [
        {"contrast": 10.0**-epoch, "preservation": 1.0 - epoch, "total": 1.0, "anchors": 2.0} for epoch in range(4)
    ]
    metrics = msgspec.structs.replace(made_up([1, 1]), curves=[epochs, epochs[:2]])
    panels = {axes.get_title(): axes for axes in losses_figure(metrics).axes}
    assert list(panels) == ["contrast", "preservation", "total", "anchors"]
    scales = [axes.get_yscale() for axes in panels.values()]
    assert scales == ["log", "linear", "linear", "linear"]
    first, second = (
        np.asarray(line.get_xdata()).tolist() for line in panels["total"].get_lines() if line.get_color() != FAINT
    )
    assert (first, second) == ([1, 2, 3, 4], [5, 6])


def test_a_run_to_compare_with_must_have_figures(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no metrics\.json"):
        finished_runs([run, tmp_path])


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = {}
    for place, name in enumerate(("a/lda", "a/lwf", "a/seed-0", "b/seed-0"), start=1):
        Path(name).mkdir(parents=True)
        found[name] = made_up([1] * place)
        write_metrics(Path(name), found[name])
    lda, lwf, first, second = found.values()
    assert finished_runs([Path("a/lda"), Path("a/lwf")]) == {"lda": lda, "lwf": lwf}
    assert list(finished_runs([Path("a/seed-0"), Path("b/seed-0")]).items()) == [
        ("a/seed-0", first), ("b/seed-0", second)
    ]  # fmt: skip
    assert finished_runs([Path("a/lda"), Path("a/lda")]) == {"lda": lda}
    monkeypatch.chdir("a/lwf")
    assert finished_runs([Path()]) == {"lwf": lwf}


@pytest.mark.parametrize("name", ["motions", "exp [v2]", "it's; rm $HOME", "-x"])
def test_the_next_command_can_be_pasted_into_a_shell(name: str) -> None:
    folder = Path("runs") / name
    said = summary(made_up([1, 1]), folder, folder / "report" / "index.html")
    (line,) = (line for line in said.splitlines() if line.startswith("next:   "))
    assert shlex.split(line.removeprefix("next:   ")) == ["stpr-export", "--stage", "2", "--run", str(folder)]


def test_notes_and_lists_are_on_the_page_and_notes_of_runs_beside_it(tmp_path: Path) -> None:
    lists = {"lists/train.txt": ["ab12", "cd34"]}
    noted = msgspec.structs.replace(made_up([1, 1]), notes=["Clips of one person are on both sides."], lists=lists)
    other = msgspec.structs.replace(made_up([1, 1]), notes=["Drawn by a seed."])
    page = write_report(save(tmp_path, "run", noted), {"beside": other})
    for text in (Page(page.read_text(encoding="utf-8")).text, (page.parent / "report.md").read_text(encoding="utf-8")):
        assert "Clips of one person are on both sides." in text
        assert "beside: Drawn by a seed." in text
        assert text.count("SHA-256 of lists/train.txt") == 2
        assert "ab12" in text
        assert "cd34" in text


def test_unknown_classes_have_a_table_where_thresholds_were_set(tmp_path: Path) -> None:
    last = UnknownFigures(recall=0.9, false_positive_rate=None, auroc=None, false_positive_rate_at_recall=None)
    metrics = msgspec.structs.replace(made_up([2, 1]), unknown=[STRANGE, last])
    page = write_report(save(tmp_path, "with", metrics))
    text = (page.parent / "report.md").read_text()
    assert "| 1 | 98.8 % | 4.3 % | 3.2 % | 95.1 % |\n" in text
    assert f"| 2 | {UNKNOWN} | {UNKNOWN} | {UNKNOWN} | 90.0 % |\n" in text
    assert "| after stage | AUROC | FPR at 95 % TPR | FPR by the thresholds | TPR by the thresholds |\n" in text
    assert "Unknown classes" in Page.of(page).text
    older = [msgspec.structs.replace(STRANGE, target_recall=None), last]
    page = write_report(save(tmp_path, "older", msgspec.structs.replace(metrics, unknown=older)))
    assert "FPR at target TPR" in Page.of(page).text
    plain = write_report(save(tmp_path, "without", made_up([2, 1])))
    assert "Unknown classes" not in plain.read_text() + (plain.parent / "report.md").read_text()


def test_what_decides_and_how_true_scores_are_is_said_where_it_is_learnt(tmp_path: Path) -> None:
    metrics = msgspec.structs.replace(
        made_up([2, 1]),
        calibration=[None, Calibration(before=0.1234, after=0.004)],
        decision_weights={"appearance": 13.84, "motion": 0.0, "expert of stage 1": 2.0, "expert of stage 2": 0.0},
    )
    text = (write_report(save(tmp_path, "with", metrics)).parent / "report.md").read_text()
    assert "| 2 | 12.3 % | 0.4 % |\n" in text
    rows = "| appearance | 13.8 |\n| motion | 0.0 |\n| expert of stage 1 | 2.0 |\n| expert of stage 2 | 0.0 |\n"
    assert rows in text
    assert "mirror" not in text
    for one_sided, told in (
        ([], "The mirror image of a movement counts as the same movement.\n"),
        (
            ["left_turn", "b|c"],
            "the same movement, but not for left_turn, b\\|c: in a mirror, each looks like another class.\n",
        ),
    ):
        mirrored = msgspec.structs.replace(metrics, one_sided=one_sided)
        text = (write_report(save(tmp_path, f"mirrored {len(one_sided)}", mirrored)).parent / "report.md").read_text()
        assert told in text
    plain = (write_report(save(tmp_path, "without", made_up([2, 1]))).parent / "report.md").read_text()
    assert "## Scores" not in plain
    assert "## Weights of views and experts" not in plain


NAMES = [
    "exp [v2]", "pay_$5_to_$10", "<b>bold</b>", "a|b", "`code`", "**x**", "_a_", "\\frac", "$\\frac$", "&lt;", "~~c~~",
    ":smile:", "[red]no[/red]", "1. first", "50 % & more",
]  # fmt: skip


def test_names_with_markup_are_literal_on_pages_and_in_figures(tmp_path: Path) -> None:
    plain = made_up([len(NAMES)])
    metrics = msgspec.structs.replace(plain, classes=NAMES, stages=[NAMES])
    noted = msgspec.structs.replace(plain, notes=["<i>"])
    page = write_report(save(tmp_path, "run", metrics), dict.fromkeys(NAMES, noted))
    for file in (page, page.with_name("report.md")):
        text = Page.of(file).text
        assert ", ".join(NAMES) in text
        assert all(f"\n{name}: <i>\n" in text for name in NAMES)
        assert all(f"\n{name}\n" in text for name in NAMES)
    drawn = accuracy_figure(metrics, dict.fromkeys(NAMES, plain))
    legend = drawn.axes[0].get_legend()
    assert legend is not None
    ticks = confusion_figure(metrics).axes[0]
    for texts in (legend.get_texts()[1:], ticks.get_xticklabels(), ticks.get_yticklabels()):
        assert [text.get_text() for text in texts] == NAMES
        assert not any(text.get_parse_math() for text in texts)


def with_mistakes(root: Path, count: int, metrics: Metrics | None = None) -> Path:
    """A run of one stage in which so many clips of `count` were taken for another class; the video of one is there."""
    metrics = metrics or msgspec.structs.replace(made_up([2]), confusion=[[3, count], [0, 4]])
    run = save(root, f"run-{count}", metrics)
    (run / "stage-1").mkdir()
    there = make_video(root / f"{count}.avi", frames=8)
    videos = [str(there), *(f"/gone/{number}.avi" for number in range(count - 1))]
    rows = [f"{video},{metrics.classes[0]},{metrics.classes[1]},0.9\n" for video in videos]
    text = "path,label,predicted,score\n/gone/right.avi,class_1,class_1,0.9\n" + "".join(rows)
    (run / "stage-1" / "predictions.csv").write_text(text)
    return run


@pytest.mark.parametrize(("count", "said"), [(3, "The clips that"), (30, "24 of the 30 clips that")])
def test_what_was_got_wrong_is_shown_as_strips_and_as_pairs(tmp_path: Path, count: int, said: str) -> None:
    run = with_mistakes(tmp_path, count)
    page = write_report(run)
    picture = cv2.imread(str(run / "report" / "mistakes.png"))
    assert picture is not None
    assert picture.std() > 10
    for file in (page, page.with_name("report.md")):
        text = " ".join(Page.of(file).text.split())
        assert f"{count} of {count + 7} test clips were misclassified after stage 1." in text
        assert f"class_0 class_1 {count} {count + 3}" in text
        assert said in text
    assert len(Page.of(page).images) == len(list(page.parent.glob("*.png")))
    assert set(classified_files(run).values()) >= {"frames of misclassified test clips"}


def test_a_run_without_mistakes_has_no_strips_and_one_without_a_list_says_so(tmp_path: Path) -> None:
    perfect = msgspec.structs.replace(made_up([2]), confusion=[[5, 0], [0, 5]])
    run = save(tmp_path, "perfect", perfect)
    (run / "report").mkdir()
    (run / "report" / "mistakes.png").touch()  # of an earlier stage
    text = Page.of(write_report(run)).text
    assert "0 of 10 test clips were misclassified after stage 1." in text
    assert "taken for\n" not in text
    assert "predictions.csv" not in text
    assert not (run / "report" / "mistakes.png").exists()
    assert "predictions.csv can't be read" in Page.of(write_report(save(tmp_path, "lost", made_up([2])))).text


def test_only_so_many_pairs_are_listed_and_the_rest_is_counted(tmp_path: Path) -> None:
    text = Page.of(write_report(save(tmp_path, "many", made_up([5])))).text
    assert "And 8 more pairs with at most as many clips." in text
