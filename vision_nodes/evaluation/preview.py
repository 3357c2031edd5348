"""One picture that shows all five answers: a contact sheet of a scored run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision_nodes.datatypes import DepthMap, LoopClosure, PlaceResult, Segmentation
from vision_nodes.evaluation.charts import trajectory_chart
from vision_nodes.evaluation.score import Scores
from vision_nodes.messages.from_ros import depth_image_from_ros, detections_from_ros, mask_from_ros
from vision_nodes.overlay import draw_depth, draw_detections, draw_place_match, draw_segmentation, palette_for
from vision_nodes.tasks.classes import GENERAL_CLASSES

TILE_WH = (640, 480)
CAPTION_PX = 44
GAP_PX = 12
BACKGROUND, INK = (250, 250, 250), (25, 25, 25)


def write_preview(scores: Scores, png: str | Path) -> None:
    """Write the contact sheet as a picture file."""
    if not cv2.imwrite(str(png), cv2.cvtColor(contact_sheet(scores), cv2.COLOR_RGB2BGR)):
        raise OSError(f"could not write {png}")


def contact_sheet(scores: Scores) -> np.ndarray:
    """(H, W, 3) uint8 RGB of all five answers.

    Two rows of three tiles: boxes with ids, class mask, depth; trajectory on truth, a matched pair, its
    frame. A task without results leaves a tile that says so.
    """
    stamp = representative_stamp(scores)
    top = [
        _tile(
            detection_picture(scores, stamp),
            f"detections and ids{_figure(scores, 'detection', 'ap50', 'AP50')}",
        ),
        _tile(
            segmentation_picture(scores, stamp),
            f"segmentation{_figure(scores, 'segmentation', 'miou', 'mIoU')}",
        ),
        _tile(
            depth_picture(scores, stamp),
            f"metric depth, near is red{_figure(scores, 'depth', 'abs_rel', 'AbsRel')}",
        ),
    ]
    ate = _figure(scores, "odometry", "ate_sim3_m", "ATE Sim3", " m")
    bottom = [
        _tile(_trajectory_picture(scores), f"odometry on truth{ate}"),
        _tile(
            place_picture(scores),
            _place_caption(scores),
            columns=2,
        ),
    ]
    gap = np.full((top[0].shape[0], GAP_PX, 3), BACKGROUND, np.uint8)
    rows = [_join(tiles, gap) for tiles in (top, bottom)]
    bar = np.full((GAP_PX, rows[0].shape[1], 3), BACKGROUND, np.uint8)
    return np.concatenate([bar, rows[0], bar, rows[1], bar])


def representative_stamp(scores: Scores) -> int | None:
    """The frame to show: every answer present, most detections; None when no image is in the bag."""
    recording = scores.recording
    candidates = recording.stamps(recording.image_topic)
    for results in (
        recording.detections,
        *(recording.pictures.get(t, {}) for t in ("/segmentation/mask", "/depth/image")),
    ):
        both = [stamp for stamp in candidates if stamp in results]
        candidates = both or candidates

    def richness(stamp: int) -> tuple[int, float]:
        message = recording.detections.get(stamp)
        sizes = [d.bbox.size_x * d.bbox.size_y for d in message.detections] if message else []
        names = {d.results[0].hypothesis.class_id for d in message.detections} if message else set()
        return len(names), float(np.sum(sizes))

    return max(candidates, key=richness) if candidates else None


def detection_picture(scores: Scores, stamp: int | None) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB with the published boxes, which are in source pixels."""
    image = None if stamp is None else scores.recording.image(stamp)
    if image is None or stamp not in scores.recording.detections:
        return image
    message = scores.recording.detections[stamp]
    names = sorted({d.results[0].hypothesis.class_id for d in message.detections})
    return draw_detections(image, detections_from_ros(message, names), names)


def segmentation_picture(scores: Scores, stamp: int | None) -> np.ndarray | None:
    """The frame with its mask blended in."""
    image = None if stamp is None else scores.recording.image(stamp)
    mask = None if stamp is None else scores.recording.picture("/segmentation/mask", stamp)
    if image is None or mask is None:
        return None
    palette = palette_for(scores.recording.label_names or GENERAL_CLASSES)
    return draw_segmentation(image, Segmentation(np.ascontiguousarray(mask_from_ros(mask))), palette)


def depth_picture(scores: Scores, stamp: int | None) -> np.ndarray | None:
    """Colour-mapped inverse depth."""
    message = None if stamp is None else scores.recording.picture("/depth/image", stamp)
    if message is None:
        return None
    return draw_depth(DepthMap(np.asarray(depth_image_from_ros(message), np.float32), metric=True))


def place_picture(scores: Scores) -> np.ndarray | None:
    """Query and match side by side: the closure with the widest gap in time, else the best candidate."""
    recording = scores.recording
    by_query = {r.stamp_ns: r for r in recording.places}
    known = [
        (query, matched, T)
        for query, matched, T in recording.closures
        if matched in recording.keyframes and query in by_query
    ]
    if known:
        query, matched, T = max(known, key=lambda c: c[0] - recording.keyframes[c[1]])
        result = by_query[query]
        rank = result.candidate_ids.index(matched) if matched in result.candidate_ids else 0
        score = result.candidate_scores[rank] if result.candidate_scores else 0.0
        closure = LoopClosure(result.keyframe_id, matched, T, np.eye(6), 0, score)
        shown = PlaceResult(query, result.keyframe_id, (matched,), (score,), closure)
    else:
        ranked = [
            r for r in recording.places if r.candidate_ids and r.candidate_ids[0] in recording.keyframes
        ]
        if not ranked:
            return None
        shown = max(ranked, key=lambda r: r.candidate_scores[0])
    image = recording.image(shown.stamp_ns)
    other = recording.image(recording.keyframes[shown.candidate_ids[0]])
    return None if image is None else draw_place_match(image, other, shown)


def _place_caption(scores: Scores) -> str:
    closures = len(scores.recording.closures)
    if closures:
        return f"loop closure   {closures} verified"
    return "place match, not verified" if scores.recording.places else "place match"


def _trajectory_picture(scores: Scores) -> np.ndarray | None:
    figure = trajectory_chart(scores, size_in=(6.4, 4.8))
    if figure is None:
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    data = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert data is not None  # a PNG that was encoded a line above
    return np.asarray(cv2.cvtColor(data, cv2.COLOR_BGR2RGB))


def _figure(scores: Scores, task: str, name: str, label: str, unit: str = "") -> str:
    value: Any = scores.metrics.get(task, {}).get(name)
    return "" if value is None else f"   {label} {value:.3f}{unit}"


def _tile(picture: np.ndarray | None, caption: str, columns: int = 1) -> np.ndarray:
    width, height = TILE_WH[0] * columns + GAP_PX * (columns - 1), TILE_WH[1]
    tile = np.full((height + CAPTION_PX, width, 3), BACKGROUND, np.uint8)
    if picture is None:
        picture, caption = np.full((height, width, 3), 225, np.uint8), caption + " (no picture of it in this bag)"
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(picture, size, interpolation=method)
    x, y = (width - size[0]) // 2, CAPTION_PX + (height - size[1]) // 2
    tile[y : y + size[1], x : x + size[0]] = fitted
    cv2.putText(tile, caption, (4, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.75, INK, 2, cv2.LINE_AA)
    return tile


def _join(tiles: list[np.ndarray], gap: np.ndarray) -> np.ndarray:
    parts = [gap]
    for tile in tiles:
        parts += [tile, gap]
    return np.concatenate(parts, axis=1)
