"""The picture: one message a panel, ours beside the plainer ways, in the colours of all panels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from tests.overload import tally
from tests.overload.policies import POLICIES
from tests.overload.report import CLASSES, Played
from tests.overload.scenes import stretch_of, times_of_chats
from tests.overload.tally import Stretch
from tests.overload.trace import length_of

COLOURS = {
    "ours": "#0b7a75",
    "fifo": "#c8553d",
    "depth": "#e0a458",
    "naive": "#c8553d",
    "open": "#c8553d",
}
INK, FAINT, SHADE = "#22303c", "#8a97a3", "#eef1f4"
IDLE = "#e3e8ec"
# Narrower pieces of a bar have no room for what they are.
TEXT_FITS = 0.15
BIN_S, BINS_MAX = 2.0, 24
TITLE = "More work than fits: Stepwell beside plainer ways, on the same trace"
STYLE = {
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": "#e3e8ec",
    "legend.frameon": False,
    "legend.fontsize": 9,
}
Panel = Callable[[Axes, Played], None]


def draw(played: Sequence[Played], path: Path) -> None:
    """Draw the panels of every scene that was played, a row of them for each pair of scenes."""
    panels = [(panel, each) for each in played for panel in PANELS[each.scene.name]]
    columns = min(4, len(panels))
    rows = ceil(len(panels) / columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(5.2 * columns, 4.5 * rows), squeeze=False, layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
        figure.suptitle(TITLE, x=0.01, ha="left", fontsize=15, fontweight="bold")
        for axis, (panel, each) in zip(axes.flat, panels, strict=False):
            panel(axis, each)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white")
        plt.close(figure)


# --- overload -------------------------------------------------------------------------------------


def draw_goodput(axis: Axes, played: Played) -> None:
    scene = played.scene
    lasts_s = length_of(scene.plan.phases)
    shade(axis, scene.trouble, "3 × what fits")
    shade(axis, stretch_of(scene.plan.phases, "slow"), "slow\nprovider")
    for name, history in played.histories.items():
        at_once = scene.plan.size.at_once
        line(axis, tally.goodput_over_time(history, at_once, BIN_S, lasts_s), name)
    say(axis, "Goodput, second by second", "seconds", "part of capacity")
    as_parts(axis)
    legend_below(axis)


def draw_classes(axis: Axes, played: Played) -> None:
    groups = {
        name: [figures["classes_of_others"].get(each, 0.0) for each in CLASSES]
        for name, figures in played.figures.items()
    }
    bars(axis, CLASSES, groups)
    say(axis, "What quiet tenants get in the storm", "class", "in deadline during the storm")
    as_parts(axis)


def draw_tenants(axis: Axes, played: Played) -> None:
    names = ("four quiet tenants", "the noisy one")
    groups = {}
    for name, history in played.histories.items():
        trouble = played.scene.trouble
        fates = history.asked_between(trouble.from_s, trouble.to_s)
        shares = tally.shares_by(history, fates, tally.is_others)
        groups[name] = [shares.get(True, 0.0), shares.get(False, 0.0)]
    bars(axis, names, groups)
    say(axis, "Who pays for the storm", "tenant", "in deadline during the storm")
    as_parts(axis)


def draw_waste(axis: Axes, played: Played) -> None:
    names = list(played.figures)
    trouble, at_once = played.scene.trouble, played.scene.plan.size.at_once
    in_time = [played.figures[name]["goodput"] for name in names]
    spent = [
        tally.seconds_on_machines(history, history.wired, trouble) / (at_once * trouble.lasts_s)
        for history in played.histories.values()
    ]
    late = [max(0.0, all_of - good) for all_of, good in zip(spent, in_time, strict=True)]
    idle = [max(0.0, 1.0 - all_of) for all_of in spent]
    places = range(len(names))
    colours = [COLOURS[name] for name in names]
    axis.barh(places, in_time, color=colours, height=0.6)
    axis.barh(places, late, left=in_time, color=colours, alpha=0.3, height=0.6)
    axis.barh(places, idle, left=spent, color=IDLE, height=0.6)
    for place, good, bad in zip(places, in_time, late, strict=True):
        inside = {"y": place, "ha": "center", "va": "center"}
        if good > TEXT_FITS:
            axis.text(good / 2, s=f"{good:.0%}\nin time", color="white", **inside)
        if bad > TEXT_FITS:
            axis.text(good + bad / 2, s=f"{bad:.0%}\ntoo late", **inside)
    axis.set_yticks(places, [title_of(name) for name in names])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    say(axis, "What capacity is spent on in the storm", "part of the provider's time", "")


# --- outage ---------------------------------------------------------------------------------------


def draw_recovery(axis: Axes, played: Played) -> None:
    shade(axis, played.scene.trouble, "outage")
    for name, history in played.histories.items():
        line(axis, tally.shares_over_time(history, BIN_S), name)
    say(axis, "An outage, and how soon all is well", "seconds (when asked)", "in deadline")
    as_parts(axis)
    legend_below(axis)


def draw_requests(axis: Axes, played: Played) -> None:
    shade(axis, played.scene.trouble, "outage")
    for name, history in played.histories.items():
        found = played.figures[name]["amplification"]
        label = f"{title_of(name)} ({found:.2f} per call in it)"
        line(axis, tally.requests_over_time(history, BIN_S), name, label)
    say(axis, "Pressure on a provider that is out", "seconds", "requests a second on the wire")
    axis.set_ylim(bottom=0)
    axis.grid(axis="y")
    legend_below(axis)


# --- slow -----------------------------------------------------------------------------------------


def draw_slow(axis: Axes, played: Played) -> None:
    before = stretch_of(played.scene.plan.phases, "before")
    names = list(played.figures)
    stretches = {"before": (before, 0.45), "20 × slower": (played.scene.trouble, 1.0)}
    width = 0.36
    for offset, (label, (stretch, alpha)) in zip((-0.5, 0.5), stretches.items(), strict=True):
        for place, name in enumerate(names):
            p99_s = tally.percentile(times_of_chats(played.histories[name], stretch), 99)
            at = place + offset * width
            axis.bar(at, p99_s, width * 0.94, color=COLOURS[name], alpha=alpha)
            text = f"{label}\n{p99_s:.2f} s"
            axis.annotate(
                text, (at, p99_s), (0, 3), textcoords="offset points", ha="center", fontsize=9
            )
    axis.set_xticks(range(len(names)), [title_of(name) for name in names])
    axis.margins(y=0.2)
    axis.grid(axis="y")
    say(axis, "One dependency 20 × slower", "", "p99 of jobs that do not use it, seconds")


# --- comeback -------------------------------------------------------------------------------------


def draw_returns(axis: Axes, played: Played) -> None:
    told = {name: tally.told_to_wait(h.fates) for name, h in played.histories.items()}
    longest_s = max((max(waits) for waits in told.values() if waits), default=1.0)
    width = max(1, ceil(longest_s / BINS_MAX))
    edges = [n * width + 0.5 for n in range(ceil(longest_s / width) + 1)]
    labels = {name: f"{title_of(name)} ({returns_of(played, name)})" for name in told}
    names = [name for name, waits in told.items() if waits]
    if names:
        waits = [told[name] for name in names]
        colours = [COLOURS[name] for name in names]
        axis.hist(waits, edges, color=colours, label=[labels[name] for name in names], rwidth=0.85)
    say(axis, "“Come back in …”: said, and kept", "Retry-After, seconds", "refusals")
    axis.grid(axis="y")
    if any(told.values()):
        legend_below(axis)


def returns_of(played: Played, name: str) -> str:
    let_in = played.figures[name]["first_return_let_in"]
    return "nobody came back" if let_in is None else f"{let_in:.0%} let in then"


# --- small things ---------------------------------------------------------------------------------


def title_of(name: str) -> str:
    return POLICIES[name].title


def shade(axis: Axes, stretch: Stretch, what: str) -> None:
    axis.axvspan(stretch.from_s, stretch.to_s, color=SHADE, zorder=0)
    middle = (stretch.from_s + stretch.to_s) / 2
    place = axis.get_xaxis_transform()
    axis.text(middle, 0.99, what, transform=place, ha="center", va="top", color=FAINT, fontsize=9)


def line(
    axis: Axes, points: Sequence[tuple[float, float]], name: str, label: str | None = None
) -> None:
    weight = 2.6 if name == "ours" else 1.8
    across, up = zip(*points, strict=True)
    axis.plot(across, up, color=COLOURS[name], lw=weight, label=label or title_of(name))


def bars(axis: Axes, names: Sequence[str], groups: Mapping[str, Sequence[float]]) -> None:
    """Bars side by side: a place for each name, a colour for each group."""
    width = 0.8 / len(groups)
    for n, (group, values) in enumerate(groups.items()):
        places = [place - 0.4 + (n + 0.5) * width for place in range(len(names))]
        heights = [0.0 if math.isnan(value) else value for value in values]
        drawn = axis.bar(places, heights, width * 0.92, color=COLOURS[group], label=title_of(group))
        axis.bar_label(drawn, [f"{height:.0%}" for height in heights], padding=2, fontsize=8.5)
    axis.set_xticks(range(len(names)), names)
    legend_below(axis)


def legend_below(axis: Axes) -> None:
    """Beneath the axis, where it hides nothing."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, columnspacing=1.2)


def as_parts(axis: Axes) -> None:
    axis.set_ylim(0, 1.2)
    axis.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(axis="y")


def say(axis: Axes, title: str, across: str, up: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.set_axisbelow(True)


PANELS: dict[str, tuple[Panel, ...]] = {
    "overload": (draw_goodput, draw_waste, draw_classes, draw_tenants),
    "outage": (draw_recovery, draw_requests),
    "slow": (draw_slow,),
    "comeback": (draw_returns,),
}
