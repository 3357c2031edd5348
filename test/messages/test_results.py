"""Results -> message -> wire -> the same results, with rclpy's and a bag reader's messages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Pose
from hypothesis import given, settings
from hypothesis import strategies as st
from visualization_msgs.msg import Marker

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.transforms import invert, make_transform, matrix_from_quat_xyzw
from vision_nodes.datatypes import (
    DepthMap,
    Detections,
    LoopClosure,
    OdometryEstimate,
    PlaceResult,
    ScaleState,
    Segmentation,
    TrackingState,
)
from vision_nodes.errors import FrameError
from vision_nodes.messages import from_ros, to_ros

HEADER = (1_234_567_890_123_456_789, "front_optical_frame")
NAMES = ["person", "traffic light", "café"]
RNG = np.random.default_rng(3)


def random_pose() -> np.ndarray:
    return make_transform(matrix_from_quat_xyzw(RNG.normal(size=4)), RNG.normal(size=3))


def random_covariance() -> np.ndarray:
    A = RNG.normal(size=(6, 6))
    return A @ A.T


def assert_header(msg, stamp_ns=HEADER[0], frame_id=HEADER[1]):
    assert from_ros.stamp_ns(msg.header) == stamp_ns and msg.header.frame_id == frame_id


def test_nothing_detected_is_a_message_too(receive):
    msg = receive(to_ros.detections_to_ros(Detections.empty(), HEADER, NAMES))
    assert_header(msg)
    assert len(msg.detections) == 0 and len(from_ros.detections_from_ros(msg, NAMES)) == 0


@pytest.mark.parametrize("track_ids", [None, [4, -1, 70000]])
def test_detections(track_ids, receive):
    want = Detections(
        np.array([[0, 1, 10, 21], [-3.5, 2, 7, 8], [5, 5, 5, 5]], np.float32),
        np.array([0.9, 0.5, 0.0], np.float32),
        np.array([2, 0, 1]),
        None if track_ids is None else np.array(track_ids),
    )
    msg = receive(to_ros.detections_to_ros(want, HEADER, NAMES))
    assert_header(msg)
    first = msg.detections[0]
    assert_header(first)
    assert first.results[0].hypothesis.class_id == "café" and first.id == ("" if track_ids is None else "4")
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (5.0, 11.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (10.0, 20.0)
    got = from_ros.detections_from_ros(msg, NAMES)
    for name in ("boxes_xyxy", "scores", "class_ids", "track_ids"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4, st.floats(0, 1, width=32), st.integers(0, 2)),
        max_size=8,
    )
)
def test_any_detections_round_trip(rows):
    columns = np.array(rows, np.float64).reshape(-1, 6)
    boxes = np.sort(columns[:, :4].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    want = Detections(
        boxes.astype(np.float32), columns[:, 4].astype(np.float32), columns[:, 5].astype(np.int64)
    )
    got = from_ros.detections_from_ros(to_ros.detections_to_ros(want, HEADER, NAMES), NAMES)
    np.testing.assert_allclose(got.boxes_xyxy, want.boxes_xyxy, atol=1e-3)
    np.testing.assert_array_equal(got.scores, want.scores)
    np.testing.assert_array_equal(got.class_ids, want.class_ids)


def test_detections_outside_the_class_list():
    one = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([3]))
    with pytest.raises(ValueError, match="3 class names"):
        to_ros.detections_to_ros(one, HEADER, NAMES)
    msg = to_ros.detections_to_ros(one, HEADER, [*NAMES, "dog"])
    with pytest.raises(FrameError, match="'dog'"):
        from_ros.detections_from_ros(msg, NAMES)
    msg.detections[0].results = []
    with pytest.raises(FrameError, match="hypothesis"):
        from_ros.detections_from_ros(msg, NAMES)


TEXT = st.text(max_size=6) | st.sampled_from(["person", "0", "9" * 30, "keyframe_1", "odometry", "lost"])
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT), max_size=4))
def test_any_detection_message_is_read_or_refused(rows):
    one = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    msg = to_ros.detections_to_ros(Detections.empty(), HEADER, NAMES)
    for name, track, score, x, size in rows:
        (detection,) = to_ros.detections_to_ros(one, HEADER, NAMES).detections
        detection.id, detection.bbox.center.position.x, detection.bbox.size_x = track, x, size
        detection.results[0].hypothesis.class_id, detection.results[0].hypothesis.score = name, score
        msg.detections.append(detection)
    try:
        got = from_ros.detections_from_ros(msg, NAMES)
    except FrameError:
        return
    assert len(got) == len(rows) and np.isfinite(got.boxes_xyxy).all()


@settings(max_examples=150, deadline=None)
@given(frame_id=TEXT, class_id=TEXT, state=TEXT, keys=st.lists(st.tuples(TEXT, TEXT), max_size=3))
def test_any_text_in_places_and_states_is_read_or_refused(frame_id, class_id, state, keys):
    places = to_ros.place_matches_to_ros(PlaceResult(1, 1, (2,), (0.5,)))
    places.header.frame_id, places.results[0].class_id = frame_id, class_id
    odometry = to_ros.odometry_state_to_ros(OdometryEstimate(5, TrackingState.LOST, None, None))
    odometry.status[0].message = state
    for value, (key, text) in zip(odometry.status[0].values, keys, strict=False):
        value.key, value.value = key, text
    for read, msg in (
        (from_ros.place_matches_from_ros, places),
        (from_ros.odometry_state_from_ros, odometry),
    ):
        try:
            result = read(msg)
        except FrameError as error:
            assert error.remedy
        else:
            assert result.stamp_ns in (1, 5)


def test_changing_one_detection_leaves_the_others_alone():
    two = Detections(np.zeros((2, 4), np.float32), np.ones(2, np.float32), np.zeros(2, np.int64))
    msg = to_ros.detections_to_ros(two, HEADER, NAMES)
    msg.detections[0].bbox.center.position.x = 9.0
    msg.detections[0].results[0].hypothesis.score = 0.25
    assert msg.detections[1].bbox.center.position.x == 0.0
    assert msg.detections[1].results[0].hypothesis.score == 1.0
    fresh = to_ros.detections_to_ros(two, HEADER, NAMES)
    assert fresh.detections[0].bbox.center.position.x == 0.0


def test_mask_colours_and_names(receive):
    labels = RNG.integers(0, 3, (5, 7)).astype(np.uint8)
    labels[0, 0] = 255
    palette = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    mask = receive(to_ros.mask_to_ros(Segmentation(labels), HEADER))
    assert_header(mask)
    assert mask.encoding == "mono8"
    np.testing.assert_array_equal(from_ros.mask_from_ros(mask), labels)
    colour = from_ros.image_from_ros(receive(to_ros.color_mask_to_ros(Segmentation(labels), palette, HEADER)))
    np.testing.assert_array_equal(colour[0, 0], [0, 0, 0])
    np.testing.assert_array_equal(colour[1:], palette[labels[1:]])
    info = receive(to_ros.label_info_to_ros(NAMES, HEADER, 0.3))
    assert from_ros.label_names_from_ros(info) == NAMES and math.isclose(info.threshold, 0.3, rel_tol=1e-6)
    assert from_ros.label_names_from_ros(receive(to_ros.label_info_to_ros([], HEADER))) == []
    mask = to_ros.mask_to_ros(Segmentation(labels), HEADER)
    mask.height = 6
    with pytest.raises(FrameError, match="data"):
        from_ros.mask_from_ros(mask)
    mask.width = 0
    with pytest.raises(FrameError, match="1x1"):
        from_ros.mask_from_ros(mask)
    with pytest.raises(FrameError, match="mono8"):
        from_ros.mask_from_ros(to_ros.depth_to_ros(DepthMap(np.ones((2, 2), np.float32), True), HEADER))


def test_vision_info(receive):
    msg = receive(to_ros.vision_info_to_ros("nanodet int8", "/detection_node/class_names", 3, HEADER))
    assert_header(msg)
    assert (msg.method, msg.database_location, msg.database_version) == (
        "nanodet int8", "/detection_node/class_names", 3,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
@pytest.mark.parametrize("make", [np.ascontiguousarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2]])
def test_images(encoding, make, receive):
    rgb = RNG.integers(0, 256, (6, 9, 3), np.uint8)
    msg = receive(to_ros.image_to_ros(make(rgb if encoding == "rgb8" else rgb[..., ::-1]), HEADER, encoding))
    assert_header(msg)
    np.testing.assert_array_equal(from_ros.image_from_ros(msg), rgb)


@pytest.mark.parametrize(
    ("image", "encoding"),
    [
        (np.zeros((4, 4), np.uint8), "rgb8"),
        (np.zeros((4, 4, 3), np.uint8), "mono8"),
        (np.zeros((4, 4), np.float64), "32FC1"),
        (np.zeros((0, 4, 3), np.uint8), "rgb8"),
    ],
)
def test_an_array_that_does_not_fit_its_encoding(image, encoding):
    with pytest.raises(ValueError, match=encoding):
        to_ros.image_to_ros(image, HEADER, encoding)


def test_depth_points_lie_on_the_rays_of_their_pixels(receive):
    depth_m = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]], np.float32)
    camera = CameraModel((3, 2), np.array([[2.0, 0, 1.0], [0, 4.0, 0.5], [0, 0, 1]]))
    rgb = RNG.integers(0, 256, (2, 3, 3), np.uint8)
    msg = receive(to_ros.depth_points_to_ros(DepthMap(depth_m, True), camera, HEADER, rgb))
    assert_header(msg)
    assert [(f.name, f.offset, f.datatype) for f in msg.fields] == [
        ("x", 0, 7),
        ("y", 4, 7),
        ("z", 8, 7),
        ("rgb", 12, 7),
    ]
    assert (msg.height, msg.width, msg.point_step, msg.row_step, bool(msg.is_dense)) == (2, 3, 16, 48, False)
    cloud = np.frombuffer(bytes(msg.data), np.float32).reshape(2, 3, 4)
    for v in range(2):
        for u in range(3):
            uvw = camera.K @ cloud[v, u, :3].astype(np.float64)
            if np.isnan(depth_m[v, u]):
                assert np.isnan(cloud[v, u, :3]).all()
            else:
                np.testing.assert_allclose(uvw / uvw[2], [u, v, 1], atol=1e-6)
                assert cloud[v, u, 2] == depth_m[v, u]
    packed = np.frombuffer(bytes(msg.data), np.uint8).reshape(2, 3, 16)[..., 12:]
    np.testing.assert_array_equal(packed[..., [2, 1, 0]], rgb)
    plain = to_ros.depth_points_to_ros(DepthMap(depth_m, True), camera, HEADER)
    assert plain.point_step == 12 and len(plain.data) == 72


def test_depth_points_of_another_size():
    camera = CameraModel((4, 2), np.diag([2.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="3x2"):
        to_ros.depth_points_to_ros(DepthMap(np.ones((2, 3), np.float32), True), camera, HEADER)


def test_odometry(receive):
    T, covariance = random_pose(), random_covariance()
    msg = receive(to_ros.odometry_to_ros(T, covariance, (HEADER[0], "odom"), "base_link"))
    got = from_ros.odometry_from_ros(msg)
    assert (got.stamp_ns, got.parent_frame, got.child_frame) == (HEADER[0], "odom", "base_link")
    np.testing.assert_allclose(got.T_parent_child, T, atol=1e-12)
    np.testing.assert_array_equal(got.covariance, covariance)
    assert msg.twist.covariance[0] == 1e9  # not measured is not "standing still"
    twist = np.arange(6.0)
    msg = receive(to_ros.odometry_to_ros(T, covariance, (HEADER[0], "odom"), "base_link", twist))
    assert (msg.twist.twist.linear.y, msg.twist.twist.angular.z, msg.twist.covariance[0]) == (1.0, 5.0, 0.0)


@pytest.mark.parametrize("state", list(TrackingState))
def test_odometry_state(state, receive):
    has_pose = state in (TrackingState.TRACKING, TrackingState.DEGRADED)
    estimate = OdometryEstimate(
        HEADER[0], state, np.eye(4) if has_pose else None, np.eye(6) if has_pose else None,
        ScaleState.FROM_DEPTH, 0.0625, 57, 90, True, "blurred, überbelichtet",
    )  # fmt: skip
    msg = receive(to_ros.odometry_state_to_ros(estimate, HEADER[1]))
    assert_header(msg)
    got = from_ros.odometry_state_from_ros(msg)
    assert (got.stamp_ns, got.state, got.scale_state, got.scale_sigma) == (
        HEADER[0], state, ScaleState.FROM_DEPTH, 0.0625,
    )  # fmt: skip
    assert (got.inliers, got.tracked, got.is_keyframe, got.reason) == (57, 90, True, "blurred, überbelichtet")
    level = msg.status[0].level
    assert (level if isinstance(level, int) else level[0]) == {"tracking": 0, "lost": 2}.get(state.value, 1)


def test_an_unknown_scale_stays_unknown(receive):
    estimate = OdometryEstimate(5, TrackingState.LOST, None, None)
    assert math.isnan(
        from_ros.odometry_state_from_ros(receive(to_ros.odometry_state_to_ros(estimate))).scale_sigma
    )


def test_a_state_message_of_somebody_else():
    with pytest.raises(FrameError, match="none"):
        from_ros.odometry_state_from_ros(DiagnosticArray())
    other = DiagnosticArray(status=[DiagnosticStatus(name="odometry", message="confused")])
    with pytest.raises(FrameError, match="this version"):
        from_ros.odometry_state_from_ros(other)


def test_transform_pose_and_path(receive):
    T1, T2 = random_pose(), random_pose()
    got = from_ros.transform_from_ros(receive(to_ros.transform_to_ros(T1, (7, "map"), "odom")))
    assert (got.stamp_ns, got.parent_frame, got.child_frame) == (7, "map", "odom")
    np.testing.assert_allclose(got.T_parent_child, T1, atol=1e-12)
    path = from_ros.path_from_ros(receive(to_ros.path_to_ros([(1, T1), (2, T2)], (9, "odom"))))
    assert [(p.stamp_ns, p.parent_frame) for p in path] == [(1, "odom"), (2, "odom")]
    np.testing.assert_allclose(path[1].T_parent_child, T2, atol=1e-12)
    assert from_ros.path_from_ros(receive(to_ros.path_to_ros([], (9, "odom")))) == []
    moved = from_ros.path_from_ros(to_ros.path_to_ros([(1, T2), (2, T2)], (9, "map")))
    np.testing.assert_allclose(moved[0].T_parent_child, T2, atol=1e-12)
    assert moved[0].parent_frame == "map"


def test_a_pose_without_rotation_is_refused():
    with pytest.raises(FrameError, match="quaternion"):
        from_ros.pose_from_ros(Pose(orientation=to_ros.pose_to_ros(np.eye(4)).orientation.__class__(w=0.0)))
    broken = to_ros.pose_to_ros(np.eye(4))
    broken.position.x = math.inf
    with pytest.raises(FrameError, match="finite"):
        from_ros.pose_from_ros(broken)


def test_place_matches(receive):
    result = PlaceResult(HEADER[0], 12, (3, 100), (0.93, 0.5))
    msg = receive(to_ros.place_matches_to_ros(result))
    assert_header(msg, frame_id="keyframe_12")
    assert [r.class_id for r in msg.results] == ["3", "100"]
    assert from_ros.place_matches_from_ros(msg) == result
    empty = PlaceResult(HEADER[0], 0)
    assert from_ros.place_matches_from_ros(receive(to_ros.place_matches_to_ros(empty))) == empty
    msg.header.frame_id = "camera"
    with pytest.raises(FrameError, match="keyframe"):
        from_ros.place_matches_from_ros(msg)


def test_loop_closure_in_camera_frames(receive):
    closure = LoopClosure(40, 7, random_pose(), random_covariance(), 80, 0.9)
    matched_id, got = from_ros.loop_closure_from_ros(receive(to_ros.loop_closure_to_ros(closure, HEADER[0])))
    assert (matched_id, got.stamp_ns, got.parent_frame) == (7, HEADER[0], "keyframe_7")
    np.testing.assert_allclose(got.T_parent_child, closure.T_matched_query, atol=1e-12)
    np.testing.assert_array_equal(got.covariance, closure.covariance)


def test_loop_closure_in_base_frames():
    """Pose and covariance against samples of the camera's error carried over to the base."""
    T_base_cam = random_pose()
    covariance = 1e-6 * random_covariance()
    closure = LoopClosure(40, 7, random_pose(), covariance, 80, 0.9)
    _, got = from_ros.loop_closure_from_ros(to_ros.loop_closure_to_ros(closure, 1, T_base_cam))
    mean = T_base_cam @ closure.T_matched_query @ invert(T_base_cam)
    np.testing.assert_allclose(got.T_parent_child, mean, atol=1e-12)
    errors = []
    for error in RNG.multivariate_normal(np.zeros(6), covariance, 4000):
        noisy = closure.T_matched_query.copy()
        rotation = matrix_from_quat_xyzw(np.array([*(error[3:] / 2), 1.0]))
        noisy[:3, :3] = rotation @ noisy[:3, :3]
        noisy[:3, 3] += error[:3]
        moved = T_base_cam @ noisy @ invert(T_base_cam)
        turn = moved[:3, :3] @ mean[:3, :3].T
        errors.append([*(moved[:3, 3] - mean[:3, 3]), turn[2, 1], turn[0, 2], turn[1, 0]])
    sampled = np.cov(np.array(errors).T)
    assert np.linalg.norm(sampled - got.covariance) < 0.1 * np.linalg.norm(sampled)


def test_pose_graph_markers(receive):
    poses = {4: random_pose(), 9: random_pose(), 11: random_pose()}
    msg = receive(to_ros.pose_graph_to_ros(poses, [(4, 9, False), (9, 11, False), (11, 4, True)], HEADER))
    nodes, odometry, loops = msg.markers
    assert (len(nodes.points), len(odometry.points), len(loops.points)) == (3, 4, 2)
    assert (loops.points[1].x, loops.points[1].y, loops.points[1].z) == tuple(poses[4][:3, 3])
    assert nodes.type == Marker.SPHERE_LIST and odometry.type == loops.type == Marker.LINE_LIST
    empty = receive(to_ros.pose_graph_to_ros({}, [], HEADER))
    assert [m.action for m in empty.markers] == [Marker.DELETE] * 3
