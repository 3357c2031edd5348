"""sensor_msgs/CompressedImage (JPEG, PNG) -> pixels, with the size checked before decoding.

A decoder may fill the missing part of a JPEG with grey and say nothing, so completeness is checked on the
file's own structure first: JPEG markers (ITU-T T.81 Annex B) up to the end-of-image marker, PNG chunks
(ISO/IEC 15948) with their CRCs up to IEND. A JPEG that lost bytes in the middle, as webcams deliver
them, shows in the grey that the decoder invents at its end. Changed bytes that keep the length of a
JPEG's entropy-coded data cannot be told from a picture.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from vision_nodes.errors import FrameError
from vision_nodes.messages.from_ros.header import bytes_view
from vision_nodes.messages.from_ros.image import MAX_PIXELS, check_size
from vision_nodes.messages.from_ros.pixels import ChannelOrder, Pixels

_JPEG_SIGNATURE = b"\xff\xd8"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length field
_EOI, _SOS = 0xD9, 0xDA
_READ_HALVED = (
    cv2.IMREAD_COLOR,
    cv2.IMREAD_REDUCED_COLOR_2,
    cv2.IMREAD_REDUCED_COLOR_4,
    cv2.IMREAD_REDUCED_COLOR_8,
)
_INVENTED_GREY = 128  # all coefficients zero: what libjpeg puts where the data ran out


@dataclass(frozen=True)
class EncodedImage:
    """A complete JPEG or PNG of acceptable size, not decoded yet."""

    data: np.ndarray  # (N,) uint8, a view of the message
    format: str
    size_wh: tuple[int, int]

    def decode(self, halvings: int = 0) -> Pixels:
        """Pixels, halved in the decoder as often as asked and possible (JPEG, at most three times).

        A JPEG decoder halves by leaving out the high frequencies, which takes less time than decoding
        them: 1920x1080 in 5.5 ms instead of 13. The EXIF orientation is ignored: K would not follow.

        Raises:
            FrameError: the data are corrupt.
        """
        halved = min(halvings, 3) if self._is_jpeg else 0
        flags = _READ_HALVED[halved] | cv2.IMREAD_IGNORE_ORIENTATION
        array = decode(self.data, flags, self.format)
        want_wh = tuple(-(-length >> halved) for length in self.size_wh)
        if (array.shape[1], array.shape[0]) != want_wh:
            raise _corrupt(self.format, f"{array.shape[1]}x{array.shape[0]} px, header says {want_wh}")
        if self._is_jpeg and (array[-1, -1] == _INVENTED_GREY).all():
            _check_complete(self.data, array, flags)
        return Pixels(array, channel_order(self.format), halved)

    @property
    def _is_jpeg(self) -> bool:
        return self.data[:2].tobytes() == _JPEG_SIGNATURE


def encoded_image_from_ros(msg: Any, max_pixels: int = MAX_PIXELS) -> EncodedImage:
    """The file in a sensor_msgs/CompressedImage, checked for completeness and size, not decoded.

    Raises:
        FrameError: neither JPEG nor PNG, cut off, or more than `max_pixels`.
    """
    data = bytes_view(msg.data)
    return EncodedImage(data, str(msg.format), check_size(compressed_size_wh(data), max_pixels))


def compressed_image_from_ros(msg: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a sensor_msgs/CompressedImage.

    Raises:
        FrameError: neither JPEG nor PNG, cut off, corrupt, or more than `max_pixels`.
    """
    return encoded_image_from_ros(msg, max_pixels).decode().to_rgb()


def compressed_size_wh(data: np.ndarray) -> tuple[int, int]:
    """Width and height from the header of a complete JPEG or PNG, nothing decoded.

    Raises:
        FrameError: another format, cut off, or a broken structure.
    """
    view = data.data
    if bytes(view[:2]) == _JPEG_SIGNATURE:
        return _jpeg_size_wh(bytes(view))
    if bytes(view[:8]) == _PNG_SIGNATURE:
        return _png_size_wh(view)
    raise FrameError(
        "JPEG or PNG data",
        f"{len(data)} bytes starting with {bytes(view[:8])!r}",
        "set the image_transport plugin to jpeg or png",
    )


def channel_order(format_string: str) -> ChannelOrder:
    """Order of what `cv2.imdecode` returns, by the rule of compressed_image_transport.

    Its format is ``<source encoding>; <codec> compressed <stored order>``. A colour source stored as
    anything but bgr went through the encoder unswapped, so the decoded channels are already RGB.
    """
    source, separator, codec = format_string.partition(";")
    is_colour = source.strip().lower()[:3] in ("rgb", "bgr")
    if separator and is_colour and "compressed " in codec and "compressed bgr" not in codec:
        return ChannelOrder.RGB
    return ChannelOrder.BGR


def decode(data: np.ndarray, flags: int, name: str) -> np.ndarray:
    """`cv2.imdecode` that raises FrameError instead of returning None."""
    try:
        array = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise _corrupt(name, str(error).splitlines()[0]) from error
    if array is None:
        raise _corrupt(name, "data that the decoder refuses")
    return array


def _check_complete(data: np.ndarray, array: np.ndarray, flags: int) -> None:
    """Refuse a JPEG whose entropy-coded data end before its last pixel.

    More data before the end-of-image marker are ignored by a decoder that has its picture, and
    change the picture of one that ran out.
    """
    encoded = data.tobytes()
    end = encoded.rfind(bytes((0xFF, _EOI)))
    longer = np.frombuffer(encoded[:end] + bytes(range(1, 200)) + encoded[end:], np.uint8)
    if not np.array_equal(decode(longer, flags, "jpeg"), array):
        raise _corrupt("jpeg", "data that end before the last pixel: bytes are missing in the middle")


def _corrupt(name: str, received: str) -> FrameError:
    return FrameError(
        f"a complete image of format {name!r}", received, "check the network link and the publisher"
    )


def _jpeg_size_wh(data: bytes) -> tuple[int, int]:
    """Walk the markers from SOI to EOI; entropy-coded data hold no marker but restarts."""
    position, size_wh = 2, None
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise _corrupt("jpeg", f"{len(data)} bytes without an end-of-image marker")
        marker = data[position + 1]
        position += 2
        if marker == 0xFF:  # fill byte before a marker
            position -= 1
        elif marker == _EOI:
            break
        elif marker != 0 and marker not in _STANDALONE:
            length = int.from_bytes(data[position : position + 2], "big")
            if marker in _START_OF_FRAME and position + 7 <= len(data):
                height, width = struct.unpack_from(">HH", data, position + 3)
                size_wh = (width, height)
            if length < 2:
                raise _corrupt("jpeg", f"a segment of length {length} at byte {position}")
            if marker == _SOS:
                position = _skip_scan(data, position + length)
            else:
                position += length
    if size_wh is None:
        raise _corrupt("jpeg", "no frame header")
    return size_wh


def _skip_scan(data: bytes, position: int) -> int:
    """Position of the first marker after a scan, restart markers skipped.

    A camera's JPEG has one scan and ends with EOI, give or take zero padding: look there first,
    since stepping over every stuffed 0xFF costs more than the decoder.
    """
    end = len(data.rstrip(b"\x00"))
    if data[end - 2 : end] == b"\xff\xd9" and end - 2 >= position:
        return end - 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        if data[position + 1] not in _STANDALONE and data[position + 1] not in (0x00, 0xFF):
            return position
        position += 2 if data[position + 1] != 0xFF else 1


def _png_size_wh(view: memoryview) -> tuple[int, int]:
    """Walk the chunks, check each CRC, stop at IEND."""
    position, size_wh = len(_PNG_SIGNATURE), None
    while True:
        if position + 12 > len(view):
            raise _corrupt("png", f"{len(view)} bytes without an IEND chunk")
        length, kind = struct.unpack_from(">I4s", view, position)
        end = position + 12 + length
        if end > len(view):
            raise _corrupt("png", f"chunk {kind!r} of {length} bytes, {len(view) - position - 12} there")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
            raise _corrupt("png", f"chunk {kind!r} with a wrong CRC")
        if kind == b"IHDR" and length >= 8:
            size_wh = struct.unpack_from(">II", view, position + 8)
        if kind == b"IEND":
            break
        position = end
    if size_wh is None:
        raise _corrupt("png", "no IHDR chunk")
    return size_wh
