"""TF buffer: chains, inverses, and no answer where no chain connects."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped

from vision_nodes.camera.covariance import covariance_of_attached_frame
from vision_nodes.camera.transforms import invert, make_transform, matrix_from_quat_xyzw
from vision_nodes.nodes.transforms import TransformBuffer, as_tf_message


def stamped(parent: str, child: str, t: tuple[float, ...], q: tuple[float, ...]) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    v, r = message.transform.translation, message.transform.rotation
    v.x, v.y, v.z = t
    r.x, r.y, r.z, r.w = q
    return message


def test_empty_buffer_knows_only_that_a_frame_is_itself() -> None:
    buffer = TransformBuffer()
    assert buffer.lookup("a", "b") is None and buffer.frames() == []
    assert np.array_equal(buffer.lookup("a", "a"), np.eye(4))


def test_chain_over_three_frames_both_ways() -> None:
    buffer = TransformBuffer()
    half = np.sqrt(0.5)
    buffer.add(as_tf_message(stamped("base_link", "mast", (1.0, 0.0, 0.5), (0.0, 0.0, half, half))))
    buffer.add(as_tf_message(stamped("mast", "camera", (0.2, 0.0, 0.0), (-0.5, 0.5, -0.5, 0.5))))
    T = buffer.lookup("base_link", "camera")
    mast = make_transform(matrix_from_quat_xyzw(np.array([0, 0, half, half])), np.array([1, 0, 0.5]))
    camera = make_transform(matrix_from_quat_xyzw(np.array([-0.5, 0.5, -0.5, 0.5])), np.array([0.2, 0, 0]))
    assert np.allclose(T, mast @ camera)
    assert np.allclose(buffer.lookup("camera", "base_link"), invert(mast @ camera))
    assert buffer.lookup("base_link", "lidar") is None


def test_the_latest_transform_replaces_the_older() -> None:
    buffer = TransformBuffer()
    for x in (1.0, 2.0):
        buffer.add(as_tf_message(stamped("a", "b", (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))))
    assert buffer.lookup("a", "b")[0, 3] == 2.0


def test_covariance_of_attached_frame_against_sampling() -> None:
    rng = np.random.default_rng(3)
    A = rng.normal(size=(6, 6)) * 1e-3
    covariance = A @ A.T
    R = matrix_from_quat_xyzw(rng.normal(size=4))
    T_odom_cam = make_transform(R, rng.normal(size=3))
    T_cam_base = make_transform(matrix_from_quat_xyzw(rng.normal(size=4)), rng.normal(size=3))
    T_odom_base = T_odom_cam @ T_cam_base
    errors = []
    for e in rng.multivariate_normal(np.zeros(6), covariance, 20000):
        x, y, z = e[3:]
        small = np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])  # |e| ~ 1e-3: first order
        p = small @ R @ T_cam_base[:3, 3] + T_odom_cam[:3, 3] + e[:3]
        errors.append(np.concatenate([p - T_odom_base[:3, 3], e[3:]]))
    sampled = np.cov(np.array(errors).T)
    moved = covariance_of_attached_frame(covariance, T_odom_cam, T_cam_base)
    assert np.allclose(moved, sampled, atol=0.05 * np.abs(sampled).max())
