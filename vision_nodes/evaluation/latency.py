"""Rates and end-to-end latencies of a live run, from what arrived when."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.evaluation.recording import Recording

PERCENTILES = (50, 95, 99)


def score_latency(recording: Recording) -> dict[str, Any]:
    """``rate_hz``, ``latency_ms``, ``drops`` of the graph, and per task; None where there is no clock.

    A frame's latency is that of the last result due: the four per-frame tasks, and place matches where
    the frame became a keyframe. Replay in lock-step has no clock: it waits for every frame.
    """
    tasks: dict[str, Any] = {}
    for task, arrived in recording.arrived.items():
        latencies = _latencies(recording, arrived) if recording.live else []
        tasks[task] = {
            "results": len(arrived),
            "rate_hz": _rate(sorted(arrived.values())) if recording.live else None,
            "latency_ms": percentiles(latencies),
            "model": _model(recording, task),
        }
    last = _last_answers(recording)
    per_frame, done = _per_frame(recording), list(last)
    return {
        "rate_hz": _rate(sorted(last.values())) if recording.live else None,
        "latency_ms": percentiles(_latencies(recording, last) if recording.live else []),
        "sent": len(recording.sent),
        "answered_by_all": len(done),
        "drops": 1 - len(done) / len(recording.sent) if recording.sent and per_frame else None,
        "tasks": tasks,
    }


def _per_frame(recording: Recording) -> list[str]:
    return [task for task in recording.arrived if task != "place"]


def _last_answers(recording: Recording) -> dict[int, int]:
    """Stamp of every frame that all per-frame tasks answered -> clock of its last answer."""
    done = [
        stamp
        for stamp in recording.sent
        if all(stamp in recording.arrived[task] for task in _per_frame(recording))
    ]
    return {
        stamp: max(arrived[stamp] for arrived in recording.arrived.values() if stamp in arrived)
        for stamp in done
        if any(stamp in arrived for arrived in recording.arrived.values())
    }


def frame_latencies(recording: Recording) -> list[float]:
    """Milliseconds from sending each image to its last answer; empty for a run without a clock."""
    return _latencies(recording, _last_answers(recording)) if recording.live else []


def percentiles(values: list[float]) -> dict[str, float | None]:
    """p50, p95 and p99; None each when there is no value."""
    if not values:
        return {f"p{q}": None for q in PERCENTILES}
    return {f"p{q}": float(v) for q, v in zip(PERCENTILES, np.percentile(values, PERCENTILES))}


def _latencies(recording: Recording, arrived: dict[int, int]) -> list[float]:
    """Milliseconds from sending an image to the arrival of its result."""
    return [
        (clock - recording.sent[stamp]) * 1e-6 for stamp, clock in arrived.items() if stamp in recording.sent
    ]


def _rate(clocks: list[int]) -> float | None:
    return (
        (len(clocks) - 1) / ((clocks[-1] - clocks[0]) * 1e-9)
        if len(clocks) > 1 and clocks[-1] > clocks[0]
        else None
    )


def _model(recording: Recording, task: str) -> str:
    values = recording.diagnostics.get(f"{task}_node", {})
    live = " ".join(values[key] for key in ("model", "precision", "backend") if key in values)
    return live or " ".join(recording.metadata.get(f"model.{task}", "").split(" ")[:3])
