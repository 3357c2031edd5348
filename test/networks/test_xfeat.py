"""XFeat: agreement with the published ONNX file on a real picture, and the contract of the exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.networks.xfeat import CELL, MIN_HEAT, XFeatExport, load_xfeat

STORED = Path(__file__).parents[2].parent / "shared" / "weights" / "xfeat"
pytestmark = pytest.mark.skipif(not STORED.exists(), reason="shared weights absent")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    return cv2.resize(data.astronaut(), (320, 224), interpolation=cv2.INTER_AREA)


def test_maps_agree_with_the_published_file(picture: np.ndarray):
    import onnxruntime

    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        ours = load_xfeat()(tensor)
    session = onnxruntime.InferenceSession(str(STORED / "xfeat_320x224.onnx"))
    theirs = session.run(None, {"input": tensor.numpy() / 255})
    assert np.abs(ours[0].numpy() - theirs[0]).max() < 2e-3
    # the published file gives logits and reliability in its own order and form: compare the keypoint heat
    heat = next(m for m in theirs if m.shape[1] == CELL**2 + 1)
    heat = (
        heat if np.allclose(heat.sum(1), 1, atol=1e-3) else torch.softmax(torch.from_numpy(heat), 1).numpy()
    )
    np.testing.assert_allclose(torch.softmax(ours[1], 1).numpy(), heat, atol=1e-3)
    np.testing.assert_allclose(ours[2].numpy(), next(m for m in theirs if m.shape[1] == 1), atol=1e-3)


def test_contract_and_shift(picture: np.ndarray):
    graph = XFeatExport(load_xfeat(), 200)
    image = torch.from_numpy(picture)[None]
    with torch.no_grad():
        keypoints, scores, descriptors = (part[0].numpy() for part in graph(image))
    assert keypoints.shape == (200, 2) and descriptors.shape == (200, 64)
    found = scores > 0
    assert found.sum() > 100 and (scores[found] <= 1).all() and MIN_HEAT < 1
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, rtol=1e-4)
    assert (keypoints >= 0).all() and (keypoints <= (319, 223)).all()
    spread = np.abs(keypoints[found][:, None] - keypoints[found][None]).max(-1) + 99 * np.eye(found.sum())
    assert spread.min() >= 3  # 5x5 suppression


def test_the_same_points_are_found_in_a_shifted_picture(picture: np.ndarray):
    graph = XFeatExport(load_xfeat(), 300)
    left, right = picture[:192, :288], picture[32:, 32:]  # right is left moved by (32, 32)
    with torch.no_grad():
        a, b = ([part[0].numpy() for part in graph(torch.from_numpy(np.ascontiguousarray(view))[None])]
                for view in (left, right))  # fmt: skip
    similarity = a[2] @ b[2].T
    forth, back = similarity.argmax(1), similarity.argmax(0)
    mutual = np.flatnonzero(back[forth] == np.arange(len(forth)))
    error = np.abs(a[0][mutual] - 32 - b[0][forth[mutual]]).max(axis=1)
    assert (error <= 1).sum() > 60
    assert (error <= 1).mean() > 0.6
