"""Services that take their time: answered from a thread of their own, the executor keeps dispatching."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from vision_nodes.errors import VisionNodesError

Handler = Callable[[Any, Any], None]  # (request, response): fills the response in


class BackgroundServices:
    """Services of one node, handled one after the other in one thread.

    A handler may raise a VisionNodesError: the answer is then `success = false` with the reason as `message`,
    where the type has one, and the reason is logged.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"{node.get_name()}_services")
        # Own group: a pending answer would otherwise keep the node's other callbacks waiting.
        self._group = ReentrantCallbackGroup()
        self._services: list[Any] = []

    def add(self, service_type: type, name: str, handler: Handler) -> None:
        """Offer a service under the node's name space."""

        async def callback(request: Any, response: Any) -> Any:
            done: Future = Future()
            self._pool.submit(self._work, handler, request, response, done)
            await done
            return response

        self._services.append(
            self._node.create_service(service_type, name, callback, callback_group=self._group)
        )

    def close(self) -> None:
        """Withdraw the services; one in work is finished first."""
        for service in self._services:
            self._node.destroy_service(service)
        self._services = []
        self._pool.shutdown()

    def _work(self, handler: Handler, request: Any, response: Any, done: Future) -> None:
        try:
            handler(request, response)
        except VisionNodesError as error:
            self._node.get_logger().error(str(error))
            _refuse(response, str(error))
        except Exception as error:  # as for frames: a bug must not end the node, and is shown in full
            self._node.get_logger().error(traceback.format_exc())
            _refuse(response, f"{type(error).__name__}: {error}")
        done.set_result(None)
        executor = self._node.executor
        if executor is not None:
            executor.wake()  # its wait set does not know of the future


def _refuse(response: Any, reason: str) -> None:
    response.success = False
    if hasattr(response, "message"):
        response.message = reason
