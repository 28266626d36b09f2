"""Which charts a run has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qwen_lightning.regression.intervals import change_intervals
from qwen_lightning.regression.scores import is_share
from qwen_lightning.report.actions import mark_of
from qwen_lightning.report.changes import ABILITIES, order
from qwen_lightning.report.charts import HEIGHT, SMALL_HEIGHT, WIDTH, Level, Line, Mark, draw_lines, smoothed
from qwen_lightning.report.events import Series
from qwen_lightning.report.run_folder import Run
from qwen_lightning.report.style import inline_svg, series_style

#: A line of training is smoothed over this share of its points.
_WINDOW = 1 / 40
#: Metrics of a task that are no checks of their own; the last is the other side of `references`.
_NO_CHECKS = ("/reward", "/invented_references")
_SHARE = (0.0, 1.0)
_FROM_0 = (0.0, None)

Limits = tuple[float | None, float | None]


@dataclass(frozen=True)
class Chart:
    """A chart, ready for a page.

    Args:
        title: What it shows.
        note: Its unit, or how to read it.
        lines: For the legend.
        svg: The drawing.
        small: Whether it is one of the lesser.
        has_bound: Whether a red line is in it.
        has_baseline: Whether the baseline's level is in it.
    """

    title: str
    note: str
    lines: tuple[Line, ...]
    svg: str
    small: bool = False
    has_bound: bool = False
    has_baseline: bool = False

    @property
    def smoothed(self) -> bool:
        """Whether a line is the mean of others, which are drawn behind it."""
        return any(line.raw is not None for line in self.lines)


def marks_of(run: Run) -> list[Mark]:
    """Every action of the brake, numbered as the table of actions numbers them."""
    return [
        Mark(float(action["step"]), number, mark_of(str(action["kind"])))
        for number, action in enumerate(run.actions or [], start=1)
    ]


class Charts:
    """Draws a run's charts, all over the same steps and with the same marks."""

    def __init__(self, run: Run) -> None:
        self.run, self.marks = run, marks_of(run)
        self._count = itertools.count(1)

    # ------------------------------------------------------------------ training

    def training(self) -> list[Chart]:
        """What training logs of every step: rewards or loss first, then what steers them, then the lesser."""
        tags = [tag for tag in self.run.events.scalars if tag.startswith("train/")]
        checks = sorted(tag for tag in tags if tag.count("/") == 2 and not tag.endswith(_NO_CHECKS))
        kl = [("train/kl", "task prompts"), ("train/general_kl", "general prompts")]
        loss_is_small = self.run.is_grpo
        charts = [
            self._smooth("Reward", "mean of the step's completions", [("train/reward", "reward")]),
            self._smooth(
                "Reward by check",
                "mean over the step's completions",
                [(tag, tag.rpartition("/")[2]) for tag in checks],
                _SHARE,
            ),
            *([] if loss_is_small else [self._smooth("Loss", "of the step", [("train/loss", "loss")])]),
            self._smooth("KL to the reference", "nats a token", kl, _FROM_0),
            self._plain("β", "weight of the KL term: configured × brake × controller", "train/beta"),
            self._plain("Learning rate", "of the optimizer step", "train/lr"),
            *([self._smooth("Loss", "", [("train/loss", "loss")], small=True)] if loss_is_small else []),
            self._smooth("Entropy", "nats a token", [("train/entropy", "entropy")], _FROM_0, small=True),
            self._smooth(
                "Completion length", "tokens", [("train/completion_length", "completion length")], _FROM_0, small=True
            ),
            self._smooth("Gradient norm", "before clipping", [("train/gradient_norm", "norm")], _FROM_0, small=True),
            self._smooth("Speed", "tokens a second", [("train/tokens_per_second", "speed")], _FROM_0, small=True),
        ]
        return [chart for chart in charts if chart is not None]

    def _smooth(
        self,
        title: str,
        note: str,
        tags: Sequence[tuple[str, str]],
        limits: Limits = (None, None),
        small: bool = False,
    ) -> Chart | None:
        lines = []
        for position, (tag, label) in enumerate(self._present(tags)):
            series = self.run.series(tag)
            assert series is not None
            window = int(len(series) * _WINDOW)
            colour, dash = series_style(position)
            if window > 1:
                # The steps themselves would hide each other where there are many lines.
                raw = series if len(tags) <= 2 else None
                lines.append(Line(label, smoothed(series, window), colour, dash, raw))
            else:
                lines.append(Line(label, series, colour, dash))
        return self._chart(title, note, lines, limits=limits, small=small)

    def _plain(self, title: str, note: str, tag: str) -> Chart | None:
        series = self.run.series(tag)
        return (
            None if series is None else self._chart(title, note, [Line(title, series)], limits=_FROM_0, from_zero=True)
        )

    def _present(self, tags: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        return ((tag, label) for tag, label in tags if self.run.series(tag) is not None)

    # ------------------------------------------------------------------ evaluations

    def abilities(self) -> list[Chart]:
        """The general index and each ability, with the interval of its change; then watched metrics of tasks."""
        watched = [line.metric for line in self.run.red_lines]
        known = {"general/all", *(f"general/{ability}" for ability in ABILITIES)}
        extra = [metric for metric in watched if metric not in known]
        charts = (self._banded(metric) for metric in [*sorted(known, key=order), *sorted(extra, key=order)])
        return [chart for chart in charts if chart is not None]

    def drift(self) -> list[Chart]:
        """Likelihoods of fixed answers and forward KL: signals that move before scores do."""
        metrics = sorted(_evaluated(self.run), key=order)
        nll = [m for m in metrics if m.endswith("nll") and m.startswith("general/")]
        task_nll = [m for m in metrics if m.endswith("/nll") and not m.startswith("general/")]
        kl = [m for m in metrics if m.endswith("/forward_kl")]
        worse, start = "nats a token; lower is better", "nats a token; 0 at the start"
        charts = [
            self._evaluations("NLL of general answers", worse, nll, (None, None), "general/"),
            self._evaluations("NLL of task answers", worse, task_nll, (None, None), "", "/nll"),
            self._evaluations("Forward KL from the parent", start, kl, _FROM_0, "", "/forward_kl"),
        ]
        return [chart for chart in charts if chart is not None]

    def tasks(self) -> list[Chart]:
        """Each task's checks on the regression records."""
        metrics = sorted(
            m
            for m in _evaluated(self.run)
            if is_share(m) and not m.startswith("general/") and not m.endswith(_NO_CHECKS)
        )
        charts = []
        for task, group in itertools.groupby(metrics, key=lambda metric: metric.partition("/")[0]):
            charts.append(self._evaluations(task, "mean over the examples", list(group), _SHARE, f"{task}/"))
        return [chart for chart in charts if chart is not None]

    def _evaluations(
        self, title: str, note: str, metrics: Sequence[str], limits: Limits, prefix: str = "", suffix: str = ""
    ) -> Chart | None:
        lines = []
        for position, metric in enumerate(metrics):
            series = self.run.series(f"regression/{metric}")
            assert series is not None
            colour, dash = series_style(position)
            lines.append(Line(metric.removeprefix(prefix).removesuffix(suffix), series, colour, dash))
        return self._chart(title, note, lines, limits=limits)

    def _banded(self, metric: str) -> Chart | None:
        series = self.run.series(f"regression/{metric}")
        if series is None:
            return None
        low, high = self.intervals(metric)
        levels = [Level(float(series.values[0]), "baseline")] if series.steps[0] == 0 else []
        bound = self.run.series(f"brake/{metric}/bound")
        if bound is not None:
            levels.append(Level(float(bound.values[-1]), "bound"))
        share = is_share(metric)
        return self._chart(
            ability_name(metric),
            "mean over the examples" if share else "nats a token" if metric.endswith(("nll", "_kl")) else "points",
            [Line(metric, series, low=low, high=high)],
            levels,
            _SHARE if share else (None, None),
            least_span=0.1 if share else 0.0,
        )

    def intervals(self, metric: str) -> tuple[Series | None, Series | None]:
        """Baseline + 95 % interval of the change at every evaluation, as logged; else from the score rows."""
        low, high = self.run.series(f"interval/{metric}/low"), self.run.series(f"interval/{metric}/high")
        if low is not None and high is not None:
            # A run that was killed, or whose file was cut, may have written the one without the other.
            return low.at(high.steps), high.at(low.steps)
        found = self._intervals_of_rows.get(metric)
        if not found:
            return None, None
        steps, lows, highs = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
        return Series(steps, lows), Series(steps, highs)

    @cached_property
    def _intervals_of_rows(self) -> dict[str, list[tuple[int, float, float]]]:
        """Metric to step and interval of every evaluation whose rows can be read."""
        if self.run.before_and_after() is None:
            return {}
        before = self.run.rows(0) or []
        found: dict[str, list[tuple[int, float, float]]] = {}
        for step in self.run.evaluations:
            rows = self.run.rows(step)
            if rows is None:
                continue
            for metric, interval in change_intervals(before, rows).items():
                found.setdefault(metric, []).append((step, *interval))
        return found

    # ------------------------------------------------------------------ drawing

    def _chart(
        self,
        title: str,
        note: str,
        lines: Sequence[Line],
        levels: Sequence[Level] = (),
        limits: Limits = (None, None),
        least_span: float = 0.0,
        from_zero: bool = False,
        small: bool = False,
    ) -> Chart | None:
        if not lines:
            return None
        figure = draw_lines(
            lines,
            self.run.steps,
            self.marks,
            levels,
            limits,
            from_zero,
            least_span,
            (WIDTH, SMALL_HEIGHT if small else HEIGHT),
        )
        svg = inline_svg(figure, f"c{next(self._count)}", f"{title} over steps")
        kinds = {level.kind for level in levels}
        return Chart(title, note, tuple(lines), svg, small, "bound" in kinds, "baseline" in kinds)


def ability_name(metric: str) -> str:
    """A metric's name as a title: `general/long_context` is "Long context"."""
    if metric == "general/all":
        return "General index"
    name = metric.removeprefix("general/")
    return name.replace("_", " ").capitalize() if name in ABILITIES else metric


def _evaluated(run: Run) -> list[str]:
    """Metrics of the evaluations."""
    tags = (tag.removeprefix("regression/") for tag in run.events.scalars if tag.startswith("regression/"))
    return [metric for metric in tags if metric != "seconds" and not metric.endswith("nll_reference")]
