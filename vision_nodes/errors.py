"""One error family. Every message says what was expected, what came, and what to do about it."""

from __future__ import annotations


class VisionNodesError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        expected: what a correct input looks like.
        received: what came instead.
        remedy: what the user can do.
    """

    def __init__(self, expected: str, received: str = "", remedy: str = "") -> None:
        self.expected, self.received, self.remedy = expected, received, remedy
        parts = [f"expected {expected}" if received or remedy else expected]
        if received:
            parts.append(f"received {received}")
        if remedy:
            parts.append(f"remedy: {remedy}")
        super().__init__("; ".join(parts))


class FrameError(VisionNodesError):
    """One camera message or frame cannot be used; it is dropped and counted, the node goes on."""


class CalibrationError(VisionNodesError):
    """A camera_info or an extrinsic is missing, unknown or not finite."""


class ModelError(VisionNodesError):
    """A model file or its manifest is missing, altered, or breaks the model contract."""


class EngineError(VisionNodesError):
    """An inference backend cannot load, build or run a model."""


class BagError(VisionNodesError):
    """A bag or a data folder cannot be read or lacks what was asked for."""


class MapError(VisionNodesError):
    """A place map cannot be read, written, or belongs to another descriptor model."""


class ConfigError(VisionNodesError):
    """A setting is out of range or unknown."""


class TrainingError(VisionNodesError):
    """Training cannot start or go on: data set, checkpoint, loss or memory."""
