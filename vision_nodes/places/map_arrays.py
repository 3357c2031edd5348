"""A map as named arrays, and back: keyframes' ragged parts are concatenated with their counts."""

from __future__ import annotations

import numpy as np

from vision_nodes.datatypes import LoopClosure
from vision_nodes.places.graph_state import GraphState, Node
from vision_nodes.places.keyframes import Keyframe
from vision_nodes.places.settings import GraphSettings

_NO_MATRIX_4 = np.full((4, 4), np.nan)
_NO_MATRIX_3 = np.full((3, 3), np.nan)


def arrays_from_map(keyframes: list[Keyframe], state: GraphState) -> dict[str, np.ndarray]:
    """Every array a map file stores; missing matrices are NaN."""
    return {**_keyframe_arrays(keyframes), **_state_arrays(state)}


def _keyframe_arrays(keyframes: list[Keyframe]) -> dict[str, np.ndarray]:
    def stacked(values: list, shape: tuple[int, ...], dtype: type) -> np.ndarray:  # type: ignore[type-arg]
        return np.array(values, dtype=dtype).reshape(len(values), *shape)

    def joined(parts: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
        return np.concatenate(parts) if parts else empty

    width = keyframes[0].local_descriptors.shape[1] if keyframes else 128
    dimension = len(keyframes[0].descriptor) if keyframes else 0
    return {
        "id": stacked([k.id for k in keyframes], (), np.int64),
        "stamp_ns": stacked([k.stamp_ns for k in keyframes], (), np.int64),
        "segment": stacked([k.segment for k in keyframes], (), np.int64),
        "size_wh": stacked([k.size_wh for k in keyframes], (2,), np.int64),
        "descriptor": stacked([k.descriptor for k in keyframes], (dimension,), np.float32),
        "T_odom_cam": stacked(
            [_NO_MATRIX_4 if k.T_odom_cam is None else k.T_odom_cam for k in keyframes], (4, 4), np.float64
        ),
        "K": stacked([_NO_MATRIX_3 if k.K is None else k.K for k in keyframes], (3, 3), np.float64),
        "feature_count": stacked([len(k.keypoints_xy) for k in keyframes], (), np.int64),
        "keypoints_xy": joined([k.keypoints_xy for k in keyframes], np.zeros((0, 2), np.float32)),
        "landmarks_cam": joined([k.landmarks_cam for k in keyframes], np.zeros((0, 3), np.float32)),
        "local_descriptors": joined(
            [k.local_descriptors for k in keyframes], np.zeros((0, width), np.uint8)
        ),
        "thumbnail_length": stacked([len(k.thumbnail_jpeg) for k in keyframes], (), np.int64),
        "thumbnail_jpeg": joined([k.thumbnail_jpeg for k in keyframes], np.zeros(0, np.uint8)),
    }  # fmt: skip


def _state_arrays(state: GraphState) -> dict[str, np.ndarray]:
    nodes, closures = list(state.nodes.values()), state.closures
    islands = sorted(state.islands.items())
    T_map = [_NO_MATRIX_4 if n.T_map_cam is None else n.T_map_cam for n in nodes]
    return {
        "node_id": np.array([n.id for n in nodes], np.int64),
        "node_segment": np.array([n.segment for n in nodes], np.int64),
        "node_travelled_m": np.array([n.travelled_m for n in nodes], np.float64),
        "node_log_scale": np.array([n.log_scale for n in nodes], np.float64),
        "node_depth": np.array([n.depth for n in nodes], np.float64),
        "node_T_odom_cam": np.array([n.T_odom_cam for n in nodes], np.float64).reshape(-1, 4, 4),
        "node_T_map_cam": np.array(T_map, np.float64).reshape(-1, 4, 4),
        "island": np.array(islands, np.int64).reshape(-1, 2),
        "closure_ids": np.array([(c.query_id, c.matched_id) for c in closures], np.int64).reshape(-1, 2),
        "closure_T": np.array([c.T_matched_query for c in closures], np.float64).reshape(-1, 4, 4),
        "closure_covariance": np.array([c.covariance for c in closures], np.float64).reshape(-1, 6, 6),
        "closure_inliers": np.array([c.inliers for c in closures], np.int64),
        "closure_log_scale": np.array(
            [(c.log_scale, c.log_scale_sigma) for c in closures], np.float64
        ).reshape(-1, 2),
        "closure_score": np.array([c.score for c in closures], np.float64),
    }


def map_from_arrays(
    arrays: dict[str, np.ndarray], settings: GraphSettings
) -> tuple[list[Keyframe], GraphState]:
    """Inverse of `arrays_from_map`. KeyError, ValueError or IndexError when the arrays do not fit together."""
    state = GraphState(settings)
    nodes = [
        Node(int(i), int(s), T_odom, float(d), _or_none(T_map), float(depth), float(log_scale))
        for i, s, d, T_odom, T_map, depth, log_scale in zip(
            arrays["node_id"],
            arrays["node_segment"],
            arrays["node_travelled_m"],
            arrays["node_T_odom_cam"],
            arrays["node_T_map_cam"],
            arrays["node_depth"],
            arrays["node_log_scale"],
        )
    ]
    closures = [
        LoopClosure(int(ids[0]), int(ids[1]), T, covariance, int(inliers), float(score), *map(float, unit))
        for ids, T, covariance, inliers, score, unit in zip(
            arrays["closure_ids"],
            arrays["closure_T"],
            arrays["closure_covariance"],
            arrays["closure_inliers"],
            arrays["closure_score"],
            arrays["closure_log_scale"],
        )
    ]
    state.restore(nodes, closures, {int(a): int(b) for a, b in arrays["island"]})
    return _keyframes(arrays), state


def _keyframes(arrays: dict[str, np.ndarray]) -> list[Keyframe]:
    features = np.concatenate([[0], np.cumsum(arrays["feature_count"])])
    thumbnails = np.concatenate([[0], np.cumsum(arrays["thumbnail_length"])])
    if features[-1] != len(arrays["keypoints_xy"]) or thumbnails[-1] != len(arrays["thumbnail_jpeg"]):
        raise ValueError("counts of features or thumbnails do not add up")
    keyframes = []
    for row, keyframe_id in enumerate(arrays["id"]):
        own = slice(features[row], features[row + 1])
        keyframes.append(
            Keyframe(
                id=int(keyframe_id),
                stamp_ns=int(arrays["stamp_ns"][row]),
                segment=int(arrays["segment"][row]),
                descriptor=arrays["descriptor"][row].copy(),
                T_odom_cam=_or_none(arrays["T_odom_cam"][row]),
                keypoints_xy=arrays["keypoints_xy"][own].copy(),
                local_descriptors=arrays["local_descriptors"][own].copy(),
                landmarks_cam=arrays["landmarks_cam"][own].copy(),
                K=_or_none(arrays["K"][row]),
                size_wh=(int(arrays["size_wh"][row][0]), int(arrays["size_wh"][row][1])),
                thumbnail_jpeg=arrays["thumbnail_jpeg"][thumbnails[row] : thumbnails[row + 1]].copy(),
            )
        )
    return keyframes


def _or_none(matrix: np.ndarray) -> np.ndarray | None:
    return None if np.isnan(matrix).any() else matrix.copy()
