"""Sends back every Detection2DArray and TFMessage it receives: `in/<topic>` to `out/<topic>`, until it is stopped."""

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray

LATCHED = QoSProfile(
    depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL
)  # whoever comes late still receives
TOPICS = {"detections": Detection2DArray, "transforms": TFMessage}


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("echo")
    for topic, message_class in TOPICS.items():
        publisher = node.create_publisher(message_class, f"out/{topic}", LATCHED)
        node.create_subscription(message_class, f"in/{topic}", publisher.publish, LATCHED)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
