"""Camera messages -> frames: decode, rectify and scale once, colour order last."""

from __future__ import annotations

import logging
import time
from typing import Any

from vision_nodes.camera.model import CameraModel
from vision_nodes.camera.rectify import Rectifier, working_size_wh
from vision_nodes.messages.from_ros import (
    EncodedImage,
    Pixels,
    camera_info_key,
    camera_model_from_ros,
    encoded_image_from_ros,
    pixels_from_ros,
    stamp_ns,
)
from vision_nodes.preprocess.frame import Frame
from vision_nodes.preprocess.settings import PreprocessSettings
from vision_nodes.preprocess.stamps import StampMonitor

__all__ = ["PreprocessSettings", "Preprocessor"]

_log = logging.getLogger(__name__)


class Preprocessor:
    """Turns each camera message with its camera_info into one `Frame`.

    Rectification maps are cached by the content of camera_info and the image size, and rebuilt when
    either changes in mid-stream. Without camera_info, or with K = 0, frames carry no camera.

    Attributes:
        run: number of restarts of the stream (bag loops) seen so far.
    """

    def __init__(self, settings: PreprocessSettings | None = None) -> None:
        self.settings = settings or PreprocessSettings()
        self._stamps = StampMonitor(int(self.settings.restart_jump_s * 1e9))
        self._key: tuple[object, ...] | None = None
        self._rectifier: Rectifier | None = None
        self._said_uncalibrated = False

    @property
    def run(self) -> int:
        """Number of restarts of the stream so far."""
        return self._stamps.run

    def process(
        self, image_msg: Any, camera_info_msg: Any | None = None, received_ns: int | None = None
    ) -> Frame:
        """One frame from a sensor_msgs/Image or CompressedImage.

        Args:
            image_msg: the image.
            camera_info_msg: its camera_info, None when there is none.
            received_ns: clock when the image arrived, default now.

        Raises:
            FrameError: the message cannot be decoded, or its stamp goes backwards.
            CalibrationError: the camera_info is broken or belongs to another image size.
        """
        received_ns = time.time_ns() if received_ns is None else received_ns
        source = self._read(image_msg)
        rectifier = self._rectifier_for(source.size_wh, camera_info_msg)
        pixels = source.decode(rectifier.halvings) if isinstance(source, EncodedImage) else source
        stamp = stamp_ns(image_msg.header)
        run = self._stamps.check(stamp)
        small = Pixels(rectifier.apply(pixels.array, pixels.halved), pixels.order)
        return Frame(
            stamp_ns=stamp,
            frame_id=str(image_msg.header.frame_id),
            image=small.to_rgb(),
            source_wh=source.size_wh,
            camera=rectifier.camera,
            source_camera=rectifier.source,
            received_ns=received_ns,
            run=run,
        )

    def _read(self, msg: Any) -> Pixels | EncodedImage:
        if hasattr(msg, "encoding"):
            return pixels_from_ros(msg, self.settings.max_pixels)
        return encoded_image_from_ros(msg, self.settings.max_pixels)

    def _rectifier_for(self, source_wh: tuple[int, int], info: Any | None) -> Rectifier:
        key = (source_wh, None if info is None else camera_info_key(info))
        if self._rectifier is None or key != self._key:
            camera = None if info is None else camera_model_from_ros(info, source_wh)
            rectifier = Rectifier(
                self._as_seen(camera), source_wh, working_size_wh(source_wh, self.settings.max_width)
            )
            self._report(rectifier, info)
            self._key, self._rectifier = key, rectifier
        return self._rectifier

    def _as_seen(self, camera: CameraModel | None) -> CameraModel | None:
        """The camera of an image that is already rectified follows P, without distortion."""
        if camera is None or self.settings.rectify:
            return camera
        return CameraModel(camera.size_wh, camera.K if camera.P is None else camera.P)

    def _report(self, rectifier: Rectifier, info: Any | None) -> None:
        source, target = rectifier.source_wh, rectifier.target_wh
        if self._rectifier is not None:
            _log.warning(
                "camera changed in mid-stream: was %dx%d, now %dx%d -> %dx%d, %s",
                *self._rectifier.source_wh,
                *source,
                *target,
                "uncalibrated" if rectifier.camera is None else "calibrated",
            )
        elif rectifier.camera is not None:
            _log.info("camera %dx%d -> %dx%d, calibrated", *source, *target)
        if rectifier.camera is None and info is not None and not self._said_uncalibrated:
            self._said_uncalibrated = True
            _log.warning("camera_info has K = 0: running uncalibrated, so nothing will be metric")
