"""Camera intrinsics as a checked value."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vision_nodes.errors import CalibrationError

DISTORTION_LENGTHS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),  # 12 with thin prism, 14 with tilt: OpenCV's longer forms
    "equidistant": (4,),
}


@dataclass(frozen=True)
class CameraModel:
    """Pinhole intrinsics of an image of `size_wh`, with the lens distortion of that image.

    `K` is (3, 3) float64 in pixels. An empty `distortion` means rectified. An uncalibrated camera
    has no CameraModel at all (None), never a guessed one.
    """

    size_wh: tuple[int, int]
    K: np.ndarray
    distortion_model: str = "plumb_bob"
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    R: np.ndarray = field(default_factory=lambda: np.eye(3))  # rectification rotation
    P: np.ndarray | None = None  # (3, 3) intrinsics of the rectified image; None = K

    def __post_init__(self) -> None:
        if self.K.shape != (3, 3) or not np.isfinite(self.K).all() or min(self.K[0, 0], self.K[1, 1]) <= 0:
            raise CalibrationError(
                "a finite 3x3 K with positive focal lengths",
                np.array2string(np.asarray(self.K), precision=3).replace("\n", ""),
                "calibrate the camera, or publish K = 0 to run uncalibrated",
            )
        if self.distortion_model not in DISTORTION_LENGTHS:
            raise CalibrationError(
                f"a distortion model among {sorted(DISTORTION_LENGTHS)}",
                repr(self.distortion_model),
                "convert the calibration to one of these models",
            )
        n = len(self.distortion)
        if n and n not in DISTORTION_LENGTHS[self.distortion_model]:
            raise CalibrationError(
                f"{DISTORTION_LENGTHS[self.distortion_model]} coefficients for {self.distortion_model}",
                f"{n}",
                "check D in camera_info",
            )
        if not np.isfinite(self.distortion).all():
            raise CalibrationError("finite distortion coefficients", str(self.distortion), "check D")

    @property
    def is_rectified(self) -> bool:
        """True when the image follows the ideal pinhole with no distortion and no rotation.

        Four zeros make plumb_bob a pinhole but equidistant the ideal fisheye, r = f theta.
        """
        is_fisheye = self.distortion_model == "equidistant" and len(self.distortion) > 0
        return not is_fisheye and not np.any(self.distortion) and np.allclose(self.R, np.eye(3))

    @property
    def fx(self) -> float:
        """Horizontal focal length, px."""
        return float(self.K[0, 0])

    @property
    def fy(self) -> float:
        """Vertical focal length, px."""
        return float(self.K[1, 1])
