"""Training of local features: pairs that correspond, losses that know right from wrong, and a loss that falls."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional

from vision_nodes.errors import ConfigError
from vision_nodes.training.config import TrainingConfig
from vision_nodes.training.feature_data import WarpedPictures, random_crop
from vision_nodes.training.feature_loss import choose_points, match_loss, relative_loss, transfer
from vision_nodes.training.features import FeaturesTask, corner_error, match_errors

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = []
    for index in range(3):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (300, 420, 3)).astype(np.uint8), (0, 0), 3)
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))
    return paths


def test_both_views_show_the_same_points(pictures: list[Path]):
    for sample in (
        WarpedPictures(pictures, (160, 120), 1, augmented=False, strength=0.4)[i] for i in range(3)
    ):
        image, warped, H = (sample[key].numpy() for key in ("image", "warped", "homography"))
        moved = cv2.warpPerspective(image, H, (160, 120)).astype(float)
        inside = cv2.warpPerspective(np.full((120, 160), 255, np.uint8), H, (160, 120)) == 255
        inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))) > 0
        assert inside.mean() > 0.3
        assert np.abs(moved - warped)[inside].mean() < 6  # resampled twice against once
        shifted = np.roll(warped, 4, axis=1)
        assert np.abs(moved - shifted)[inside].mean() > 12


def test_views_follow_from_seed_epoch_and_index(pictures: list[Path]):
    data, again = (WarpedPictures(pictures, (96, 64), 5, augmented=True) for _ in range(2))
    assert torch.equal(data[1]["warped"], again[1]["warped"])
    again.set_epoch(1)
    assert not torch.equal(data[1]["warped"], again[1]["warped"])
    fixed = WarpedPictures(pictures, (96, 64), 5, augmented=False)
    before = fixed[1]["warped"]
    fixed.set_epoch(1)
    assert torch.equal(before, fixed[1]["warped"])


def test_crops_lie_within_the_picture():
    rng = np.random.default_rng(2)
    for _ in range(100):
        wh = tuple(rng.integers(100, 900, 2))
        crop = random_crop(wh, (160, 120), rng)
        corners = np.linalg.inv(crop) @ np.array([[0, 160, 0, 160], [0, 0, 120, 120], [1, 1, 1, 1]])
        assert (
            (corners[:2] > -1e-6).all()
            and (corners[0] < wh[0] + 1e-6).all()
            and (corners[1] < wh[1] + 1e-6).all()
        )


def test_transfer_is_opencvs():
    H = np.array([[1.1, 0.1, 3], [-0.05, 0.9, 7], [1e-4, -2e-4, 1]])
    xy = np.random.default_rng(0).uniform(0, 100, (20, 2))
    ours = transfer(torch.from_numpy(H)[None], torch.from_numpy(xy)[None])[0].numpy()
    np.testing.assert_allclose(ours, cv2.perspectiveTransform(xy[None], H)[0])
    assert match_errors(xy, ours, H).max() < 1e-9
    assert corner_error(xy, ours, H, (100, 100)) < 0.05
    assert corner_error(xy[:3], ours[:3], H, (100, 100)) == np.inf


def test_right_matches_cost_less_and_invalid_ones_nothing():
    torch.manual_seed(0)
    a = functional.normalize(torch.randn(2, 20, 16), dim=-1)
    far = torch.arange(20.0)[None, :, None].expand(2, 20, 2) * 50
    valid = torch.ones(2, 20, dtype=torch.bool)
    right, wrong = (match_loss(a, b, far, valid, 0.1) for b in (a, a.roll(1, 1)))
    assert right < 0.2
    assert wrong > 2
    half = valid.clone()
    half[:, 10:] = False
    b = a.clone()
    b[:, 10:] = -b[:, 10:]  # wrong where nobody looks
    assert match_loss(a, b, far, half, 0.1) < 0.2
    assert match_loss(a, a.roll(1, 1), torch.zeros(2, 20, 2), valid, 0.1) < 0.01  # all are near: no rivals


def test_points_are_maxima_and_some_from_anywhere():
    rank = torch.zeros(1, 40, 50)
    rank[0, 10, 20], rank[0, 30, 5] = 1.0, 0.5
    points = choose_points(rank, 4, 0.5)
    assert points.shape == (1, 4, 2)
    assert points.min() >= 0 and (points[..., 0] < 50).all() and (points[..., 1] < 40).all()
    assert relative_loss(torch.ones(1, 2, 3, 3), torch.full((1, 2, 3, 3), 2.0)).item() == pytest.approx(0.25)


def test_unknown_option():
    with pytest.raises(ConfigError, match="croppings"):
        FeaturesTask(TrainingConfig("features", options={"croppings": 3}))


@pytest.mark.skipif(not (SHARED / "weights" / "xfeat").exists(), reason="shared weights absent")
def test_the_loss_falls_on_one_batch(pictures: list[Path]):
    options = {"size_wh": [128, 96], "crop_wh": [160, 120], "points": 48}
    task = FeaturesTask(TrainingConfig("features", input_wh=(160, 120), options=options))
    data = WarpedPictures(pictures, (160, 120), 1, augmented=False, strength=0.4)
    batch = task.collate([data[0], data[1]])
    # the pictures are shown at 0.8 of their size: 128 x 96
    network = task.network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        torch.manual_seed(1)
        loss = task.loss(network, batch)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
