"""Messages of the data topics are taken by one thread that waits for nothing else.

rclpy's executor looks at every entity of every node each time anything arrives: six managed nodes have
about a hundred services, timers and guards, and a wake costs 2 to 5 ms of CPU in Jazzy. The data
topics are few, so a thread of their own with a wait set of their own takes a message for 0.3 ms, and
the executor sleeps until a service or a timer is due.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ClassVar

from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import SignalHandlerGuardCondition
from rclpy.subscription import Subscription

Callback = Callable[[Any], None]
RETRY_S = 0.5  # after an error of the middleware


class ReceiverGroup(CallbackGroup):
    """Keeps the executor's hands off subscriptions and their QoS events.

    The events too: in Fast DDS they share the condition that new data triggers, so an executor that waited
    for them would wake, with nothing to do, for every message.
    """

    def can_execute(self, entity: Any) -> bool:
        """False: the receiver executes."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """False: the receiver executes."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing is held."""


class Receiver:
    """One thread per rclpy context that takes messages and calls back.

    Callbacks run in this thread, one at a time and in order of arrival per topic; they must be short (hand
    over to a worker). The wait-set calls are those of `rclpy.wait_for_message`, the same since Humble.
    """

    _of_context: ClassVar[weakref.WeakKeyDictionary[Any, Receiver]] = weakref.WeakKeyDictionary()
    _registry_lock = threading.Lock()

    def __init__(self, context: Any) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[Subscription, Callback] = {}
        self._changed: GuardCondition | None = None
        self._thread: threading.Thread | None = None
        context.on_shutdown(self._wake)  # a shut down context wakes no wait set by itself

    @classmethod
    def of(cls, context: Any) -> Receiver:
        """The receiver of a context; made at the first call."""
        with cls._registry_lock:
            if context not in cls._of_context:
                cls._of_context[context] = cls(context)
            return cls._of_context[context]

    def subscribe(
        self, node: Node, msgtype: type, topic: str, callback: Callback, qos: QoSProfile
    ) -> Subscription:
        """Subscribe in the name of a node; its QoS may be overridden by the node's parameters."""
        subscription = node.create_subscription(
            msgtype,
            topic,
            callback,
            qos,
            callback_group=ReceiverGroup(),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        with self._lock:
            self._callbacks[subscription] = callback
            if self._thread is None:
                self._changed = GuardCondition(None, None, context=node.context)
                self._thread = threading.Thread(
                    target=self._run, args=(node.context, self._changed), name="receiver", daemon=True
                )
                self._thread.start()
        self._wake()
        return subscription

    def unsubscribe(self, node: Node, subscription: Subscription) -> None:
        """Stop receiving; a callback that runs in the receiver's thread right now still ends."""
        with self._lock:
            self._callbacks.pop(subscription, None)
            thread = self._thread if not self._callbacks else None
        self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)
        node.destroy_subscription(subscription)

    def _wake(self) -> None:
        with self._lock:
            if self._changed is not None:
                self._changed.trigger()

    def _run(self, context: Any, changed: GuardCondition) -> None:
        interrupted = SignalHandlerGuardCondition(context=context)
        try:
            while context.ok():
                with self._lock:
                    callbacks = dict(self._callbacks)
                    if not callbacks:
                        return
                try:
                    self._receive(context, callbacks, (changed, interrupted))
                except Exception as error:  # reception must not end in silence
                    if context.ok():
                        get_logger("receiver").error(f"trying again: {type(error).__name__}: {error}")
                        time.sleep(RETRY_S)
        finally:
            with self._lock:
                if self._changed is changed:
                    self._thread = self._changed = None
            changed.destroy()
            interrupted.destroy()

    def _receive(
        self, context: Any, callbacks: dict[Subscription, Callback], guards: tuple[GuardCondition, ...]
    ) -> None:
        """Take messages until the set of subscriptions changes or the context ends."""
        with ExitStack() as alive:  # a handle that is held is not destroyed under the wait
            alive.enter_context(context.handle)
            subscriptions = [s for s in callbacks if _held(alive, s.handle)]
            events = [e for s in subscriptions for e in _events(s) if _held(alive, e)]
            wait_set = rclpy_implementation.WaitSet(
                len(subscriptions), len(guards), 0, 0, 0, len(events), context.handle
            )
            while context.ok() and callbacks == self._callbacks:
                wait_set.clear_entities()
                for subscription in subscriptions:
                    wait_set.add_subscription(subscription.handle)
                for guard in guards:
                    wait_set.add_guard_condition(guard.handle)
                for event in events:
                    event.add_to_wait_set(wait_set)
                wait_set.wait(-1)
                for event in events:
                    if event.is_ready(wait_set):
                        self._call(event.callback, event.take_data())
                ready = set(wait_set.get_ready_entities("subscription"))
                for subscription in subscriptions:
                    if subscription.handle.pointer in ready:
                        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                        if taken is not None:  # (message, info)
                            self._call(callbacks[subscription], taken[0])

    @staticmethod
    def _call(callback: Callback, message: Any) -> None:
        try:
            callback(message)
        except Exception as error:  # one bad message must not end the reception of all others
            get_logger("receiver").error(f"callback failed: {type(error).__name__}: {error}")


def _events(subscription: Subscription) -> list[Any]:
    """Its QoS events, which rclpy annotates as one although it is a list."""
    events: Any = subscription.event_handlers
    return list(events)


def _held(alive: ExitStack, handle: Any) -> bool:
    """Keep a handle from being destroyed until the stack is left; False when it already is."""
    try:
        alive.enter_context(handle)
    except InvalidHandle:
        return False
    return True
