"""The table of figures: what was measured, against what, and whether the goal holds."""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. `ours` and `peer` are in `unit`; `ratio` is ours to peer, the median over pairs measured in turn."""

    figure: str
    ours: float
    peer: float
    unit: str
    ratio: float
    at: Literal[">=", "<="]
    goal: float
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.ratio >= self.goal if self.at == ">=" else self.ratio <= self.goal


def in_turn(ours: Callable[[], float], peer: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Measure ours and the peer in turn, which of them first changing; return both medians and the pairs' median ratio.

    Pairs keep a ratio meaningful while a machine's speed drifts.
    """
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            second = peer()
            pairs.append((ours(), second))
        else:
            first = ours()
            pairs.append((first, peer()))
    return (
        statistics.median(first for first, _ in pairs),
        statistics.median(second for _, second in pairs),
        statistics.median(first / second for first, second in pairs),
    )


def render(figures: list[Figure]) -> str:
    """Return the table as text."""
    head = ("figure", "ours", "peer", "ratio", "goal", "holds")
    rows = [
        (
            line.figure,
            f"{_amount(line.ours)} {line.unit}",
            f"{_amount(line.peer)} {line.unit}",
            f"{line.ratio:.2f}",
            f"{line.at} {line.goal:g}",
            "yes" if line.holds else "NO",
        )
        for line in figures
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"  {line.figure}: {line.note}" for line in figures if line.note]
    return "\n".join(lines)


def save(figures: list[Figure], path: Path) -> None:
    """Write the same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{**asdict(line), "holds": line.holds} for line in figures], indent=2) + "\n")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
