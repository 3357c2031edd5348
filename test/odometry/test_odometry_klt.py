import cv2
import numpy as np
import pytest
from textured_scene import texture

from vision_nodes.odometry.corners import spread_corners
from vision_nodes.odometry.klt import KltTracker, Tracks, follow, global_shift
from vision_nodes.odometry.settings import OdometrySettings

SETTINGS = OdometrySettings()


def moved(image, shift):
    return cv2.warpAffine(image, np.float64([[1, 0, shift[0]], [0, 1, shift[1]]]), image.shape[::-1])


@pytest.fixture(scope="module")
def image():
    return np.ascontiguousarray(texture(7)[:480, :640])


def test_no_points_and_no_texture():
    flat = np.full((240, 320), 90, np.uint8)
    xy, good = follow(flat, flat, np.zeros((0, 2)), np.zeros((0, 2)), SETTINGS)
    assert xy.shape == (0, 2) and good.shape == (0,)
    assert len(spread_corners(flat, np.zeros((0, 2)), 100)) == 0
    assert len(spread_corners(np.zeros((12, 12), np.uint8), np.zeros((0, 2)), 100)) == 0
    noise = (2 * np.random.default_rng(0).normal(size=(240, 320)) + 5).clip(0, 255).astype(np.uint8)
    assert len(spread_corners(noise, np.zeros((0, 2)), 100)) < 20  # a covered lens is no map


def test_subpixel_shift_is_followed(image):
    xy = spread_corners(image, np.zeros((0, 2)), 200)
    found, good = follow(image, moved(image, (3.3, -2.6)), xy, xy, SETTINGS)
    assert good.mean() > 0.9
    assert np.abs(np.median(found[good] - xy[good], axis=0) - [3.3, -2.6]).max() < 0.02
    assert np.percentile(np.linalg.norm(found[good] - xy[good] - [3.3, -2.6], axis=1), 90) < 0.15


def test_corners_cover_the_image_and_keep_their_distance(image):
    first = spread_corners(image, np.zeros((0, 2)), 150)
    cells = {(int(x / 80), int(y / 80)) for x, y in first}
    assert len(first) == 150 and len(cells) >= 44  # of 48
    more = spread_corners(image, first, 100)
    distance = np.linalg.norm(more[:, None] - first[None], axis=2).min()
    assert distance > 8


def test_a_fast_turn_is_found_from_the_global_shift(image):
    turned = moved(image, (110, 18))
    assert np.abs(global_shift(image, turned) - [110, 18]).max() < 3
    tracker = KltTracker(SETTINGS)
    tracker.follow_into(image, np.zeros((0, 2)))
    tracker.detect(image)
    count = len(tracker.tracks)
    before = tracker.follow_into(turned, tracker.tracks.xy)
    assert len(before) == len(tracker.tracks) > 0.5 * count
    assert np.abs(np.median(tracker.tracks.xy - before, axis=0) - [110, 18]).max() < 0.2


def test_blackout_ends_all_tracks_and_ids_are_not_used_again(image):
    tracker = KltTracker(SETTINGS)
    tracker.follow_into(image, np.zeros((0, 2)))
    tracker.detect(image)
    last = tracker.tracks.ids.max()
    tracker.follow_into(np.zeros_like(image), tracker.tracks.xy)
    assert len(tracker.tracks) == 0
    tracker.reset()
    tracker.follow_into(image, np.zeros((0, 2)))
    tracker.detect(image)
    assert tracker.tracks.ids.min() > last


def test_empty_tracks_select_and_extend():
    empty = Tracks.empty()
    assert len(empty.select(np.zeros(0, bool))) == 0 and len(empty.extend(empty)) == 0
