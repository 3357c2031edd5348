"""ROS 2 nodes: convert, call, publish. The only package that imports rclpy."""
