"""Images find their camera_info in every order of arrival, within bounded memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_nodes.preprocess.pairing import StampPairer
from vision_nodes.preprocess.settings import PairingSettings

FRAME_NS = 33_000_000


def header(stamp_ns: int) -> SimpleNamespace:
    return SimpleNamespace(
        stamp=SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id="cam"
    )


def image(stamp_ns: int, wh=(64, 48), size: int = 10) -> SimpleNamespace:
    return SimpleNamespace(header=header(stamp_ns), width=wh[0], height=wh[1], data=bytes(size))


def info(stamp_ns: int, wh=(64, 48), name: str = "") -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    return SimpleNamespace(
        header=header(stamp_ns), width=wh[0], height=wh[1], binning_x=0, binning_y=0, roi=roi, name=name
    )


def stamps(pairs) -> list[tuple[int, int | None]]:
    """(image stamp, camera_info stamp) of each pair."""

    def ns(msg):
        return None if msg is None else msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec

    return [(ns(image), ns(camera_info)) for image, camera_info, _ in pairs]


def test_nothing_in_nothing_out():
    pairer = StampPairer()
    assert pairer.flush() == [] and pairer.poll(10**12) == [] and len(pairer) == 0


@pytest.mark.parametrize("info_first", [True, False])
def test_the_same_stamp_pairs_at_once(info_first):
    pairer = StampPairer()
    for i in range(1, 30):
        stamp = i * FRAME_NS
        if info_first:
            assert pairer.add_camera_info(info(stamp), 0) == []
            got = pairer.add_image(image(stamp), 5)
        else:
            assert pairer.add_image(image(stamp), 5) == []
            got = pairer.add_camera_info(info(stamp), 0)
        assert stamps(got) == [(stamp, stamp)] and got[0][2] == 5


def test_a_late_camera_info_is_waited_for():
    """camera_info one frame behind its image: every image still gets its own."""
    pairer = StampPairer()
    pairer.add_image(image(1), 0)
    out = []
    for stamp in range(2, 40):
        out += pairer.add_image(image(stamp), 0)
        out += pairer.add_camera_info(info(stamp - 1), 0)
    assert stamps(out) == [(s, s) for s in range(1, 39)]


def test_a_latched_camera_info_serves_all_images(caplog):
    pairer = StampPairer(PairingSettings(wait_frames=2))
    pairer.add_camera_info(info(0), 0)
    out = [pairer.add_image(image(i * FRAME_NS), 0) for i in range(1, 10)]
    assert [len(pairs) for pairs in out] == [0, 0, 3, 1, 1, 1, 1, 1, 1]  # no delay once that is known
    assert {camera_info for pairs in out for _, camera_info in stamps(pairs)} == {0}
    assert sum("newest of the same size" in r.message for r in caplog.records) == 1


def test_waiting_comes_back_with_exact_stamps():
    pairer = StampPairer(PairingSettings(wait_frames=1))
    pairer.add_camera_info(info(0), 0)
    for i in range(1, 4):
        pairer.add_image(image(i * FRAME_NS), 0)
    pairer.add_camera_info(info(3 * FRAME_NS), 0)  # the driver does stamp them, only late
    assert pairer.add_image(image(4 * FRAME_NS), 0) == []
    assert stamps(pairer.add_camera_info(info(4 * FRAME_NS), 0)) == [(4 * FRAME_NS, 4 * FRAME_NS)]


def test_the_fallback_takes_the_newest_of_the_same_size():
    pairer = StampPairer(PairingSettings(wait_frames=0))
    pairer.add_camera_info(info(1, (64, 48), "old"), 0)
    pairer.add_camera_info(info(2, (64, 48), "new"), 0)
    pairer.add_camera_info(info(3, (32, 24), "other"), 0)
    ((_, camera_info, _),) = pairer.add_image(image(10, (64, 48)), 0)
    assert camera_info.name == "new"
    ((_, camera_info, _),) = pairer.add_image(image(11, (128, 96)), 0)
    assert camera_info.name == "other"  # wrong, and preprocessing says so; silence would be worse


def test_an_age_limit(caplog):
    pairer = StampPairer(PairingSettings(wait_frames=0, max_age_s=1.0))
    pairer.add_camera_info(info(0), 0)
    assert stamps(pairer.add_image(image(10**9), 0)) == [(10**9, 0)]
    for late in (1, 2, 3):
        assert stamps(pairer.add_image(image(10**9 + late), 0)) == [(10**9 + late, None)]
    assert sum("max_age_s" in r.message for r in caplog.records) == 1


def test_without_camera_info_all_images_come_out_after_a_second(caplog):
    pairer = StampPairer()
    out = [pairer.add_image(image(i * 100_000_000), 0) for i in range(30)]
    assert [len(pairs) for pairs in out] == [0] * 10 + [11] + [1] * 19
    assert all(camera_info is None for pairs in out for _, camera_info in stamps(pairs))
    assert sum("uncalibrated" in r.message for r in caplog.records) == 1


def test_a_camera_info_that_comes_late_is_used(caplog):
    pairer = StampPairer()
    for i in range(12):
        pairer.add_image(image(i * 100_000_000), 0)
    pairer.add_camera_info(info(12 * 100_000_000), 0)
    assert stamps(pairer.add_image(image(12 * 100_000_000), 0)) == [(1_200_000_000, 1_200_000_000)]
    assert any("calibrated from now on" in r.message for r in caplog.records)


def test_memory_is_bounded_without_camera_info():
    """1080p images may not pile up for a second."""
    pairer = StampPairer()
    for i in range(100):
        pairer.add_image(image(i, size=6_220_800), 0)
        assert len(pairer) <= 21
    assert len(pairer) == 0


def test_memory_is_bounded_when_camera_info_never_matches():
    pairer = StampPairer(PairingSettings(wait_frames=3))
    out = 0
    for i in range(2000):
        out += len(pairer.add_image(image(2 * i + 2), 0))
        out += len(pairer.add_camera_info(info(2 * i + 1), 0))
        assert len(pairer) <= 3 and len(pairer._infos) <= 64
    assert out >= 1997


def test_camera_infos_alone_do_not_pile_up():
    pairer = StampPairer()
    for i in range(5000):
        assert pairer.add_camera_info(info(i, (i % 50 + 1, 1)), 0) == []
    assert len(pairer._infos) <= 64 and len(pairer._latest) <= 4


def test_poll_releases_a_single_picture():
    pairer = StampPairer(PairingSettings(timeout_s=1.0))
    pairer.add_camera_info(info(1), 0)
    assert pairer.add_image(image(7), received_ns=10**9) == []
    assert pairer.poll(10**9 + 999_999_999) == []
    assert stamps(pairer.poll(2 * 10**9)) == [(7, 1)]


def test_flush_at_the_end_of_a_bag():
    pairer = StampPairer()
    assert pairer.add_image(image(5), 0) == [] and pairer.add_image(image(6), 0) == []
    assert stamps(pairer.flush()) == [(5, None), (6, None)] and len(pairer) == 0


def test_a_bag_loop_does_not_lose_the_last_images():
    pairer = StampPairer(PairingSettings(wait_frames=2))
    pairer.add_camera_info(info(10**10), 0)
    assert stamps(pairer.add_image(image(10**10), 0)) == [(10**10, 10**10)]
    assert pairer.add_image(image(10**10 + 5), 0) == []
    assert stamps(pairer.add_image(image(3), 0)) == [(10**10 + 5, 10**10)]
    assert stamps(pairer.add_camera_info(info(3), 0)) == [(3, 3)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=80),
    st.integers(0, 5),
)
def test_every_image_comes_out_once_and_in_order_of_arrival(events, wait_frames):
    pairer = StampPairer(PairingSettings(wait_frames=wait_frames))
    sent, out = [], []
    for i, (is_image, stamp) in enumerate(events):
        if is_image:
            sent.append(i)
            out += pairer.add_image(image(stamp * FRAME_NS), i)
        else:
            out += pairer.add_camera_info(info(stamp * FRAME_NS), i)
    out += pairer.flush()
    assert [received for _, _, received in out] == sent
