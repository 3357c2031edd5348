"""What a run shows: a progress bar while it works, a table at the end, `history.csv` and `curves.png`."""

from __future__ import annotations

import csv
import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

logger = logging.getLogger(__name__)
DRAW_EVERY_S = 20.0
History = list[dict[str, float]]
_told = False  # that tensorboard is missing; once per process


class RunReport:
    """Shows one run on the console and in its directory; silent on all processes but the first."""

    def __init__(self, directory: Path, enabled: bool = True) -> None:
        self.directory, self.enabled = directory, enabled
        self.console = Console(stderr=True, quiet=not enabled)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=self.console, disable=not enabled)
        self._epoch = self.bar.add_task("")
        self._title = ""
        self._drawn_at = time.monotonic()
        self._board: Any = _tensorboard(directory) if enabled else None

    def __enter__(self) -> None:
        self.bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self._board is not None:
            self._board.close()

    def start_epoch(self, epoch: int, epochs: int, batches: int) -> None:
        """A new bar for `batches` batches."""
        self._title = f"epoch {epoch + 1}/{epochs}"
        self.bar.reset(self._epoch, total=batches, description=self._title)

    def advance(self, done: int, loss: float) -> None:
        """`done` batches of this epoch are learnt; `loss` is the running mean."""
        self.bar.update(self._epoch, completed=done, description=f"{self._title} loss {loss:.4f}")

    def epoch_done(self, history: History) -> None:
        """Log the last epoch and rewrite the files."""
        if not self.enabled:
            return
        row = history[-1]
        logger.info(" ".join(f"{name} {value:.5g}" for name, value in row.items()))
        try:
            write_history(self.directory / "history.csv", history)
            if time.monotonic() - self._drawn_at > DRAW_EVERY_S:
                draw_curves(self.directory / "curves.png", history)
                self._drawn_at = time.monotonic()
        except OSError as error:  # the checkpoint holds the history too
            logger.warning("%s is not up to date: %s", self.directory / "history.csv", error)
        for name, value in row.items() if self._board else ():
            self._board.add_scalar(name, value, int(row["epoch"]))

    def finish(self, history: History, metric: str, best: dict[str, float]) -> None:
        """The last curves, and the table at the end."""
        if not self.enabled:
            return
        draw_curves(self.directory / "curves.png", history)
        table = Table(title=f"{self.directory.name}: {len(history)} epochs, best by {metric}")
        table.add_column("metric")
        table.add_column("best checkpoint", justify="right")
        for name, value in best.items():
            table.add_row(name, f"{value:.4f}")
        self.console.print(table)


def write_history(path: Path, history: History) -> None:
    """One CSV row per epoch; a column a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in history for name in row))
    temporary = path.with_suffix(".partial")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(history)
    os.replace(temporary, path)


def draw_curves(path: Path, history: History) -> None:
    """Losses left, metrics right, over epochs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (losses, metrics) = plt.subplots(1, 2, figsize=(11, 4))
    for name in dict.fromkeys(name for row in history for name in row if name != "epoch"):
        points = [(row["epoch"], row[name]) for row in history if name in row]
        axis = losses if name.startswith("loss_") else metrics
        axis.plot(*zip(*points), marker=".", label=name)
    for axis, title in ((losses, "training loss"), (metrics, "validation")):
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)


def _tensorboard(directory: Path) -> Any:
    """A SummaryWriter where the optional `tensorboard` package is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        global _told
        if not _told:
            _told = True
            logger.warning("no TensorBoard logs: pip install 'vision_nodes[train]' brings tensorboard")
        return None
    return SummaryWriter(str(directory))
