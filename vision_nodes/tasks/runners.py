"""Engine + decoder = one task on a frame; what nodes and evaluation call."""

from __future__ import annotations

import numpy as np

from vision_nodes.camera.resize_map import Fit, ResizeMap
from vision_nodes.datatypes import DepthMap, Detections, Features, Segmentation
from vision_nodes.engine.base import Engine
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.depth import DepthDecoder
from vision_nodes.tasks.descriptor import DescriptorDecoder
from vision_nodes.tasks.detection import DetectionDecoder
from vision_nodes.tasks.features import FeatureDecoder
from vision_nodes.tasks.segmentation import SegmentationDecoder


def infer(engine: Engine, frame: Frame) -> tuple[dict[str, np.ndarray], ResizeMap]:
    """Run the engine on the frame at its input size; outputs, and frame px -> network px."""
    height, width = engine.input_hw
    fit = Fit(engine.manifest.input.fit)
    return engine.infer(frame.resized((width, height), fit)), frame.map_to((width, height), fit)


class Detector:
    """Frame -> detections in the frame's pixels."""

    def __init__(self, engine: Engine, score_threshold: float, nms_iou: float) -> None:
        self._engine = engine
        height, width = engine.input_hw
        self._decoder = DetectionDecoder((width, height), score_threshold, nms_iou)

    def detect(self, frame: Frame) -> Detections:
        """Boxes in frame pixels, clipped to the frame, best score first."""
        outputs, to_network = infer(self._engine, frame)
        found = self._decoder.decode(outputs)
        return found.with_boxes(clip_boxes(to_network.boxes_to_source(found.boxes_xyxy), frame.size_wh))


class Segmenter:
    """Frame -> class ids at network resolution."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._classes = len(engine.manifest.class_names)

    def segment(self, frame: Frame, min_confidence: float = 0.0) -> Segmentation:
        """Class id per pixel; those less sure than `min_confidence` are 255."""
        outputs, _ = infer(self._engine, frame)
        return SegmentationDecoder(self._classes, min_confidence).decode(outputs)


class DepthEstimator:
    """Frame -> depth at network resolution, metric when the camera is calibrated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._decoder = DepthDecoder.from_manifest(engine.manifest)

    def estimate(self, frame: Frame, min_confidence: float = 0.0) -> DepthMap:
        """Depth of the whole frame; pixels less sure than `min_confidence` are NaN."""
        outputs, _ = infer(self._engine, frame)
        height, width = self._engine.input_hw
        return self._decoder.decode(outputs, frame.scaled_camera((width, height)), min_confidence)


class DescriptorExtractor:
    """Frame -> unit-norm global descriptor."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._decoder = DescriptorDecoder.from_manifest(engine.manifest)
        # A descriptor of other weights lives in another space: maps are bound to this identity.
        self.model = f"{engine.manifest.name}:{engine.manifest.files['fp32'].sha256[:16]}"

    def __call__(self, frame: Frame) -> np.ndarray:
        """(D,) float32."""
        outputs, _ = infer(self._engine, frame)
        return self._decoder.decode(outputs)


class FeatureExtractor:
    """Frame -> local features in the frame's pixels."""

    def __init__(self, engine: Engine, min_score: float = 0.0) -> None:
        self._engine = engine
        self._decoder = FeatureDecoder(min_score)

    def extract(self, frame: Frame) -> Features:
        """Features, best first; at most as many as the model gives."""
        outputs, to_network = infer(self._engine, frame)
        return self._decoder.decode(outputs, to_network)


def clip_boxes(boxes_xyxy: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """(N, 4) boxes cut at the image's edges, half a pixel outside the outer pixel centres."""
    high = np.array([size_wh[0], size_wh[1]] * 2, np.float32) - 0.5
    return np.asarray(np.clip(boxes_xyxy, -0.5, high), np.float32)
