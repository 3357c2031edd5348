"""launch/fastdds_shm.xml: best-effort images between two processes all arrive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy")

PROFILE = Path(__file__).parents[2] / "launch" / "fastdds_shm.xml"
SCRIPT = Path(__file__).with_name("frame_processes.py")
NAMESPACE = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"


def test_profile_is_the_default_one_and_has_both_transports():
    root = ElementTree.parse(PROFILE).getroot()
    participant = root.find(f".//{NAMESPACE}participant")
    assert participant.get("is_default_profile") == "true"
    defined = {e.text for e in root.iterfind(f".//{NAMESPACE}transport_descriptor/{NAMESPACE}transport_id")}
    used = {e.text for e in root.iterfind(f".//{NAMESPACE}userTransports/{NAMESPACE}transport_id")}
    kinds = {e.text for e in root.iterfind(f".//{NAMESPACE}transport_descriptor/{NAMESPACE}type")}
    assert used == defined
    assert kinds == {"SHM", "UDPv4"}


def exchange_frames(environment: dict[str, str], count: int) -> list[int]:
    """Numbers of the frames that reached the subscriber's process intact."""

    def start(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, str(SCRIPT), *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    with start("subscribe") as subscriber, start("publish", str(count)) as publisher:
        try:
            assert subscriber.stdout.readline() == "ready\n"
            publisher.stdin.write("start\n")
            publisher.stdin.flush()
            return json.loads(subscriber.stdout.readline())
        finally:
            publisher.stdin.close()
            subscriber.terminate()


@pytest.mark.timeout(60)
def test_no_vga_frame_is_lost_between_processes():
    implementation = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if implementation != "rmw_fastrtps_cpp":
        pytest.skip(f"a Fast DDS profile, and the middleware here is {implementation}")
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    environment = {**os.environ, **dict.fromkeys(variables, str(PROFILE))}
    assert exchange_frames(environment, 60) == list(range(60))
