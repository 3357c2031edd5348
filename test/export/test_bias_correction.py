"""What rounding moved is given back: channel means, fully connected layers; layers that go back to float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import onnx
from torch import nn

from vision_nodes.export.bias_correction import correct_biases, refit_linear
from vision_nodes.export.exclusion import back_to_float, costs, quantized_layers
from vision_nodes.export.onnx import export_onnx
from vision_nodes.export.onnx_file import onnx_session
from vision_nodes.export.quantize import Recipe, early_depthwise, quantize


class Regressor(nn.Module):
    """Depthwise layers with channels of very different size, a global mean, two fully connected layers."""

    output_names = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.depthwise = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1, groups=16) for _ in range(3))
        self.pointwise = nn.ModuleList(nn.Conv2d(16, 16, 1) for _ in range(3))
        self.head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))
        with torch.no_grad():
            for layer in self.depthwise:
                layer.weight *= torch.logspace(-1.5, 1.0, 16)[:, None, None, None]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        """(B, H, W, 3) uint8 -> (B, 1)."""
        x = torch.relu(self.stem(image.float().permute(0, 3, 1, 2) / 255))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise):
            x = torch.relu(pointwise(torch.relu(depthwise(x))))
        return (self.head(x.mean(dim=(2, 3))),)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("onnx") / "regressor.onnx"
    export_onnx(Regressor().eval(), Regressor.output_names, (64, 48), path)
    return path


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 6, 8, 3)).astype(np.uint8)
    return [np.kron(image, np.ones((8, 8, 1), np.uint8)) for image in coarse]


def answers(path: Path, pictures: list[np.ndarray]) -> np.ndarray:
    session = onnx_session(path)
    return np.array([session.run(None, {"image": image[None]})[0][0, 0] for image in pictures])


def test_corrected_biases_bring_the_mean_back(
    source: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    target = tmp_path / "int8.onnx"
    quantize(source, target, pictures[:20], Recipe())
    truth, before = answers(source, pictures[20:]), answers(target, pictures[20:])
    correct_biases(source, target, pictures[:16])
    after = answers(target, pictures[20:])
    assert abs(before - truth).mean() > 1e-6
    assert abs((after - truth).mean()) < 0.5 * abs((before - truth).mean()) + 1e-7


def test_refitted_layers_are_closer_on_other_pictures(
    source: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    target = tmp_path / "int8.onnx"
    quantize(source, target, pictures[:20], Recipe())
    truth, before = answers(source, pictures[40:]), answers(target, pictures[40:])
    names = refit_linear(source, target, pictures[:40])
    after = answers(target, pictures[40:])
    assert len(names) == 2
    assert abs(after - truth).mean() < 0.8 * abs(before - truth).mean()


def test_corrected_recipe_does_both_and_writes_a_valid_file(
    source: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    plain, corrected = tmp_path / "plain.onnx", tmp_path / "corrected.onnx"
    early = early_depthwise(source)
    quantize(source, plain, pictures[:40], Recipe())
    quantize(source, corrected, pictures[:40], Recipe("minmax", early, corrected=True))
    truth = answers(source, pictures[40:])
    errors = [abs(answers(path, pictures[40:]) - truth).mean() for path in (plain, corrected)]
    assert errors[1] < errors[0]
    assert set(early).isdisjoint(quantized_layers(onnx.load(corrected)))


def test_early_layers_are_the_stem_and_depthwise_ones(source: Path) -> None:
    groups = {
        node.name: next(a.i for a in node.attribute if a.name == "group")
        for node in onnx.load(source).graph.node
        if node.op_type == "Conv"
    }
    early = early_depthwise(source)
    assert [groups[name] for name in early] == [1, 16, 16, 16]


def test_everything_back_in_float_leaves_only_the_rounding_of_weights(
    source: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    target, mixed = tmp_path / "int8.onnx", tmp_path / "float.onnx"
    quantize(source, target, pictures[:20], Recipe())
    model = onnx.load(target)
    plain = back_to_float(model, quantized_layers(model))
    onnx.save(plain, mixed)
    assert not [node for node in plain.graph.node if "Quantize" in node.op_type]
    truth = answers(source, pictures[:10])
    assert abs(answers(mixed, pictures[:10]) - truth).max() < 0.02 * np.ptp(truth) + 1e-3
    onnx.checker.check_model(plain, full_check=True)


def test_costs_find_the_group_that_hurts(source: Path, pictures: list[np.ndarray], tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    quantize(source, target, pictures[:20], Recipe())
    truth = answers(source, pictures[20:30])
    names = quantized_layers(onnx.load(target))
    found = costs(
        target,
        {"all": names, "none": []},
        lambda path: -float(abs(answers(path, pictures[20:30]) - truth).mean()),
    )
    assert found[0][0] == "all" and found[0][1] > 0
    assert dict(found)["none"] == pytest.approx(0.0)
