"""Self-supervised depth on a rendered drive: better on frames it never saw, and clear about bags that teach nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from vision_nodes.camera.model import CameraModel
from vision_nodes.engine.loader import open_engine
from vision_nodes.errors import BagError, ModelError, TrainingError
from vision_nodes.networks.depth import DepthNetwork
from vision_nodes.networks.mobilenet_v2 import WEIGHTS
from vision_nodes.networks.weights import find_weights
from vision_nodes.simulation.drive import DriveOptions, write_drive_bag
from vision_nodes.simulation.world import World
from vision_nodes.training.bag_clip import BagScale, Clip, read_clip
from vision_nodes.training.checkpoint import read_checkpoint, write_checkpoint
from vision_nodes.training.config import CONFIG_DIR, read_config
from vision_nodes.training.depth_bag import PARALLAX, BagDepthTask, Neighbours
from vision_nodes.training.from_bag import fine_tune, predictor

SIZE_WH = (128, 96)
K = np.array([[110.0, 0, 63.5], [0, 110.0, 47.5], [0, 0, 1]])
FRAMES = 70
TRAINED = Path(__file__).parents[2] / "runs" / "depth" / "best.pt"


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A drive with exact poses, and landmarks as an odometry has them: corners, some of them wrong."""
    world, camera = World.street(501, px_m=16), CameraModel(SIZE_WH, K)
    drive = world.drive(8.0, FRAMES / 8.0)
    rng = np.random.default_rng(1)
    images, truth, landmarks = [], [], []
    for number, T in enumerate(drive.T_world_cam):
        view = world.render(T, camera)
        corners = cv2.goodFeaturesToTrack(cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY), 80, 0.01, 4)
        uv = np.zeros((0, 2)) if corners is None else corners[:, 0]
        z = view.depth_m[uv[:, 1].astype(int), uv[:, 0].astype(int)] * np.exp(rng.normal(0, 0.05, len(uv)))
        z[rng.random(len(uv)) < 0.05] *= 3
        good = np.isfinite(z)
        landmarks.append(np.column_stack([np.full(good.sum(), number), uv[good], z[good]]))
        images.append(view.image)
        truth.append(cv2.resize(view.depth_m, (64, 48), interpolation=cv2.INTER_NEAREST))
    return Clip(
        images=np.stack(images),
        K=K,
        poses=drive.T_world_cam.copy(),
        runs=np.ones(FRAMES, int),
        landmarks=np.concatenate(landmarks).astype(np.float32),
        truth=np.stack(truth).astype(np.float32),
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A "pre-trained" network that knows pictures, but says 9 m everywhere."""
    try:
        find_weights(WEIGHTS)
    except ModelError:
        pytest.skip("no ImageNet weights")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "best.pt"
    state = DepthNetwork().state_dict()
    state["size.2.bias"] = torch.tensor([np.log(9.0)], dtype=torch.float32)
    write_checkpoint(path, {"network": state, "metrics": {}, "config": {"task": "depth"}})
    return path


def settings(**changes: object):
    config = read_config(CONFIG_DIR / "depth_bag.yaml")
    base = {
        "input_wh": SIZE_WH,
        "epochs": 4,
        "learning_rate": 3e-3,
        "accelerator": "cpu",
        "freeze": {"trunk": 99},
    }
    return replace(config, **{**base, **changes})


def test_learns_the_bag_and_exports_the_model(clip: Clip, start: Path, tmp_path: Path) -> None:
    config = settings(epochs=2)
    task = BagDepthTask(config, clip, start)
    learnt = Neighbours(clip, "train", 0, augmented=False)
    before = task.evaluate(task.network().eval(), learnt)
    _, unseen = fine_tune(config, clip, start, tmp_path)
    network = task.network()
    network.load_state_dict(read_checkpoint(tmp_path / "best.pt")["network"])
    after = task.evaluate(network.eval(), learnt)
    assert after["error"] < 0.9 * before["error"] and after["landmarks"] < before["landmarks"]
    with open_engine(str(tmp_path / "depth_own.yaml")) as engine:
        assert engine.manifest.accuracy["fp32"]["abs_rel"] == pytest.approx(unseen["abs_rel"], abs=1e-4)
        assert engine.infer(clip.images[-1])["depth"].shape == (1, 48, 64)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not TRAINED.is_file(), reason="no depth network was trained here")
def test_metres_on_unseen_frames_get_better(tmp_path: Path) -> None:
    """The whole way with the real network: bag, odometry, training; true depth only looks on."""
    write_drive_bag(tmp_path / "drive.mcap", World.street(77), rate_hz=10, duration_s=16)
    config = read_config(CONFIG_DIR / "depth_bag.yaml").overriding(epochs=3)
    made = read_clip(tmp_path / "drive.mcap", config.input_wh, predictor(TRAINED), BagScale())
    before, after = fine_tune(config, made, TRAINED, tmp_path)
    assert after["photometric"] < before["photometric"] and after["abs_rel"] < before["abs_rel"]


def test_photometric_error_alone_teaches_too(clip: Clip, start: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)  # dropout
    task = BagDepthTask(settings(), clip, start, landmarks_weight=0.0, anchor_weight=0.0)
    network = task.network().train()
    batch = task.collate([task.train_dataset()[i] for i in range(4)])
    optimiser = torch.optim.Adam(network.parameters(), 3e-4)
    errors = []
    for _ in range(40):
        losses = task.loss(network, batch)
        errors.append(float(losses["photometric"]))
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
    assert np.mean(errors[-8:]) < 0.97 * np.mean(errors[:2])


def test_parts_do_not_overlap_and_neighbours_stay_inside(clip: Clip) -> None:
    parts = {part: Neighbours(clip, part, 0, False) for part in ("train", "choose", "report")}
    used = {part: {i for n, sides in data.pairs for i in (n, *sides)} for part, data in parts.items()}
    assert not used["train"] & used["choose"] and not used["choose"] & used["report"]
    assert all(len(data) for data in parts.values())
    for number, sides in parts["train"].pairs:
        typical = np.median(parts["train"].points[number][:, 2])
        for side in sides:
            baseline = np.linalg.norm(clip.poses[side][:3, 3] - clip.poses[number][:3, 3])
            assert PARALLAX[0] <= baseline / typical <= PARALLAX[1]


def test_tracks_that_broke_are_not_joined(clip: Clip) -> None:
    runs = np.ones(FRAMES, int)
    runs[30:] = 2
    for number, sides in Neighbours(replace(clip, runs=runs), "train", 0, False).pairs:
        assert all((side < 30) == (number < 30) for side in sides)


def test_a_still_camera_is_refused(clip: Clip, start: Path, tmp_path: Path) -> None:
    still = replace(clip, poses=np.repeat(clip.poses[:1], FRAMES, 0))
    with pytest.raises(TrainingError, match="frames with motion"):
        fine_tune(settings(), still, start, tmp_path)
    lost = replace(clip, poses=np.full_like(clip.poses, np.nan), runs=np.zeros(FRAMES, int))
    with pytest.raises(TrainingError, match="0 of 70 have a pose"):
        fine_tune(settings(), lost, start, tmp_path)


def test_a_missing_or_foreign_network_is_refused(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="train depth first"):
        fine_tune(settings(), clip, tmp_path / "none.pt", tmp_path)
    write_checkpoint(tmp_path / "x.pt", {"network": {}, "config": {"task": "place"}})
    with pytest.raises(TrainingError, match="task depth"):
        fine_tune(settings(), clip, tmp_path / "x.pt", tmp_path)


def test_a_clip_survives_its_file(clip: Clip, tmp_path: Path) -> None:
    clip.save(tmp_path / "clip.npz")
    again = Clip.load(tmp_path / "clip.npz")
    assert np.array_equal(again.images, clip.images) and np.array_equal(again.poses, clip.poses)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.npz"]


def flat_depth(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A network that sees 6 m everywhere."""
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return np.full((h, w), 6.0 / 110.0, np.float32), np.full((h, w), 0.8, np.float32)


def test_a_bag_becomes_a_clip_with_poses_landmarks_and_truth(tmp_path: Path) -> None:
    camera = CameraModel((320, 240), np.array([[275.0, 0, 159.5], [0, 275.0, 119.5], [0, 0, 1]]))
    write_drive_bag(
        tmp_path / "drive.mcap",
        World.street(502, px_m=20),
        rate_hz=10,
        duration_s=4,
        options=DriveOptions(camera=camera),
    )
    made = read_clip(tmp_path / "drive.mcap", SIZE_WH, flat_depth, BagScale())
    posed = np.isfinite(made.poses[:, 0, 0])
    assert len(made.images) == 40 and posed.sum() > 20 and made.images.shape[1:] == (96, 128, 3)
    assert made.K[0, 0] == pytest.approx(110.0)
    # landmarks lie where the truth says, up to the one scale that flat_depth got wrong
    number, u, v, z = made.landmarks.T
    truth = made.truth[number.astype(int), (v / 2).astype(int), (u / 2).astype(int)]
    ratio = (z / truth)[np.isfinite(truth)]
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.15
    assert set(np.unique(made.runs)) <= {0, 1, 2}


def test_bags_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError):
        read_clip(tmp_path / "none.mcap", SIZE_WH, flat_depth, BagScale())
