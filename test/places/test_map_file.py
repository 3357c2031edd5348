"""Map files: round trip, every kind of damage, and a process killed in the middle of saving."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from place_scenes import PointCloud, empty_keyframe, pose

from vision_nodes.datatypes import LoopClosure
from vision_nodes.errors import MapError
from vision_nodes.places.graph_state import GraphState
from vision_nodes.places.map_arrays import arrays_from_map
from vision_nodes.places.map_file import PlaceMap, load_place_map, save_place_map
from vision_nodes.places.settings import PlaceSettings

SETTINGS = PlaceSettings(descriptor_model="trunk-a")


def small_map(keyframes: int = 4) -> PlaceMap:
    cloud, state = PointCloud(0, count=60), GraphState(SETTINGS)
    views = [cloud.view(pose(z=0.1 * k), k + 3) for k in range(keyframes)]
    for view in views:
        state.add(view.id, 0, view.T_odom_cam, 3.0, np.eye(4))
    if views:
        lost = empty_keyframe(keyframes + 3)
        lost.T_odom_cam, lost.K, lost.segment = None, None, -1
        views.append(lost)
        state.accept(LoopClosure(views[1].id, views[0].id, pose(z=0.2), np.eye(6), 31, 0.8))
    return PlaceMap("trunk-a", views, state)


def test_empty_map(tmp_path: Path) -> None:
    save_place_map(tmp_path / "empty.map", small_map(0))
    loaded = load_place_map(tmp_path / "empty.map", SETTINGS)
    assert loaded.keyframes == [] and loaded.state.nodes == {}


def test_loaded_back_identical(tmp_path: Path) -> None:
    saved = small_map()
    save_place_map(tmp_path / "a.map", saved)
    loaded = load_place_map(tmp_path / "a.map", SETTINGS)
    before = arrays_from_map(saved.keyframes, saved.state)
    after = arrays_from_map(loaded.keyframes, loaded.state)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert array.dtype == after[name].dtype and array.shape == after[name].shape, name
        assert array.tobytes() == after[name].tobytes(), name
    save_place_map(tmp_path / "b.map", loaded)
    assert (tmp_path / "a.map").read_bytes() == (tmp_path / "b.map").read_bytes()


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    """One flipped bit in each of 200 places over the whole file, its head included."""
    path = tmp_path / "a.map"
    save_place_map(path, small_map())
    good = path.read_bytes()
    places = {*range(60), *np.linspace(60, len(good) - 1, 140).astype(int).tolist()}
    for place in places:
        bad = bytearray(good)
        bad[place] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(MapError):
            load_place_map(path, SETTINGS)


def test_any_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.map"
    save_place_map(path, small_map())
    good = path.read_bytes()
    for length in [0, 1, 15, 40, *np.linspace(41, len(good) - 1, 60).astype(int).tolist()]:
        path.write_bytes(good[:length])
        with pytest.raises(MapError):
            load_place_map(path, SETTINGS)
    path.write_bytes(good + b"x")
    with pytest.raises(MapError, match="more bytes"):
        load_place_map(path, SETTINGS)


def test_reasons_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.map"
    with pytest.raises(MapError, match="No such file"):
        load_place_map(path, SETTINGS)
    path.write_bytes(b"\x80\x04pickled data that must never be loaded")
    with pytest.raises(MapError, match="another kind"):
        load_place_map(path, SETTINGS)
    save_place_map(path, small_map())
    with pytest.raises(MapError, match="'trunk-a'.*cannot be compared"):
        load_place_map(path, replace(SETTINGS, descriptor_model="trunk-b"))
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 99)
    path.write_bytes(data)
    with pytest.raises(MapError, match="version 2.*received 99"):
        load_place_map(path, SETTINGS)
    with pytest.raises(MapError, match="permissions"):
        save_place_map(tmp_path / "a.map" / "below_a_file", small_map())


def test_a_failed_save_leaves_the_old_map_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.map"
    save_place_map(path, small_map(2))
    good = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(MapError, match="No space left"):
        save_place_map(path, small_map(4))
    assert path.read_bytes() == good and [p.name for p in tmp_path.iterdir()] == ["a.map"]


def test_killed_while_saving_leaves_a_whole_map(tmp_path: Path) -> None:
    """Another process saves again and again and is killed at arbitrary moments."""
    path = tmp_path / "a.map"
    script = """
import sys
from test_map_file import small_map
from vision_nodes.places.map_file import save_place_map
maps = [small_map(2), small_map(40)]
print("ready", flush=True)
while True:
    for content in maps:
        save_place_map(sys.argv[1], content)
"""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    save_place_map(path, small_map(2))
    for delay in (0.0, 0.013, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, env=environment
        )
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert len(load_place_map(path, SETTINGS).keyframes) in (3, 41)
        (survivor,) = [p for p in tmp_path.iterdir() if p.suffix == ".map"]
        assert survivor == path
    save_place_map(path, small_map(2))
    assert [p.name for p in tmp_path.iterdir()] == ["a.map"]  # what the killed ones left is cleared away


def test_another_save_under_way_is_not_cleared_away(tmp_path: Path) -> None:
    path, theirs = tmp_path / "a.map", tmp_path / ".a.map.other.tmp"
    with theirs.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        save_place_map(path, small_map(2))
        assert theirs.exists()
    save_place_map(path, small_map(2))
    assert not theirs.exists()


@pytest.mark.parametrize("limit", ["full", "read-only"])
def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path, limit: str) -> None:
    """A process that may not write (another user), or not that much (a quota)."""
    path = tmp_path / "a.map"
    save_place_map(path, small_map(2))
    good = path.read_bytes()
    tmp_path.chmod(0o555)
    script = """
import os, resource, sys
from test_map_file import small_map
from vision_nodes.errors import MapError
from vision_nodes.places.map_file import save_place_map
content = small_map(40)  # before: another user may not read the interpreter's own modules
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
elif os.geteuid() == 0:
    os.seteuid(65534)
try:
    save_place_map(sys.argv[1], content)
except MapError as error:
    print(error)
"""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    if limit == "full":
        tmp_path.chmod(0o755)
    for folder in [tmp_path, *tmp_path.parents][:3]:  # pytest's own folders are closed to other users
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), limit], capture_output=True, text=True, env=environment
    )
    tmp_path.chmod(0o755)
    assert done.stderr == "" and done.stdout.startswith("expected to write"), done.stdout + done.stderr
    assert {"full": "File too large", "read-only": "Permission denied"}[limit] in done.stdout
    assert "check space and permissions" in done.stdout
    assert path.read_bytes() == good and [p.name for p in tmp_path.iterdir()] == ["a.map"]


def test_a_map_with_other_features_is_refused(tmp_path: Path) -> None:
    save_place_map(tmp_path / "a.map", small_map())
    with pytest.raises(MapError, match="orb features.*places.local_features"):
        load_place_map(tmp_path / "a.map", replace(SETTINGS, local_features="orb"))
