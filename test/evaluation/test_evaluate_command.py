"""The command on files: kinds of input, gates, restart, many inputs, comparison, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from published_run import Errors, write_run

from vision_nodes.bags.reader import BagReader
from vision_nodes.bags.writer import BagWriter
from vision_nodes.cli import main
from vision_nodes.errors import BagError, ConfigError
from vision_nodes.evaluation.gates import Gate, check_gates, look_up, parse_gate
from vision_nodes.evaluation.inputs import InputKind, classify, content_hash
from vision_nodes.evaluation.many import run_isolated, run_many
from vision_nodes.evaluation.run import Job
from vision_nodes.evaluation.traverses import score_traverses


def camera_only(path: Path) -> Path:
    reader = BagReader(write_run(path.with_suffix(".tmp.mcap"), 3))
    with BagWriter(path) as writer:
        for message in reader.messages(["/image_raw", "/camera_info"]):
            writer.write(message)
    return path


def test_a_results_bag_is_scored_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run, out = write_run(tmp_path / "run.mcap"), tmp_path / "out"
    gates = ["--require", "detection.ap50=0.9", "--require", "odometry.ate_se3_m=0.1"]
    assert main(["evaluate", str(run), "--out", str(out), *gates]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"metrics.json", "report.html", "preview.png", "gates.xml", "trajectory_estimate.tum"} <= names
    metrics = json.loads((out / "metrics.json").read_text())
    provenance = metrics["provenance"]
    assert provenance["input_sha256"] == content_hash(run)
    assert {"version", "machine", "libraries", "run", "parameters", "input_kind"} <= set(provenance)
    assert "odometry.ate_se3_m <= 0.1: is" in capsys.readouterr().out


def test_a_failed_gate_fails_the_command_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = write_run(tmp_path / "run.mcap", errors=Errors(depth_factor=1.5))
    gates = [
        "--require",
        "depth.abs_rel=0.2",
        "--require",
        "segmentation.miou>=0.5",
        "--require",
        "depth.no=1",
    ]
    junit = tmp_path / "junit.xml"
    assert main(["evaluate", str(run), "--out", str(tmp_path / "out"), *gates, "--junit", str(junit)]) == 1
    assert "depth.abs_rel <= 0.2: is 0." in capsys.readouterr().out
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["depth.abs_rel <= 0.2", "depth.no >= 1"]


def test_restart_skips_what_is_finished_and_redoes_what_changed(tmp_path: Path):
    run, out = write_run(tmp_path / "run.mcap"), tmp_path / "out"
    assert main(["evaluate", str(run), "--out", str(out)]) == 0
    (out / "report.html").unlink()
    assert main(["evaluate", str(run), "--out", str(out)]) == 0
    assert not (out / "report.html").exists()  # same fingerprint: left as it was
    write_run(run, errors=Errors(wrong_columns=3))
    assert main(["evaluate", str(run), "--out", str(out)]) == 0
    assert (out / "report.html").exists()


def test_many_inputs_one_of_them_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    good = [write_run(tmp_path / f"run{i}.mcap", 12, Errors(wrong_columns=i)) for i in range(2)]
    (tmp_path / "bad.mcap").write_bytes(b"no bag at all")
    out = tmp_path / "out"
    inputs = [str(path) for path in (good[0], tmp_path / "bad.mcap", good[1])]
    assert main(["evaluate", *inputs, "--workers", "2", "--out", str(out)]) == 0
    assert "bad.mcap: FAILED" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["failed"]) == ["bad"] and summary["inputs"] == 3
    miou = summary["figures"]["segmentation.miou"]
    assert set(miou["inputs"]) == {"run0", "run1"} and miou["max"] == 1 > miou["min"]
    assert (out / "run1" / "report.html").exists()
    page = (out / "summary.html").read_text()
    assert 'href="run0/report.html"' in page and "BagError" in page


def test_gates_of_an_input_that_failed_fail(tmp_path: Path):
    (tmp_path / "bad.mcap").write_bytes(b"no bag at all")
    inputs = [str(write_run(tmp_path / "run.mcap", 12)), str(tmp_path / "bad.mcap")]
    arguments = ["evaluate", *inputs, "--out", str(tmp_path / "out"), "--require", "detection.ap=0.5"]
    assert main(arguments) == 1


def test_nothing_scored_is_status_one_and_says_what_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bare = write_run(tmp_path / "run.mcap", truth=False)
    assert main(["evaluate", str(bare), "--out", str(tmp_path / "out")]) == 1
    assert "/ground_truth/detections" in capsys.readouterr().out
    truth = write_run(tmp_path / "truth.mcap")
    arguments = ["evaluate", str(bare), "--ground-truth", str(truth), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0


def test_comparison_of_two_results_bags(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a = write_run(tmp_path / "a.mcap", 30, Errors(depth_factor=1.1, position_noise_m=0.02))
    b = write_run(tmp_path / "b.mcap", 30, Errors(depth_factor=1.4, wrong_columns=8, position_noise_m=0.02))
    out = tmp_path / "out"
    assert main(["evaluate", str(a), "--compare", str(a), str(b), "--out", str(out)]) == 0
    rows = {row["metric"]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert rows["depth.abs_rel"]["difference"] == pytest.approx(0.3, abs=0.01)
    assert rows["depth.abs_rel"]["verdict"] == "B is worse"
    assert rows["segmentation.miou"]["verdict"] == "B is worse"
    assert rows["detection.ap50"]["verdict"] == "no difference shown"
    assert "worse" in capsys.readouterr().out
    assert "comparison" in (out / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("detection.ap50=0.3", Gate("detection.ap50", 0.3, True)),
        ("odometry.ate_sim3_m=0.5", Gate("odometry.ate_sim3_m", 0.5, False)),
        ("latency_ms.p95=80", Gate("latency_ms.p95", 80, False)),
        ("places.false_closures=0", Gate("places.false_closures", 0, False)),
        ("detection.ece <= 0.1", Gate("detection.ece", 0.1, False)),
        ("depth.abs_rel>=0.1", Gate("depth.abs_rel", 0.1, True)),
    ],
)
def test_gates_know_which_side_is_right(text: str, gate: Gate):
    assert parse_gate(text) == gate


@pytest.mark.parametrize("text", ["detection.ap50", "=0.3", "detection.ap50=good", ""])
def test_gates_of_another_form_are_refused(text: str):
    with pytest.raises(ConfigError, match=r"TASK\.FIGURE=VALUE"):
        parse_gate(text)


def test_a_missing_figure_names_what_there_is():
    value, reason = look_up({"depth": {"abs_rel": 0.1}}, "depth.absrel")
    assert value is None and reason == "depth has abs_rel"
    (result,) = check_gates({"depth": {"reason": "no truth on x"}}, [Gate("depth.abs_rel", 1, False)])
    assert not result.passed and "no truth on x" in result.text


def test_kinds_of_input(tmp_path: Path):
    assert classify(write_run(tmp_path / "run.mcap", 2)) is InputKind.RESULTS
    assert classify(camera_only(tmp_path / "camera.mcap")) is InputKind.BAG
    for names, kind in (
        (("frames.csv",), InputKind.SEQUENCE),
        (("times.txt", "image_0"), InputKind.SEQUENCE),
        (("images", "labels", "classes.json"), InputKind.LABELLED),
        (("images", "val.json"), InputKind.LABELLED),
        (("rgb", "depth", "camera.json"), InputKind.LABELLED),
        (("query", "ref", "ground_truth.csv"), InputKind.TRAVERSES),
    ):
        folder = tmp_path / "_".join(names)
        for name in names:
            (folder / name).mkdir(parents=True)
        assert classify(folder) is kind
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "notes.txt").touch()
    with pytest.raises(BagError, match=r"notes\.txt"):
        classify(tmp_path / "odd")
    with pytest.raises(BagError, match="nothing there"):
        classify(tmp_path / "none")


def test_a_crash_in_a_job_is_an_error_of_that_job_only():
    assert "JSONDecodeError" in run_isolated({"out": "x"})["error"] or "KeyError" in run_isolated({})["error"]


def test_a_dask_cluster_runs_jobs_and_survives_a_bad_one(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    (tmp_path / "bad.mcap").write_bytes(b"no bag at all")
    inputs = [write_run(tmp_path / "run.mcap", 5), tmp_path / "bad.mcap"]
    jobs = [Job(input=str(path), out=str(tmp_path / f"out{i}")) for i, path in enumerate(inputs)]
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "protocol": "tcp"}
    with distributed.LocalCluster(processes=False, **options) as cluster:
        good, bad = run_many(jobs, cluster=cluster.scheduler_address)
    assert good.metrics["detection"]["ap"] == pytest.approx(1) and "BagError" in bad.error
    with pytest.raises(ConfigError, match="Dask scheduler"):
        run_many(jobs, cluster="tcp://127.0.0.1:9")


def test_traverses_by_hand():
    references = np.eye(4)
    queries = np.array([[0, 1, 0, 0], [0.9, 0.436, 0, 0], [0, 0, 0.6, 0.8]])
    figures = score_traverses(queries, references, [{1}, {1}, set()])
    assert (figures["recall_at_1"], figures["recall_at_5"], figures["queries_with_revisit"]) == (0.5, 1, 2)
    assert figures["recall_at_100_precision"] == 0.5
    assert score_traverses(queries, references, [set()] * 3)["recall_at_1"] is None
