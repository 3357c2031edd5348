"""Place data: determinism by seed, labels, and what recall counts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vision_nodes.errors import TrainingError
from vision_nodes.training.place import loop_precision, parts_of, recall
from vision_nodes.training.place_augment import second_visit
from vision_nodes.training.place_data import PictureRevisits, PictureVisits, neighbouring_crops
from vision_nodes.training.place_worlds import (
    APART,
    STEPS_PER_WORLD,
    WorldClusters,
    WorldRevisits,
    WorldVisits,
)

SIZE = (96, 64)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        coarse = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC))
    return paths


@pytest.fixture
def worlds(tmp_path: Path) -> Path:
    folder = tmp_path / "visits"
    for world in range(2):
        (folder / f"{world:06d}").mkdir(parents=True)
        for walk in range(2):
            for step in range(8):
                name = str(folder / f"{world:06d}" / f"walk{walk}_step{step}")
                cv2.imwrite(f"{name}.jpg", np.full((64, 96, 3), 20 * step + world, np.uint8))
                cv2.imwrite(f"{name}.png", np.full((4, 6), 1000 * (step + 1), np.uint16))
    return folder


def test_no_severity_changes_nothing():
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    same = second_visit(image, np.random.default_rng(2), SIZE, severity=0.0)
    assert np.abs(same.astype(int) - image).max() <= 1


def test_equal_seeds_give_equal_views_and_epochs_differ(pictures: list[Path]):
    first, second = (PictureVisits(pictures, SIZE, 2, seed=4) for _ in range(2))
    assert torch.equal(first[1]["views"], second[1]["views"])
    second.set_epoch(1)
    assert not torch.equal(first[1]["views"], second[1]["views"])


def test_labels_are_one_or_two_places_of_the_picture(pictures: list[Path]):
    data = PictureVisits(pictures, SIZE, 4, seed=0)
    seen = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        places = data[2]["place"].tolist()
        assert places in ([4, 4, 4, 4], [4, 5, 4, 5])
        seen.add(tuple(places))
    assert len(seen) == 2


def test_neighbours_show_different_parts():
    picture = np.arange(96 * 128 * 3).reshape(96, 128, 3)
    for seed in range(20):
        a, b = neighbouring_crops(picture, np.random.default_rng(seed))
        side_by_side = a.shape == b.shape
        overlap = len(np.intersect1d(a, b)) / a.size
        assert overlap < (0.35 if side_by_side else 0.32)


def test_a_missing_picture_is_refused(tmp_path: Path):
    with pytest.raises(TrainingError, match="readable"):
        PictureVisits([tmp_path / "none.jpg"], SIZE, 2, 0)


def test_world_samples_pair_a_step_with_one_apart(worlds: Path):
    data = WorldVisits(worlds, SIZE, 4, seed=0, held_out=1)
    assert len(data) == 8
    sample = data[2]
    here, away = sample["place"][0] % STEPS_PER_WORLD, sample["place"][1] % STEPS_PER_WORLD
    assert here == 2 and abs(int(away) - 2) >= APART
    np.testing.assert_allclose(sample["depth"][0], 3.0)
    np.testing.assert_allclose(sample["depth"][1], float(away) + 1)


def test_an_unfinished_world_is_left_out(worlds: Path):
    (worlds / "000001" / "walk1_step7.jpg").unlink()
    assert len(WorldVisits(worlds, SIZE, 2, 0).visits.worlds) == 1


def test_development_samples_are_fixed(worlds: Path, pictures: list[Path]):
    for data in (WorldRevisits(worlds, SIZE, 0, 1), PictureRevisits(pictures, SIZE, 0)):
        first, second = data[0], data[0]
        assert torch.equal(first["query"], second["query"])
        assert first["gallery"].shape == first["query"].shape
        assert first["image"].shape == (64, 96, 3)


def test_recall_by_hand():
    gallery = [torch.eye(6)[:3], torch.eye(6)[3:]]
    query = [
        torch.eye(6)[[0, 2, 0]],
        torch.eye(6)[[3, 0, 5]],
    ]  # right, one off, two off; right, other walk, right
    assert recall(list(zip(gallery, query)), tolerance=1) == pytest.approx(4 / 6)
    assert recall(list(zip(gallery, query)), tolerance=0) == pytest.approx(3 / 6)


def test_loop_precision_by_hand():
    # a world of three views: 0 and 1 show the same; another world of one view, most like view 0
    first = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    shared = torch.tensor([[1.0, 0.7, 0.0], [0.7, 1.0, 0.3], [0.0, 0.3, 1.0]])
    second = torch.tensor([[0.96, 0.28]])
    # pairs by similarity: 0-3 .96 wrong, 1-3 .80 wrong, (1-2 undecided), 0-1 .60 right
    assert loop_precision([(first, shared), (second, torch.ones(1, 1))]) == pytest.approx(1 / 3)


def test_parts_have_unit_norm():
    whole, layout, pooled = parts_of(torch.randn(3, 10), layout_dim=4)
    assert whole.shape == (3, 10) and layout.shape == (3, 4) and pooled.shape == (3, 6)
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(3))


def test_clusters_bring_two_places_of_one_world(tmp_path: Path):
    images = (
        np.repeat(np.arange(6, dtype=np.uint8)[:, None, None, None] * 40, 64, 1).repeat(96, 2).repeat(3, 3)
    )
    np.savez(tmp_path / "000001.npz", images=images, cluster=np.array([0, 0, 0, 1, 1, 2]))
    data = WorldClusters(tmp_path, SIZE, 4, seed=1)
    sample = data[1]
    assert sample["views"].shape == (4, 3, 64, 96)
    places = sample["place"].tolist()
    assert places[0] == places[1] == 1 and places[2] == places[3] != 1
