"""Why no image arrives: what is published, by whom, with which QoS, and what to change."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from vision_nodes.bags.topics import NOT_A_CAMERA


def explain_silence(node: Node, topic: str) -> str:
    """One sentence for a topic on which nothing arrives."""
    name = node.resolve_topic_name(topic)
    publishers = node.get_publishers_info_by_topic(name)
    if not publishers:
        images = sorted(
            found
            for found, types in node.get_topic_names_and_types()
            if any(kind in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage") for kind in types)
            and not any(part in found for part in NOT_A_CAMERA)
            and found != name
        )
        return (
            f"expected images on {name}; received none: nobody publishes it; remedy: start the camera or set "
            f"the parameter 'image' to one of the image topics there are: {', '.join(images) or 'none'}"
        )
    subscription = next(iter(node.get_subscriptions_info_by_topic(name)), None)
    for publisher in publishers:
        who = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name} ({publisher.topic_type})"
        problem = "" if subscription is None else _incompatibility(publisher, subscription)
        if problem:
            return (
                f"expected images on {name}; received none: publisher {who} {problem}; remedy: set the parameter "
                f"qos_overrides.{name}.subscription.{'reliability' if 'RELIABLE' in problem else 'durability'}"
            )
    return (
        f"expected images on {name}; received none from {who}, whose QoS fits; remedy: check that it sends "
        "(ros2 topic hz) and that both sides use one ROS_DOMAIN_ID and reach each other"
    )


def _incompatibility(publisher: object, subscription: object) -> str:
    """What in the publisher's offer is below the subscription's request; '' when they match."""
    offered, wanted = publisher.qos_profile, subscription.qos_profile  # type: ignore[attr-defined]
    if (
        wanted.reliability == ReliabilityPolicy.RELIABLE
        and offered.reliability == ReliabilityPolicy.BEST_EFFORT
    ):
        return "offers BEST_EFFORT, we ask for RELIABLE"
    if (
        wanted.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and offered.durability == DurabilityPolicy.VOLATILE
    ):
        return "offers VOLATILE, we ask for TRANSIENT_LOCAL durability"
    if publisher.topic_type != subscription.topic_type:  # type: ignore[attr-defined]
        return f"sends {publisher.topic_type}, we read {subscription.topic_type}"  # type: ignore[attr-defined]
    return ""
