"""QAT on a small network: it regains what INT8 costs, and its file computes what torch fake-quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
onnx = pytest.importorskip("onnx")

from torch import nn
from torch.nn import functional

from vision_nodes.engine.lint import lint_onnx
from vision_nodes.errors import ModelError
from vision_nodes.export.onnx_file import onnx_session
from vision_nodes.export.qat import QatTask, export_quantized, train_quantized
from vision_nodes.networks.fake_quant import (
    InputQuantizer,
    fold_batch_norms,
    quantized_layers,
    quantized_weight,
    without_quantizers,
)
from vision_nodes.training.config import TrainingConfig

SIZE_WH = (32, 24)


def pictures(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (count, 6, 8, 3)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, 4, 1), 4, 2)


class Small(nn.Module):
    """Two convolutions with batch norm; one hidden channel is a thousand times as large as the others."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU()
        )
        self.left, self.right = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 4, 1)

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        hidden = self.body(tensor / 127.5 - 1)
        return self.left(hidden) + self.right(hidden)


class Graph(nn.Module):
    output_names = ("depth",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image.float().permute(0, 3, 1, 2)).mean(1)


class CopyTask:
    """Learn to say what the float network `teacher` says."""

    metric_name, higher_is_better = "error", False

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher

    def train_dataset(self) -> list[dict[str, torch.Tensor]]:
        return [{"image": torch.from_numpy(image)} for image in pictures(64, 0)]

    def val_dataset(self) -> list[dict[str, torch.Tensor]]:
        return [{"image": torch.from_numpy(image)} for image in pictures(16, 1)]

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {"image": torch.stack([sample["image"] for sample in samples])}

    def loss(self, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensor = batch["image"].permute(0, 3, 1, 2).float()
        with torch.no_grad():
            wanted = self.teacher(tensor)
        return {"total": functional.mse_loss(network(tensor), wanted)}

    @torch.no_grad()
    def evaluate(self, network: nn.Module, dataset: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        return {"error": float(self.loss(network, self.collate(dataset))["total"])}

    def export_module(self, network: nn.Module) -> nn.Module:
        return Graph(network)


@pytest.fixture
def trained() -> Small:
    """A float network that INT8 hurts: one loud channel that nothing listens to takes the whole range."""
    torch.manual_seed(0)
    network = Small().eval()
    with torch.no_grad():
        network.body[3].weight[0] *= 300
        network.left.weight[:, 0] *= 1e-3
        network.right.weight[:, 0] *= 1e-3
        network.body[1].running_mean.normal_()
        network.body[1].running_var.uniform_(0.5, 2)
    return network


def config(**changes: object) -> TrainingConfig:
    base = {"epochs": 8, "batch": 8, "learning_rate": 0.5, "warmup_epochs": 0.0, "input_wh": SIZE_WH}
    return TrainingConfig("depth", **{**base, "accelerator": "cpu", **changes})


def test_qat_regains_accuracy_and_the_file_is_the_network(trained: Small, tmp_path: Path) -> None:
    task, images = CopyTask(trained), list(pictures(16, 2))
    before = task.evaluate(QatTask(task, trained, images).network().eval(), task.val_dataset())["error"]
    network, _ = train_quantized(task, trained, images, config(), tmp_path)
    after = task.evaluate(network, task.val_dataset())["error"]
    assert after < 0.5 * before
    found = export_quantized(task, network, images, config(), tmp_path / "small_int8.onnx")
    step = max(float(layer.quantizer.scale) for _, layer in quantized_layers(network))
    assert found["depth"] < 0.05 * step  # roundings of ties apart, the same numbers
    model = (tmp_path / "small_int8.onnx").read_bytes()
    assert not [finding for finding in lint_onnx(model) if finding.severity != "warning"]
    scales = {round(float(layer.quantizer.scale), 7) for _, layer in quantized_layers(network)}
    stored = {
        round(float(onnx.numpy_helper.to_array(t)), 7)
        for t in onnx.load(tmp_path / "small_int8.onnx").graph.initializer
        if t.name.endswith("_scale") and onnx.numpy_helper.to_array(t).ndim == 0
    }
    assert len(scales) == 3 and scales <= stored  # left and right read one tensor
    answer = onnx_session(tmp_path / "small_int8.onnx").run(None, {"image": images[0][None]})[0]
    assert answer.shape == (1, 24, 32)


def test_folding_and_unwrapping_change_nothing(trained: Small) -> None:
    tensor = torch.from_numpy(pictures(2, 3)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        want = trained(tensor)
        task = QatTask(CopyTask(trained), trained, list(pictures(8, 2)))
        network = task.network().eval()
        assert not torch.allclose(network(tensor), want, atol=1e-3)  # it is quantized
        assert torch.allclose(without_quantizers(network)(tensor), want, atol=1e-3)
        assert len(list(quantized_layers(network))) == 4


def test_input_quantizer_learns_its_range() -> None:
    quantizer = InputQuantizer(100.0)
    x = torch.linspace(-1, 1, 101)
    before = float((quantizer(x) - x).detach().abs().max())
    optimiser = torch.optim.Adam(quantizer.parameters(), 0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (quantizer(x) - x).square().mean().backward()
        optimiser.step()
    assert float((quantizer(x) - x).detach().abs().max()) < 0.1 * before


def test_weights_are_rounded_per_channel() -> None:
    weight = torch.tensor([[0.5, -127.0], [0.004, 1.0]])
    np.testing.assert_allclose(quantized_weight(weight), [[0.0, -127.0], [1 / 127, 1.0]], atol=1e-6)


def test_a_batch_norm_that_cannot_be_folded_is_refused() -> None:
    with pytest.raises(ModelError, match="batch norm right behind"):
        fold_batch_norms(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)))
