"""``vision-nodes map build | query | info``: visual localisation without a robot."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vision_nodes.bags.posed_frames import PosedFrame, PoseFile, read_posed_frames
from vision_nodes.camera.transforms import quat_xyzw_from_matrix
from vision_nodes.config import replace_checked
from vision_nodes.engine.loader import open_engine
from vision_nodes.errors import MapError
from vision_nodes.places.localisation import Localisation
from vision_nodes.places.map_building import MapBuilder
from vision_nodes.places.map_file import read_map_header
from vision_nodes.places.recogniser import PlaceRecogniser
from vision_nodes.places.rigid import angle_between
from vision_nodes.places.settings import PlaceSettings
from vision_nodes.preprocess.frame import Frame
from vision_nodes.tasks.runners import DescriptorExtractor

NOT_LOCALISED = 3  # exit status
SOURCE_HELP = "sequence folder, folder of pictures (also with rgb/ and depth/), or bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sub-verbs of `map`."""
    verbs = parser.add_subparsers(dest="map_verb", metavar="WHAT", required=True)
    build = verbs.add_parser("build", help="map from pictures with known poses, or from RGB-D")
    build.add_argument("source", type=Path, help=SOURCE_HELP)
    build.add_argument("map", type=Path, metavar="OUT.vnmap")
    build.add_argument(
        "--poses", type=Path, required=True, metavar="FILE",
        help="KEY x y z qx qy qz qw a line, camera to map; KEY = seconds (TUM) or picture name",
    )  # fmt: skip
    build.add_argument(
        "--depth", action="store_true", help="landmarks from the depth images; pictures without are left out"
    )
    query = verbs.add_parser("query", help="where was this picture taken? status 3 = not localised")
    query.add_argument("map", type=Path)
    query.add_argument("source", type=Path, metavar="IMAGE", help=f"picture; or {SOURCE_HELP}")
    query.add_argument("--poses", type=Path, metavar="FILE", help="truth: errors and recall are reported")
    query.add_argument("--json", action="store_true", help="one JSON object a picture instead of tables")
    for each in (build, query):
        each.add_argument("--camera", default="", metavar="FILE", help="camera_info YAML of loose pictures")
        each.add_argument("--topic", default="", help="image topic of a bag with several cameras")
        each.add_argument("--depth-topic", default="", help="depth image topic of a bag")
        each.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth picture")
        each.add_argument(
            "--first", type=int, default=0, metavar="I", help="the first I pictures are left out"
        )
        each.add_argument("--model", default="place", help="descriptor model, the same for map and query")
    info = verbs.add_parser("info", help="what a map holds")
    info.add_argument("map", type=Path)


def run(args: argparse.Namespace) -> int:
    """0 done, 3 = no picture was localised."""
    return {"build": _build, "query": _query, "info": _info}[args.map_verb](args)


@contextmanager
def _descriptor(model: str) -> Iterator[tuple[PlaceSettings, Callable[[Frame], np.ndarray]]]:
    with open_engine(model) as engine:
        extractor = DescriptorExtractor(engine)
        yield replace_checked(PlaceSettings(), {"descriptor_model": extractor.model}), extractor


def _pictures(args: argparse.Namespace) -> Iterator[PosedFrame]:
    poses = PoseFile(args.poses) if args.poses else None
    frames = read_posed_frames(
        args.source, poses, camera=args.camera, topic=args.topic, depth_topic=args.depth_topic
    )
    return islice(frames, args.first, None, args.every)


def _build(args: argparse.Namespace) -> int:
    left_out = 0
    with _descriptor(args.model) as (settings, extractor):
        builder = MapBuilder(settings)
        for picture in _pictures(args):
            if picture.T_map_cam is None or (args.depth and picture.depth is None):
                left_out += 1
                continue
            builder.add(picture.frame, extractor, picture.T_map_cam, picture.depth if args.depth else None)
    if not builder.keyframes:
        raise MapError(
            "pictures with poses" + (" and depth" if args.depth else ""),
            f"none of {left_out} pictures of {args.source}",
            "check that stamps or names of the pose file are those of the pictures",
        )
    builder.save(args.map)
    Console().print(
        f"{args.map}: {len(builder.keyframes)} keyframes, {args.map.stat().st_size / 1e6:.1f} MB; "
        f"{left_out} pictures without pose{' or depth' if args.depth else ''} left out",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    return 0


def _query(args: argparse.Namespace) -> int:
    found, errors, asked = 0, [], 0
    with _descriptor(args.model) as (settings, extractor), PlaceRecogniser(settings) as recogniser:
        recogniser.load_map(args.map)
        for picture in _pictures(args):
            answer = recogniser.localize(picture.frame, extractor, picture.depth)
            asked += 1
            found += answer.T_map_cam is not None
            if answer.T_map_cam is not None and picture.T_map_cam is not None:
                errors.append(pose_error(answer.T_map_cam, picture.T_map_cam))
            (_print_json if args.json else _print_answer)(picture, answer)
    if args.poses and not args.json:
        _print_errors(found, asked, errors)
    return 0 if found else NOT_LOCALISED


def pose_error(T_map_cam: np.ndarray, T_true: np.ndarray) -> tuple[float, float]:
    """Distance, m, and angle, deg, between two poses."""
    return (
        float(np.linalg.norm(T_map_cam[:3, 3] - T_true[:3, 3])),
        float(np.rad2deg(angle_between(T_true, T_map_cam))),
    )


def answer_as_dict(picture: PosedFrame, answer: Localisation) -> dict[str, Any]:
    """Everything a query says, for JSON."""
    result, T = answer.result, answer.T_map_cam
    values: dict[str, Any] = {
        "picture": picture.name,
        "localised": T is not None,
        "matches": [
            {"keyframe": i, "score": round(s, 4)}
            for i, s in zip(result.candidate_ids, result.candidate_scores)
        ],
        **{name: round(value, 3) for name, value in result.extra.items()},
    }
    if T is not None and answer.covariance is not None and result.closure is not None:
        values |= {
            "xyz_m": T[:3, 3].round(4).tolist(),
            "qxyzw": quat_xyzw_from_matrix(T[:3, :3]).round(6).tolist(),
            "covariance": answer.covariance.ravel().tolist(),
            "keyframe": result.closure.matched_id,
        }
        if picture.T_map_cam is not None:
            values["error_m"], values["error_deg"] = (round(e, 4) for e in pose_error(T, picture.T_map_cam))
    return values


def _print_json(picture: PosedFrame, answer: Localisation) -> None:
    Console().print_json(json.dumps(answer_as_dict(picture, answer)), indent=None)


def _print_answer(picture: PosedFrame, answer: Localisation) -> None:
    console, values = Console(), answer_as_dict(picture, answer)
    ranked = ", ".join(f"{m['keyframe']} ({m['score']:.3f})" for m in values["matches"][:5]) or "none"
    inliers = f"{values.get('inliers', 0):.0f} inliers"
    if answer.T_map_cam is None or answer.covariance is None:
        console.print(
            f"{picture.name}: NOT LOCALISED, {inliers}; matches {ranked}", markup=False, soft_wrap=True
        )
        return
    sigma = np.sqrt(np.diag(answer.covariance))
    error = f"; error {values['error_m']:.3f} m {values['error_deg']:.2f} deg" if "error_m" in values else ""
    console.print(
        f"{picture.name}: x y z {values['xyz_m']} m, qx qy qz qw {values['qxyzw']}; 1-sigma "
        f"{np.linalg.norm(sigma[:3]):.3f} m {np.rad2deg(np.linalg.norm(sigma[3:])):.2f} deg; keyframe "
        f"{values['keyframe']}, {inliers}; matches {ranked}{error}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _print_errors(found: int, asked: int, errors: list[tuple[float, float]]) -> None:
    table = Table(title=f"{found} of {asked} pictures localised", title_justify="left")
    for column in ("", "median", "90 %", "worst"):
        table.add_column(column, justify="right")
    for index, unit in enumerate(("m", "deg")):
        values = [e[index] for e in errors] or [float("nan")]
        table.add_row(f"error, {unit}", *(f"{np.percentile(values, q):.3f}" for q in (50, 90, 100)))
    good = sum(m <= 0.05 and deg <= 5 for m, deg in errors)
    table.add_row("within 5 cm and 5 deg", f"{good / max(asked, 1):.3f}", "", "")
    Console().print(table)


def _info(args: argparse.Namespace) -> int:
    header = read_map_header(args.map)
    shapes = {spec["name"]: spec["shape"] for spec in header["arrays"]}
    size = args.map.stat().st_size
    keyframes = shapes["id"][0]
    table = Table(title=str(args.map), title_justify="left", show_header=False)
    for name, value in (
        ("descriptor model", header["descriptor_model"]),
        ("keyframes", str(keyframes)),
        ("with a pose", str(shapes["node_id"][0])),
        ("descriptor values", str(shapes["descriptor"][-1])),
        ("local features", str(shapes["keypoints_xy"][0])),
        ("closures", str(shapes["closure_ids"][0])),
        ("size", f"{size / 1e6:.2f} MB, {size / max(keyframes, 1) / 1e3:.0f} kB a keyframe"),
    ):
        table.add_row(name, value)
    Console().print(table)
    return 0
