"""The registry: decoder name -> task, usual preparation of the picture, and the nodes that decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vision_nodes.errors import ConfigError
from vision_nodes.export.foreign import dense, detection, detection_transformers, keypoints
from vision_nodes.export.foreign.builder import GraphBuilder
from vision_nodes.export.foreign.reference import RawOutput
from vision_nodes.export.foreign.request import Defaults, Request
from vision_nodes.export.foreign.wrapped import Wrapped

Decode = Callable[[GraphBuilder, list[RawOutput], Request, tuple[int, int]], Wrapped]


@dataclass(frozen=True)
class Decoder:
    """One family of heads. `text`: one line for ``--help`` and the documentation."""

    task: str
    decode: Decode
    text: str
    defaults: Defaults = field(default_factory=Defaults)


_YOLO = Defaults("unit", "rgb", "letterbox", {"score_threshold": 0.25, "nms_iou": 0.6})
_END_TO_END = Defaults("unit", "rgb", "letterbox", {"score_threshold": 0.25, "nms_iou": 0.9})
_DETR = Defaults("unit", "rgb", "stretch", {"score_threshold": 0.4, "nms_iou": 0.9})
_YOLOX = Defaults("pixel", "bgr", "letterbox", {"score_threshold": 0.25, "nms_iou": 0.6})
_NANODET = Defaults("imagenet", "bgr", "stretch", {"score_threshold": 0.35, "nms_iou": 0.6})

DECODERS: dict[str, Decoder] = {
    "yolov8": Decoder("detection", detection.yolov8, "(1, 4+C, A) or (1, A, 4+C): YOLOv8, v9, 11, 12", _YOLO),
    "yolov5": Decoder("detection", detection.yolov5, "(1, A, 5+C) with objectness: YOLOv5, v6, v7", _YOLO),
    "yolox": Decoder("detection", detection.yolox, "(1, A, 5+C) offsets to grid cells: YOLOX", _YOLOX),
    "end2end": Decoder(
        "detection", detection.end2end, "(1, N, 6) xyxy, score, class: YOLOv10, 26", _END_TO_END
    ),
    "rtdetr": Decoder(
        "detection",
        detection_transformers.rtdetr,
        "logits + boxes, labels + boxes + scores, or (1, Q, 4+C): RT-DETR, D-FINE, DEIM",
        _DETR,
    ),
    "detr": Decoder(
        "detection",
        detection_transformers.detr,
        "logits with a last 'no object' class + boxes: DETR",
        Defaults("imagenet", "rgb", "stretch", {"score_threshold": 0.5, "nms_iou": 0.9}),
    ),
    "nanodet": Decoder("detection", detection.nanodet, "(1, A, C+4*bins): NanoDet, NanoDet-Plus", _NANODET),
    "logits": Decoder(
        "segmentation", dense.class_scores, "(1, C, h, w) class scores: SegFormer, DeepLab, U-Net"
    ),
    "mask": Decoder("segmentation", dense.label_map, "(1, h, w) class ids: arg max inside the network"),
    "metric": Decoder(
        "depth", dense.metric_depth, "metres (needs --fx-canonical): METER, Depth Anything metric"
    ),
    "inverse": Decoder(
        "depth", dense.inverse_depth, "relative inverse depth, no metres: MiDaS, Depth Anything"
    ),
    "descriptor": Decoder("place", dense.descriptor, "one vector per picture, any shape; L2 norm is added"),
    "gem": Decoder("place", dense.gem, "(1, C, h, w) feature map; GeM pooling and L2 norm are added"),
    "xfeat": Decoder("features", keypoints.xfeat, "XFeat's three maps", Defaults("unit")),
    "superpoint": Decoder(
        "features", keypoints.superpoint, "SuperPoint's two maps", Defaults("unit", "gray")
    ),
    "sparse": Decoder(
        "features",
        keypoints.sparse,
        "keypoints (1, N, 2), scores (1, N), descriptors (1, N, D)",
        Defaults("unit"),
    ),
}
ALIASES = {
    **dict.fromkeys(("yolov9", "yolov11", "yolo11", "yolov12", "yolo12"), "yolov8"),
    **dict.fromkeys(("yolov6", "yolov7"), "yolov5"),
    **dict.fromkeys(("yolov10", "yolo26", "yolov26"), "end2end"),
    **dict.fromkeys(("rtdetrv2", "dfine", "deim"), "rtdetr"),
    **dict.fromkeys(("nanodet_plus", "gfl"), "nanodet"),
    **dict.fromkeys(("segformer", "deeplab", "unet"), "logits"),
    **dict.fromkeys(("midas", "depth_anything"), "inverse"),
    **dict.fromkeys(("meter", "depth_anything_metric"), "metric"),
}


def find_decoder(name: str, task: str) -> tuple[str, Decoder]:
    """Canonical name and decoder, also by an alias.

    Raises:
        ConfigError: unknown, or of another task; the message lists those of the task.
    """
    canonical = ALIASES.get(name, name)
    fitting = [key for key, decoder in DECODERS.items() if decoder.task == task]
    if canonical not in fitting:
        raise ConfigError(
            f"a decoder for {task}: {', '.join(fitting)}",
            repr(name),
            "vision-nodes import --help describes them",
        )
    return canonical, DECODERS[canonical]


__all__ = ["ALIASES", "DECODERS", "Decoder", "find_decoder"]
