"""Results back to the pixels of the camera's own image."""

from __future__ import annotations

from vision_nodes.camera.rectify import boxes_to_raw
from vision_nodes.datatypes import Detections
from vision_nodes.preprocess.frame import Frame


def boxes_to_source(detections: Detections, frame: Frame, *, raw: bool) -> Detections:
    """Boxes in frame pixels -> boxes in source pixels.

    Args:
        detections: boxes in the pixels of `frame.image`.
        frame: the frame they were found in.
        raw: True for the distorted pixels of `image_raw`, False for the rectified source image.
    """
    rectified = frame.source_map.boxes_to_source(detections.boxes_xyxy)
    source = frame.source_camera
    if raw and source is not None and not source.is_rectified:
        return detections.with_boxes(boxes_to_raw(source, rectified))
    return detections.with_boxes(rectified)
