"""The report in a real browser: not blank, nothing sticks out, nothing is fetched, light, dark and on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from published_run import Errors, write_run

from vision_nodes.evaluation.recording import read_recording
from vision_nodes.evaluation.report import format_figure, write_report
from vision_nodes.evaluation.score import score_recording

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
in_browser = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of a run in which every task has errors."""
    folder = tmp_path_factory.mktemp("report")
    errors = Errors(1.5, lost_boxes=1, wrong_columns=9, depth_factor=1.1, position_noise_m=0.05, live=True)
    scores = score_recording(read_recording(write_run(folder / "run.mcap", 24, errors)))
    write_report(scores, folder / "report.html")
    return folder / "report.html"


def browse(*options: str) -> str:
    """Run the browser once with a profile of its own; its standard output."""
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def screenshot(page: Path, png: Path, *options: str) -> np.ndarray:
    browse("--window-size=1000,2400", f"--screenshot={png}", *options, page.as_uri())
    picture = cv2.imread(str(png))
    assert picture is not None
    return picture


class Page(HTMLParser):
    """Counts figures and collects every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        wanted = ("src", "srcset", "poster", "data") + (("href", "xlink:href") if tag != "a" else ())
        self.addresses += [value for name, value in attrs if name in wanted and value]


def test_nothing_is_fetched_and_every_figure_is_inside(report: Path):
    text = report.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.findall(r"url\((?!#|\"#|'#)[^)]*\)|@import", text)
    # preview, latency, trajectory, error, confusion of masks and boxes, depth, reliability, precision-recall
    assert page.counts["figure"] >= 9 and page.counts["svg"] >= 8 and page.counts["img"] >= 5
    assert "{{" not in text and "nan" not in re.findall(r">\s*(nan)\s*<", text)


def test_the_same_run_gives_the_same_report(report: Path, tmp_path: Path):
    scores = score_recording(read_recording(report.with_name("run.mcap")))
    write_report(scores, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()


@in_browser
def test_light_and_dark_are_readable_and_not_blank(report: Path, tmp_path: Path):
    light = screenshot(report, tmp_path / "light.png")
    dark = screenshot(report, tmp_path / "dark.png", "--blink-settings=preferredColorScheme=0")
    corner = [picture[:20, :20].mean() for picture in (light, dark)]
    assert corner[0] > 240 and corner[1] < 60  # the page itself, not only its pictures
    for picture in (light, dark):
        assert picture.std() > 20
        title = picture[20:70, 20:400]
        assert abs(float(title.max()) - float(title.min())) > 150  # ink against paper


@in_browser
@pytest.mark.parametrize("width", [420, 1200])
def test_nothing_sticks_out_sideways(report: Path, tmp_path: Path, width: int):
    probe = tmp_path / f"probe{width}.html"
    script = "<script>onload=()=>document.body.dataset.over=document.documentElement.scrollWidth-innerWidth</script>"
    frame = report.read_text(encoding="utf-8").replace("</body>", script + "</body>")
    probe.write_text(frame, encoding="utf-8")
    tree = browse(f"--window-size={width},900", "--dump-dom", probe.as_uri())
    over = re.search(r'data-over="(-?\d+)"', tree)
    assert over is not None and int(over.group(1)) <= 0


@in_browser
def test_it_prints(report: Path, tmp_path: Path):
    browse("--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'report.pdf'}", report.as_uri())
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page[^s]", data)) <= 12


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.12345, "0.123"), (1234.5, "1234.5"), (3, "3"), ("fp32", "fp32")]
)
def test_figures_as_a_reader_wants_them(value: object, text: str):
    assert format_figure(value) == text
