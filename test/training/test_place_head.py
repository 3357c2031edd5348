"""Place head: overlap of views into a picture, whitening, batches, development figures; learning on a tiny problem."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.networks.place import PlaceNetwork
from vision_nodes.training.place_bench import bench_found, loop_figures, of_module, traverse_recall
from vision_nodes.training.place_dev import through_lens, tiles
from vision_nodes.training.place_features import Features, loop_scenes, read_features
from vision_nodes.training.place_head import HeadSettings, batches, train_head, whiten
from vision_nodes.training.place_loops import (
    PictureLoops,
    RenderedLoops,
    hand_held_way,
    look,
    room_loop,
    shared_area,
)
from vision_nodes.training.rooms.layout import random_room

SIZE = (96, 64)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 12, 16, 3)).astype(np.uint8)
    return [cv2.resize(c, (192, 144), interpolation=cv2.INTER_CUBIC) for c in coarse]


def outline(x: float, y: float, side: float = 0.4) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], np.float32)


def test_shared_area_of_squares():
    table = shared_area([outline(0, 0), outline(0.2, 0), outline(0.5, 0.5), outline(0, 0, 0.2)])
    assert table[0, 0] == 1 and table[0, 2] == 0
    assert table[0, 1] == pytest.approx(0.5)
    assert table[0, 3] == pytest.approx((0.25 + 1) / 2)


def test_the_whole_picture_seen_straight_is_the_picture(pictures: list[np.ndarray]):
    whole = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    seen = look(pictures[0], whole, (192, 144))
    assert np.abs(seen.astype(int) - pictures[0]).max() <= 1


def test_hand_held_ways_stay_in_the_room_and_overlap_falls_with_turning(pictures: list[np.ndarray]):
    rng = np.random.default_rng(3)
    room = random_room(rng, pictures)
    poses = np.stack(hand_held_way(room, rng, 40))
    assert (poses[:, :3, 3] > 0).all() and (poses[:, :3, 3] < room.size).all()
    loop = room_loop(room, np.random.default_rng(4), 6)
    table = loop["overlap"]
    np.testing.assert_array_equal(table, table.T)
    forward = np.stack(hand_held_way(room, np.random.default_rng(4), 6))[:, :3, 2]
    assert table.min() >= 0 and table.max() <= 1 and len(forward) == len(loop["images"])


def test_picture_and_rendered_loops_give_views_with_their_overlap(pictures: list[np.ndarray], tmp_path: Path):
    cv2.imwrite(str(tmp_path / "a.png"), pictures[0])
    sample = PictureLoops([tmp_path / "a.png"], SIZE, 4, seed=1)[0]
    assert sample["views"].shape == (4, 3, 64, 96) and sample["overlap"].shape == (4, 4)
    table = np.clip(1 - 0.2 * np.abs(np.subtract.outer(np.arange(8), np.arange(8))), 0, 1)
    images = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((1, 64, 96, 3), np.uint8)
    np.savez(tmp_path / "room_1.npz", images=images, overlap=table)
    found = RenderedLoops(tmp_path, SIZE, 4, seed=1)[3]
    assert found["overlap"].shape == (4, 4) and torch.equal(found["overlap"].diagonal(), torch.ones(4))
    kept = next(loop_scenes(tmp_path, SIZE, seed=1, views=5))
    assert kept[0].shape == (5, 64, 96, 3) and kept[1].shape == (5, 5)


def two_scenes(network: PlaceNetwork) -> Features:
    rng = np.random.default_rng(1)
    scenes = [(rng.integers(0, 256, (6, 64, 96, 3)).astype(np.uint8), np.kron(np.eye(3), np.ones((2, 2))))]
    scenes.append((rng.integers(0, 256, (4, 64, 96, 3)).astype(np.uint8), np.eye(4)))
    return read_features(network, iter(scenes))


@pytest.fixture(scope="module")
def network() -> PlaceNetwork:
    torch.manual_seed(0)
    return PlaceNetwork(SIZE, channels=4, rows=3, width=8, layers=1, imagenet=False).requires_grad_(False)


def test_features_know_what_is_shared_across_scenes(network: PlaceNetwork, tmp_path: Path):
    features = two_scenes(network)
    shared = features.shared(torch.tensor([0, 1, 2, 7]))
    assert torch.equal(shared, torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    features.save(tmp_path / "features.pt")
    assert torch.equal(Features.load(tmp_path / "features.pt").tokens, features.tokens)
    for chosen in batches(features, HeadSettings(steps=3, scenes=4, views=3)):
        assert len(set(chosen.tolist())) == len(chosen) <= 12


def test_whitening_gives_equal_variances_without_correlation(network: PlaceNetwork):
    pooled = torch.randn(2000, 576) @ torch.diag(torch.linspace(2, 0.5, 576)) + 3
    whiten(network, pooled, 1.0)
    covariance = torch.cov(network.to_pooled(pooled).T)
    torch.testing.assert_close(covariance, torch.eye(256), atol=1e-3, rtol=0)


def test_the_head_learns_which_views_overlap(network: PlaceNetwork):
    torch.manual_seed(2)
    # pairs 0-1, 2-3, 4-5 of one scene share everything, yet every view has features of its own
    tokens, pooled = torch.randn(10, 8, 12), torch.rand(10, 576)
    table = torch.from_numpy(np.kron(np.eye(3), np.ones((2, 2)))).float()
    scene, row = torch.tensor([0] * 6 + [1] * 4), torch.tensor([*range(6), *range(4)])
    features = Features(tokens, pooled, scene, row, [table, torch.eye(4)])
    whiten(network, torch.rand(1000, 576), 0.5)
    settings = HeadSettings(steps=60, scenes=6, views=4, learning_rate=5e-3, anchor=0.0, dropout=0.0, ema=0.9)
    train_head(network, features, settings)
    found = network.join(network.layout(tokens), network.to_pooled(pooled))
    similarity, shared = found @ found.T, features.shared(torch.arange(10))
    own = torch.eye(10, dtype=torch.bool)
    assert similarity[(shared == 1) & ~own].min() > similarity[shared == 0].max()


def test_development_figures_by_hand():
    found = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], np.float32)
    table = np.full((4, 4), np.nan, np.float32)
    table[:2, :2], table[2:, 2:] = [[1, 0.2], [0.2, 1]], [[1, 0.9], [0.9, 1]]
    arrays = {"overlap": np.tile(table, (1, 1)), "group": np.array([0, 0, 1, 1])}
    many = {"overlap": np.kron(np.eye(5), np.ones((2, 2))) * 0.9, "group": np.repeat(np.arange(5), 2)}
    vectors = np.repeat(np.eye(5, dtype=np.float32), 2, axis=0)
    assert loop_figures("crops", vectors, many) == {
        "crops_average_precision": 1.0,
        "crops_recall_at_full_precision": 1.0,
    }
    assert np.isnan(arrays["overlap"]).sum() == 8
    assert traverse_recall(found, found[[1, 1, 2, 2]], np.zeros(4), 0) == 0.5
    assert traverse_recall(found, found[[1, 1, 2, 2]], np.zeros(4), 1) == 1.0
    score = bench_found(
        {"streets": {"group": np.zeros(4)}}, {("streets", "images"): found, ("streets", "queries"): found}
    )
    assert score == {"score": 1.0, "streets_recall_at_1": 1.0}


def test_pictures_become_places_and_queries(pictures: list[np.ndarray]):
    arrays = tiles(pictures[:2])
    assert arrays["images"].shape == arrays["queries"].shape == (12, 160, 224, 3)

    class Blurred(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(image.float().permute(0, 3, 1, 2), 32).flatten(1)

    describe = of_module(Blurred(), centred=True)
    recall = traverse_recall(describe(arrays["images"]), describe(arrays["queries"]), arrays["group"], 0)
    assert recall > 0.5
    straight = through_lens(arrays["images"][0], 0.0)
    assert np.abs(straight.astype(int) - arrays["images"][0]).max() <= 1
