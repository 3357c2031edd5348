"""Accuracy, drops and latency of the live graph: ``ros2 launch vision_nodes evaluate.launch.py bag:=drive.mcap``.

Starts the pipeline, plays the bag into it as a camera would, scores what the nodes published and writes
metrics.json, report.html and preview.png. Ends when the report is written; ``require:=detection.ap50=0.3`` makes
the exit status a gate.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SHARE = Path(__file__).resolve().parents[1]
PASSED = ("image", "camera_info", "tasks", "composed", "base_frame", "params_file", "rviz", "log_level")
ARGUMENTS = (
    ("bag", None, "bag folder or .mcap file with a camera"),
    ("ground_truth", "", "bag with the /ground_truth topics; '' = they are in the bag"),
    ("out", "evaluation_out", "folder for metrics.json, report.html and the recorded results"),
    ("require", "", "gates, separated by commas: detection.ap50=0.3,odometry.ate_sim3_m=0.5"),
    ("image", "/image_raw", "image topic of the bag"),
    ("camera_info", "/camera_info", "camera_info topic of the bag"),
    ("tasks", "detection,segmentation,depth,odometry,place", "comma-separated tasks to run"),
    ("composed", "true", "all nodes in one process"),
    ("base_frame", "base_link", "body frame of the pose"),
    ("params_file", str(SHARE / "launch" / "config" / "pipeline.yaml"), "parameter file"),
    ("rviz", "false", "open RViz"),
    ("log_level", "info", "debug, info, warn or error"),
)


def generate_launch_description() -> LaunchDescription:
    """The pipeline, and the evaluation attached to it."""
    pipeline = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "pipeline.launch.py")),
        launch_arguments={name: LaunchConfiguration(name) for name in PASSED}.items(),
    )
    declared = [
        DeclareLaunchArgument(name, description=text)
        if default is None
        else DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, pipeline, OpaqueFunction(function=_evaluation)])


def _evaluation(context: LaunchContext) -> list:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    return [ExecuteProcess(cmd=evaluation_command(value), output="screen", on_exit=Shutdown())]


def evaluation_command(value) -> list[str]:
    """The command line that plays, records and scores; `value` gives a launch argument."""
    command = ["ros2", "run", "vision_nodes", "vision-nodes", "evaluate", value("bag"), "--attach"]
    command += ["--out", value("out"), "--topic", value("image")]
    if value("ground_truth"):
        command += ["--ground-truth", value("ground_truth")]
    for task in value("tasks").replace(",", " ").split():
        command += ["--task", task]
    for gate in value("require").split(","):
        command += ["--require", gate.strip()] if gate.strip() else []
    return command
