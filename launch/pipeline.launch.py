"""One camera in, five answers out: ``ros2 launch vision_nodes pipeline.launch.py image:=/camera/image_raw``."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(__file__).resolve().parents[1]  # share/vision_nodes, or the source tree
TASKS = "detection,segmentation,depth,odometry,place"

ARGUMENTS = (
    ("image", "image_raw", "image topic; CompressedImage when the name ends in /compressed"),
    ("camera_info", "camera_info", "camera_info topic"),
    ("namespace", "", "namespace of all nodes and topics"),
    ("tasks", TASKS, "comma-separated tasks to run"),
    ("composed", "true", "all nodes in one process; false = one process each, over shared memory"),
    ("base_frame", "base_link", "body frame of the pose; '' tracks the camera itself"),
    ("params_file", str(SHARE / "launch" / "config" / "pipeline.yaml"), "parameter file"),
    ("use_sim_time", "false", "take time from /clock"),
    ("rviz", "false", "open RViz with all five answers"),
    ("log_level", "info", "debug, info, warn or error"),
)


def generate_launch_description() -> LaunchDescription:
    """Arguments, the shared-memory profile for what runs outside the container, nodes, RViz."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(SHARE / "launch" / "rviz" / "pipeline.rviz")],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            # Fast DDS loses most best-effort images between processes with its default 0.5 MB segment.
            SetEnvironmentVariable(
                "FASTRTPS_DEFAULT_PROFILES_FILE", str(SHARE / "launch" / "fastdds_shm.xml")
            ),
            OpaqueFunction(function=_nodes),
            rviz,
        ]
    )


def _nodes(context: LaunchContext) -> list:
    """The container, or one process per task."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    tasks = [word for word in value("tasks").replace(",", " ").split() if word]
    unknown = sorted(set(tasks) - set(TASKS.split(",")))
    if unknown or not tasks:
        return [
            LogInfo(msg=f"tasks: expected some of {TASKS}; received {value('tasks')!r}; correct the argument")
        ]
    common = {
        "package": "vision_nodes",
        "namespace": value("namespace"),
        "output": "screen",
        "arguments": ["--ros-args", "--log-level", value("log_level")],
    }
    sim_time = {"use_sim_time": value("use_sim_time").lower() == "true"}
    camera = {"image": value("image"), "camera_info": value("camera_info")}
    base = {"base_frame": value("base_frame")}
    if value("composed").lower() == "true":
        # One process, several nodes: a parameter without a node's name goes to each that declares it.
        common_values = {**sim_time, **camera, **base, "tasks": ",".join(tasks)}
        if "odometry" not in tasks:
            common_values["use_odometry"] = False
        return [Node(executable="container", parameters=[value("params_file"), common_values], **common)]
    nodes = [
        Node(executable="preprocess_node", parameters=[value("params_file"), sim_time, camera], **common)
    ]
    for task in tasks:
        own = [value("params_file"), sim_time]
        if task in ("odometry", "place"):
            own.append(base)
        if task == "place":
            own.append({"use_odometry": "odometry" in tasks})
        nodes.append(Node(executable=f"{task}_node", parameters=own, **common))
    return nodes
