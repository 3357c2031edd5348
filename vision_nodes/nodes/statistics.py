"""Counts and times of one node, as `/diagnostics` and the bench report them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW = 600  # samples per stage: 20 s at 30 Hz


class Statistics:
    """Thread-safe counters, stage times (wall and CPU of the calling thread, ms) and a rate."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._stages: dict[str, deque[tuple[float, float]]] = {}
        self._finished: deque[float] = deque(maxlen=WINDOW)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter, e.g. ``received``, ``rejected``."""
        with self._lock:
            self._counts[name] += amount

    def counts(self) -> dict[str, int]:
        """A copy of all counters."""
        with self._lock:
            return dict(self._counts)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under `name`."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add_time(name, (time.perf_counter() - wall) * 1e3, (time.thread_time() - cpu) * 1e3)

    def add_time(self, name: str, wall_ms: float, cpu_ms: float = float("nan")) -> None:
        """Record one duration of a stage."""
        with self._lock:
            self._stages.setdefault(name, deque(maxlen=WINDOW)).append((wall_ms, cpu_ms))

    def finished(self) -> None:
        """One result went out."""
        with self._lock:
            self._counts["published"] += 1
            self._finished.append(time.monotonic())

    def rate_hz(self, horizon_s: float = 5.0) -> float:
        """Results per second over the last `horizon_s`; 0 when there was none."""
        now = time.monotonic()
        with self._lock:
            recent = [t for t in self._finished if now - t <= horizon_s]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-9)

    def stages(self) -> dict[str, dict[str, float]]:
        """Stage -> p50, p95 and mean CPU in ms, and the number of samples."""
        with self._lock:
            copies = {name: list(samples) for name, samples in self._stages.items()}
        result = {}
        for name, samples in copies.items():
            walls = sorted(wall for wall, _ in samples)
            result[name] = {
                "p50_ms": _percentile(walls, 0.50),
                "p95_ms": _percentile(walls, 0.95),
                "cpu_ms": sum(cpu for _, cpu in samples) / len(samples),
                "n": float(len(samples)),
            }
        return result

    def clear(self) -> None:
        """Forget everything (after warm-up)."""
        with self._lock:
            self._counts.clear()
            self._stages.clear()
            self._finished.clear()


def _percentile(ordered: list[float], share: float) -> float:
    """Linear interpolation, as numpy's default, at a tenth of its cost for so few numbers."""
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
