"""Pairing images with camera_info by stamp (message_filters without the dependency)."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from typing import Any

from vision_nodes.messages.from_ros import image_size_wh, stamp_ns
from vision_nodes.preprocess.settings import PairingSettings

_log = logging.getLogger(__name__)

Pair = tuple[Any, Any, int]  # image message, camera_info message or None, clock at arrival in ns

_INFOS_KEPT = 64
_PENDING_BYTES = 128_000_000  # images that wait for the first camera_info may hold this much


class StampPairer:
    """Gives each image its camera_info, in the order of the images.

    1. The camera_info of the same stamp, whichever of the two arrives first.
    2. An image waits for it while at most `wait_frames` images are pending. After that the newest
       camera_info of the same size is used (if not older than `max_age_s`), which serves drivers that
       publish it once, latched, or at their own rate; from then on images no longer wait, until
       a camera_info with the stamp of an image is seen again.
    3. When `timeout_s` of images (by their stamps, so that a replay decides like a live run), or
       128 MB of them, came without a single camera_info, they go on without: uncalibrated. A
       camera_info that arrives later is used from then on.

    Not thread-safe: call from the thread that receives the messages.
    """

    def __init__(self, settings: PairingSettings | None = None) -> None:
        self.settings = settings or PairingSettings()
        self._pending: deque[tuple[int, Any, int]] = deque()  # stamp, image, received
        self._infos: OrderedDict[int, Any] = OrderedDict()  # by stamp, oldest first
        self._latest: dict[tuple[int, int], Any] = {}  # by image size
        self._newest: Any | None = None
        self._recent_stamps: deque[int] = deque(maxlen=_INFOS_KEPT)
        self._waits = True  # False once camera_info is known to come without the images' stamps
        self._uncalibrated = False
        self._said_too_old = False

    def __len__(self) -> int:
        """Images waiting."""
        return len(self._pending)

    def add_image(self, msg: Any, received_ns: int) -> list[Pair]:
        """Pairs that are complete now."""
        stamp = stamp_ns(msg.header)
        if self._pending and stamp < self._pending[-1][0]:  # the stream restarted: nothing older follows
            ready = self.flush()
        else:
            ready = []
        self._pending.append((stamp, msg, received_ns))
        self._recent_stamps.append(stamp)
        return ready + self._release()

    def add_camera_info(self, msg: Any, received_ns: int) -> list[Pair]:
        """Pairs that are complete now."""
        stamp = stamp_ns(msg.header)
        if not self._waits and stamp in self._recent_stamps:
            self._waits = True
        if self._uncalibrated:
            _log.warning("camera_info arrived: calibrated from now on")
            self._uncalibrated = False
        self._infos[stamp] = self._newest = msg
        self._latest[image_size_wh(msg)] = msg
        while len(self._infos) > _INFOS_KEPT:
            self._infos.popitem(last=False)
        while len(self._latest) > 4:
            del self._latest[next(iter(self._latest))]
        return self._release()

    def poll(self, now_ns: int) -> list[Pair]:
        """Release images that arrived more than `timeout_s` ago; for a timer, when images are rare."""
        deadline = now_ns - int(self.settings.timeout_s * 1e9)
        ready: list[Pair] = []
        while self._pending and self._pending[0][2] <= deadline:
            self._note_fallback()
            ready.append(self._take(self._fallback(*self._pending[0][:2])))
        return ready

    def flush(self) -> list[Pair]:
        """Everything that waits, with what there is; for the end of a stream."""
        ready: list[Pair] = []
        while self._pending:
            stamp, image, _ = self._pending[0]
            info = self._infos.get(stamp)
            ready.append(self._take(self._fallback(stamp, image) if info is None else info))
        return ready

    def _release(self) -> list[Pair]:
        ready: list[Pair] = []
        while self._pending:
            stamp, image, _ = self._pending[0]
            info = self._infos.get(stamp)
            if info is None:
                if self._must_wait():
                    break
                self._note_fallback()
                info = self._fallback(stamp, image)
            ready.append(self._take(info))
        return ready

    def _must_wait(self) -> bool:
        if self._newest is None:
            span_ns = self._pending[-1][0] - self._pending[0][0]
            held = sum(len(image.data) for _, image, _ in self._pending)
            return not (
                self._uncalibrated or span_ns >= self.settings.timeout_s * 1e9 or held > _PENDING_BYTES
            )
        return self._waits and len(self._pending) <= self.settings.wait_frames

    def _note_fallback(self) -> None:
        if self._newest is None and not self._uncalibrated:
            self._uncalibrated = True
            _log.warning(
                "no camera_info within %.1f s: running uncalibrated, so nothing will be metric; "
                "remap camera_info or publish one",
                self.settings.timeout_s,
            )
        elif self._newest is not None and self._waits:
            self._waits = False
            _log.warning("camera_info does not carry the images' stamps: using the newest of the same size")

    def _fallback(self, stamp: int, image: Any) -> Any | None:
        """Newest camera_info of the image's size; of a size that does not fit rather than none, so
        that preprocessing can name the mismatch."""
        if hasattr(image, "width"):
            info = self._latest.get((int(image.width), int(image.height)), self._newest)
        else:
            info = self._newest  # a compressed image tells its size only to the decoder
        if info is None or not self.settings.max_age_s:
            return info
        age_ns = stamp - stamp_ns(info.header)
        if age_ns <= self.settings.max_age_s * 1e9:
            return info
        if not self._said_too_old:
            self._said_too_old = True
            _log.warning(
                "camera_info is %.1f s old, max_age_s is %.1f: these images count as uncalibrated",
                age_ns / 1e9,
                self.settings.max_age_s,
            )
        return None

    def _take(self, info: Any | None) -> Pair:
        stamp, image, received_ns = self._pending.popleft()
        # Older camera_info can match nothing any more: the images come in order.
        while self._infos and next(iter(self._infos)) < stamp:
            self._infos.popitem(last=False)
        return image, info, received_ns
