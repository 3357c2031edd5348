"""Odometry and places of a recording against its truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from vision_nodes.evaluation.covariance import pose_anees
from vision_nodes.evaluation.odometry import Trajectories, ate, score_odometry
from vision_nodes.evaluation.places import (
    Closure,
    Overlaps,
    PlaceRun,
    best_match_curve,
    closure_errors,
    query_hits,
    score_places,
)
from vision_nodes.evaluation.recording import Recording
from vision_nodes.evaluation.scores import Scores, missing_truth

TRACKED = ("tracking", "degraded")
METRIC_FIGURES = ("ate_se3_m", "scale_error", "kitti_translation_percent")


def score_motion(scores: Scores) -> dict[str, Any]:
    """States, trajectory errors, consistency of the published covariance."""
    recording = scores.recording
    if not recording.states:
        old = " that this version can read" if "odometry" in recording.arrived else ""
        return {"reason": f"no results on /odometry/state{old}"}
    states = [state.state.value for state in recording.states.values()]
    tracked = sum(state in TRACKED for state in states)
    # A live run drops frames on purpose; the share is of the frames odometry has answered.
    figures: dict[str, Any] = {
        "states": {name: states.count(name) for name in sorted(set(states))},
        "scale_states": sorted(
            {s.scale_state.value for s in recording.states.values() if s.state.value in TRACKED}
        ),
    }
    trajectories = trajectories_of(recording, corrected=False)
    figures |= score_odometry(trajectories, len(states), tracked)
    if not set(recording.states) & set(recording.truth_poses):
        reason = missing_truth("/ground_truth/pose", recording.states, recording.truth_poses)
        return figures | {"reason": reason}
    scores.trajectories = trajectories
    if figures["scale_states"] == ["unscaled"]:  # lengths were never claimed to be metres
        figures |= {name: None for name in METRIC_FIGURES if name in figures}
    if len(trajectories.stamps_ns) >= 3:
        figures |= _consistency(recording, trajectories)
    if recording.T_map_odom and len(trajectories.stamps_ns) >= 3:
        corrected = trajectories_of(recording, corrected=True)
        if len(corrected.stamps_ns) >= 3:
            figures["ate_sim3_map_m"] = ate(corrected, with_scale=True)[0]
    return figures


def _consistency(recording: Recording, trajectories: Trajectories) -> dict[str, float | None]:
    """ANEES of the published poses; the truth is brought to the run's own unit of length."""
    T_base_cam = np.eye(4) if recording.T_base_cam is None else recording.T_base_cam
    stamps = [int(stamp) for stamp in trajectories.stamps_ns]
    covariances = [recording.poses[stamp].covariance for stamp in stamps]
    if any(covariance is None for covariance in covariances):
        return {}
    metric = all(
        recording.states[stamp].scale_state.value != "unscaled"
        for stamp in stamps
        if stamp in recording.states
    )
    scale = 1.0 if metric else ate(trajectories, with_scale=True)[1].scale
    T_cam_base = np.linalg.inv(T_base_cam)
    truth = trajectories.truth @ T_cam_base
    truth[:, :3, 3] /= scale
    return pose_anees(trajectories.estimate @ T_cam_base, truth, np.array(covariances))


def trajectories_of(recording: Recording, *, corrected: bool) -> Trajectories:
    """Published camera poses with the truth at the same stamps.

    Args:
        corrected: compose each pose with the map -> odom that was published with it, as a robot would
            have seen its pose in the map at that moment.
    """
    T_base_cam = np.eye(4) if recording.T_base_cam is None else recording.T_base_cam
    stamps = sorted(set(recording.poses) & set(recording.truth_poses))
    if corrected:
        stamps = [stamp for stamp in stamps if stamp in recording.T_map_odom]
    if not stamps:
        return Trajectories(np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))
    found = np.array([recording.poses[stamp].T_parent_child for stamp in stamps])
    # Without /tf_static the pose is the camera's own (base_frame ''): then both bodies differ by a fixed
    # rotation only, which does not touch positions.
    found = found @ T_base_cam
    if corrected:
        found = np.array([recording.T_map_odom[stamp] for stamp in stamps]) @ found
    truth = np.array([recording.truth_poses[stamp] for stamp in stamps])
    return Trajectories(np.array(stamps, np.int64), found, truth)


def score_place_run(scores: Scores) -> dict[str, Any]:
    """Recall of ranked matches, precision and recall, closures and their poses."""
    recording = scores.recording
    if not recording.places:
        return {"reason": "no results on /place_matches"}
    if not recording.loops:
        return {
            "keyframes": len(recording.keyframes),
            "closures": len(recording.closures),
            "reason": "no truth on /ground_truth/loops",
        }
    run, overlaps = place_run(recording), Overlaps(recording.loops)
    figures: dict[str, Any] = dict(score_places(run, overlaps))
    scores.query_hits = query_hits(run, overlaps)
    scores.place_curve = best_match_curve(run, overlaps)
    figures |= scores.place_curve.figures()
    trajectories = scores.trajectories or trajectories_of(recording, corrected=False)
    if len(trajectories.stamps_ns) >= 3:
        scale = ate(trajectories, with_scale=True)[1].scale
        figures |= closure_errors(run.closures, recording.truth_poses, scale)
    return figures


def place_run(recording: Recording) -> PlaceRun:
    """Place results by stamps; closures as camera poses."""
    T_base_cam = np.eye(4) if recording.T_base_cam is None else recording.T_base_cam
    stamp_of = recording.keyframes
    ranked = {r.stamp_ns: [stamp_of[i] for i in r.candidate_ids if i in stamp_of] for r in recording.places}
    similarity = {r.stamp_ns: list(r.candidate_scores) for r in recording.places}
    closures = [
        Closure(query, stamp_of[matched], np.linalg.inv(T_base_cam) @ T @ T_base_cam)
        for query, matched, T in recording.closures
        if matched in stamp_of
    ]
    return PlaceRun([r.stamp_ns for r in recording.places], ranked, similarity, closures)
