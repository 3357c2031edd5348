"""Latency, rate and drops of a run with known clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_nodes.evaluation.latency import percentiles, score_latency
from vision_nodes.evaluation.recording import Recording

MS = 1_000_000


@pytest.fixture
def run(tmp_path: Path) -> Recording:
    """Eleven images 100 ms apart; detection answers all in 20 ms, odometry ten of them in 30 ms."""
    (tmp_path / "empty.mcap").write_bytes(b"")
    recording = Recording(tmp_path / "empty.mcap", metadata={"mode": "live"})
    stamps = range(11)
    recording.sent = {s: s * 100 * MS for s in stamps}
    recording.arrived = {
        "detection": {s: (s * 100 + 20) * MS for s in stamps},
        "odometry": {s: (s * 100 + 30) * MS for s in stamps if s != 5},
    }
    return recording


def test_latency_is_that_of_the_last_answer_due(run: Recording):
    figures = score_latency(run)
    assert figures["latency_ms"] == pytest.approx({"p50": 30, "p95": 30, "p99": 30})
    assert figures["tasks"]["detection"]["latency_ms"]["p50"] == pytest.approx(20)
    assert figures["tasks"]["detection"]["rate_hz"] == pytest.approx(10)
    assert (figures["sent"], figures["answered_by_all"]) == (11, 10)
    assert figures["drops"] == pytest.approx(1 / 11)


def test_a_keyframe_waits_for_its_place_matches(run: Recording):
    run.arrived["place"] = {3: (300 + 250) * MS}
    figures = score_latency(run)
    assert figures["latency_ms"]["p99"] > 200
    assert figures["answered_by_all"] == 10  # places answer per keyframe, not per frame


def test_lock_step_has_no_clock(run: Recording):
    run.metadata = {}
    figures = score_latency(run)
    assert figures["rate_hz"] is None
    assert figures["latency_ms"] == {"p50": None, "p95": None, "p99": None}


def test_percentiles_of_nothing_and_of_one():
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}
    assert percentiles([4.0]) == {"p50": 4.0, "p95": 4.0, "p99": 4.0}
