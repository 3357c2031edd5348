"""Bags in and out without a ROS installation: mcap and sqlite3, compressed or not, also cut off."""
