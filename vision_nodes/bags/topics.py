"""Which topics of a bag are the camera."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nodes.errors import BagError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
# Outputs of this or another graph, and truth: pictures, but no camera.
NOT_A_CAMERA = ("ground_truth", "depth", "segmentation", "preprocessed", "overlay", "mask", "compressedDepth")


@dataclass(frozen=True)
class CameraTopics:
    """Image topic and its camera_info topic ('' = there is none)."""

    image: str
    camera_info: str

    def __contains__(self, topic: object) -> bool:
        return topic != "" and topic in (self.image, self.camera_info)


def find_camera_topics(topics: dict[str, str], image: str = "") -> CameraTopics:
    """Choose the camera among a bag's topics.

    Args:
        topics: topic -> message type.
        image: the image topic asked for; '' = the only camera there is.

    Raises:
        BagError: the topic is not there, no image at all, or several cameras and none chosen.
    """
    images = {name for name, kind in topics.items() if kind in IMAGE_TYPES}
    cameras = sorted(name for name in images if not any(part in name for part in NOT_A_CAMERA))
    if image:
        wanted = next((name for name in (image, "/" + image) if name in images), None)
        if wanted is None:
            raise BagError(
                f"images on {image}", f"image topics: {_listed(images)}", "choose one with --topic"
            )
        return CameraTopics(wanted, _info_of(wanted, topics))
    groups = {_namespace(name) for name in cameras}
    if not cameras:
        raise BagError(
            "an image topic", f"topics: {_listed(topics)}", "name one with --topic, or record the camera"
        )
    if len(groups) > 1:
        raise BagError("one camera", f"several: {_listed(cameras)}", "choose one with --topic")
    best = min(cameras, key=lambda name: (not name.endswith("image_raw"), name.endswith("compressed"), name))
    return CameraTopics(best, _info_of(best, topics))


def _namespace(image: str) -> str:
    """Namespace of the camera: ``/cam/image_raw/compressed`` and ``/cam/image_raw`` belong to ``/cam``."""
    parts = image.removesuffix("/compressed").split("/")
    return "/".join(parts[:-1])


def _info_of(image: str, topics: dict[str, str]) -> str:
    infos = [name for name, kind in topics.items() if kind == CAMERA_INFO_TYPE]
    sibling = f"{_namespace(image)}/camera_info"
    return sibling if sibling in infos else ""


def _listed(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]
