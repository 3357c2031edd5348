"""ROS 2 nodes: convert, call, publish. The only package that imports rclpy."""

import os

# Every task has a thread of its own. BLAS and OpenMP would add a pool that waits by spinning, and take the
# cores from the others; both read these when NumPy is first imported, which comes after this line.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
