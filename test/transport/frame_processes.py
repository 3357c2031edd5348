"""Two processes of test_fastdds_profile: `publish COUNT` sends VGA frames at 30 Hz, `subscribe` counts them.

Both talk on stdin and stdout: the subscriber prints "ready" when the first warm-up frame came, and at the
end the numbers of the whole frames that it received; the publisher starts at a line on stdin.
"""

from __future__ import annotations

import array
import json
import sys
import threading
import time

import rclpy
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

# Deep enough that a busy test machine's scheduler is not what is measured.
QOS = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
FRAME_BYTES = 640 * 480 * 3
WARM_UP, END = "warm_up", "end"


def make_frame(number: int) -> Image:
    """An rgb8 image whose every byte is the frame's number."""
    image = Image(height=480, width=640, encoding="rgb8", step=640 * 3)
    image.header.stamp.sec = number
    data = array.array("B")
    data.frombytes(bytes([number % 256]) * FRAME_BYTES)
    image.data = data
    return image


def publish(count: int) -> None:
    """Warm-up frames until told to start, `count` frames at 30 Hz, then end marks until stdin closes."""
    node = rclpy.create_node("frame_source")
    publisher = node.create_publisher(Image, "frames", QOS)
    start, stop = threading.Event(), threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        start.set()
        sys.stdin.read()
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    while not start.wait(0.05):
        publisher.publish(_mark(WARM_UP))
    for number in range(count):
        publisher.publish(make_frame(number))
        time.sleep(1 / 30)
    while not stop.wait(0.05):
        publisher.publish(_mark(END))


def _mark(frame_id: str) -> Image:
    image = Image()
    image.header.frame_id = frame_id
    return image


def subscribe() -> None:
    """Prints "ready" at the first warm-up frame and, at the end mark, the numbers of the intact frames."""
    node = rclpy.create_node("frame_counter")
    numbers: list[int] = []
    seen: set[str] = set()

    def on_image(image: Image) -> None:
        if image.header.frame_id == WARM_UP and WARM_UP not in seen:
            print("ready", flush=True)
        seen.add(image.header.frame_id)
        number = image.header.stamp.sec
        if not image.header.frame_id and image.data == make_frame(number).data:
            numbers.append(number)

    node.create_subscription(Image, "frames", on_image, QOS)
    while END not in seen:
        rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    rclpy.init()
    publish(int(sys.argv[2])) if sys.argv[1] == "publish" else subscribe()
