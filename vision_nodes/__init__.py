"""One camera in; detections, masks, metric depth, odometry and place matches out, as ROS 2 nodes."""

__version__ = "0.1.0"
