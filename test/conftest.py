"""For all tests: a ROS domain of this run's own, on this machine only, so that runs do not hear each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: BLAS pools spin and starve the other processes

os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 101 + 1))  # 1-101: clear of Linux' ephemeral ports
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
