"""Play a bag through the live graph: ``ros2 launch vision_nodes replay.launch.py bag:=drive.mcap``.

For results that are the same on every run use ``vision-nodes replay`` instead: it waits for each frame.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    Shutdown,
    TimerAction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(__file__).resolve().parents[1]
PASSED = ("image", "camera_info", "namespace", "tasks", "composed", "base_frame", "rviz", "log_level")
START_S = 4.0  # the graph loads its models meanwhile


def generate_launch_description() -> LaunchDescription:
    """The pipeline on simulated time, then the bag with its clock."""
    pipeline = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "pipeline.launch.py")),
        launch_arguments={
            "use_sim_time": "true",
            **{name: LaunchConfiguration(name) for name in PASSED},
        }.items(),
    )
    play = ExecuteProcess(
        cmd=[
            "ros2",
            "bag",
            "play",
            LaunchConfiguration("bag"),
            "--clock",
            "--rate",
            LaunchConfiguration("rate"),
        ],
        output="screen",
        on_exit=Shutdown(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="bag folder or .mcap file"),
            DeclareLaunchArgument("rate", default_value="1.0", description="times real time"),
            DeclareLaunchArgument("image", default_value="image_raw"),
            DeclareLaunchArgument("camera_info", default_value="camera_info"),
            DeclareLaunchArgument("namespace", default_value=""),
            DeclareLaunchArgument("tasks", default_value="detection,segmentation,depth,odometry,place"),
            DeclareLaunchArgument("composed", default_value="true"),
            DeclareLaunchArgument("base_frame", default_value="base_link"),
            DeclareLaunchArgument("rviz", default_value="true"),
            DeclareLaunchArgument("log_level", default_value="info"),
            pipeline,
            TimerAction(period=START_S, actions=[play]),
        ]
    )
