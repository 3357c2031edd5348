"""What a real camera adds: motion blur, exposure, vignetting, noise. All on request, all seeded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Effects:
    """Settings of one frame's imperfections; the defaults change nothing.

    `T_world_cam_end` is the pose at the end of the exposure (blur averages between both poses).
    """

    exposure: float = 1.0
    gamma: float = 1.0
    noise_sigma: float = 0.0  # grey levels, read noise
    shot_noise: float = 0.0  # grey levels at full white, grows with the square root of brightness
    vignetting: float = 0.0  # darkening of the corners, fraction
    T_world_cam_end: np.ndarray | None = None
    blur_samples: int = 5
    seed: int = 0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Effects:
        """What cheap cameras do, for training: exposure within a stop, gamma, noise, vignetting."""
        return cls(
            exposure=float(2 ** rng.uniform(-0.9, 0.7)),
            gamma=float(rng.uniform(0.8, 1.25)),
            noise_sigma=float(rng.uniform(0, 5)),
            shot_noise=float(rng.uniform(0, 6)),
            vignetting=float(rng.uniform(0, 0.35)),
            seed=int(rng.integers(2**31)),
        )


def exposure_poses(T_world_cam: np.ndarray, effects: Effects | None) -> list[np.ndarray]:
    """Poses over the exposure; the first is the frame's own, whose truth holds."""
    if effects is None or effects.T_world_cam_end is None or effects.blur_samples < 2:
        return [T_world_cam]
    shares = np.linspace(0.0, 1.0, effects.blur_samples)
    return [between(T_world_cam, effects.T_world_cam_end, share) for share in shares]


def between(T_world_a: np.ndarray, T_world_b: np.ndarray, share: float) -> np.ndarray:
    """(4, 4) pose on the way from a (share 0) to b (share 1): constant turn, straight path in a's frame."""
    T_a_b = np.linalg.inv(T_world_a) @ T_world_b
    turn, _ = cv2.Rodrigues(T_a_b[:3, :3])
    step = np.eye(4)
    step[:3, :3] = cv2.Rodrigues(turn * share)[0]
    step[:3, 3] = T_a_b[:3, 3] * share
    return T_world_a @ step


def apply_effects(image: np.ndarray, effects: Effects | None) -> np.ndarray:
    """(H, W, 3) uint8 in, the same with exposure, gamma, vignetting and noise."""
    if effects is None:
        return image
    plain = (effects.exposure, effects.gamma, effects.vignetting) == (1.0, 1.0, 0.0)
    if plain and effects.noise_sigma == 0 and effects.shot_noise == 0:
        return image
    linear = image.astype(np.float32) / 255
    linear = effects.exposure * linear**effects.gamma
    if effects.vignetting:
        h, w = image.shape[:2]
        y, x = np.mgrid[:h, :w].astype(np.float32)
        radius2 = ((x - w / 2) ** 2 + (y - h / 2) ** 2) / (w * w + h * h) * 4
        linear *= (1 - effects.vignetting * radius2)[..., None]
    if effects.noise_sigma or effects.shot_noise:
        rng = np.random.default_rng(effects.seed)
        variance = effects.noise_sigma**2 + effects.shot_noise**2 * np.clip(linear, 0, 1)
        linear += rng.standard_normal(linear.shape, dtype=np.float32) * np.sqrt(variance) / 255
    return np.clip(np.rint(linear * 255), 0, 255).astype(np.uint8)
