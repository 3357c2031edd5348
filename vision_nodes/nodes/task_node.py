"""A node that turns frames into one kind of result: in process from a hand-over, or from topics."""

from __future__ import annotations

from typing import Any

from vision_nodes.nodes.base import Sink, VisionNode
from vision_nodes.nodes.frame_subscription import FrameSubscription
from vision_nodes.nodes.worker import Worker
from vision_nodes.preprocess.frame import Frame


class TaskNode(VisionNode):
    """Adds a worker thread and a frame source; subclasses implement `process`.

    In the container (`composed`) frames arrive through `accept`; alone, from the preprocessed topics.
    In replay the caller runs `process_now` in lock-step instead of `accept`.
    """

    def __init__(
        self,
        name: str,
        settings_type: type,
        *,
        composed: bool = False,
        sink: Sink | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, settings_type, sink=sink, **options)
        self._composed = composed
        self._source: FrameSubscription | None = None
        self.worker: Worker[Frame] = Worker(name, self.process_now)

    def process(self, frame: Frame) -> None:
        """One frame in, results published; raises FrameError for a frame that cannot be used."""
        raise NotImplementedError(f"{type(self).__name__}.process")

    def accept(self, frame: Frame) -> None:
        """Newest frame wins; never blocks."""
        if self.active:
            self.statistics.count("received")
            self.worker.put(frame)

    def process_now(self, frame: Frame) -> None:
        """Process one frame in the calling thread, with the node's error policy."""

        def work() -> None:
            with self.statistics.stage("total"):
                self.process(frame)
            self.statistics.finished()

        self.guarded(work)

    def start_task(self) -> None:
        """Start the worker and, when alone, subscribe."""
        if self.sink is None:
            self.worker.start()
            if not self._composed:
                self._source = FrameSubscription(self, self.accept)

    def stop_task(self) -> None:
        """Unsubscribe and stop the worker."""
        if self._source is not None:
            self._source.close()
            self._source = None
        self.worker.stop()

    def describe(self) -> dict[str, str]:
        """Frames replaced by a newer one before they were looked at."""
        return {"dropped": str(self.worker.dropped)}
