"""What every node of the graph shares: lifecycle, outputs, error policy, diagnostics."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from vision_nodes.errors import VisionNodesError
from vision_nodes.nodes.parameters import check_update, declare_settings
from vision_nodes.nodes.periodic import Periodic
from vision_nodes.nodes.statistics import Statistics

Sink = Callable[[str, Any], None]  # replay: receives (topic, message) instead of the network

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
DIAGNOSTICS_PERIOD_S = 1.0


class Output:
    """One result topic: published to the network, or handed to replay's sink."""

    def __init__(self, node: VisionNode, msgtype: type, topic: str, qos: QoSProfile, on_demand: bool) -> None:
        self.topic = topic
        self._on_demand = on_demand
        self._sink = node.sink
        options = QoSOverridingOptions.with_default_policies()
        self._publisher = (
            None if self._sink else node.create_publisher(msgtype, topic, qos, qos_overriding_options=options)
        )

    def wanted(self) -> bool:
        """Whether building this message is worth it: on-demand topics only while someone listens."""
        if not self._on_demand:
            return True
        return self._publisher is not None and self._publisher.get_subscription_count() > 0

    def publish(self, message: Any) -> None:
        """Send the message, or hand it to the sink under the topic's plain name."""
        if self._publisher is None:
            assert self._sink is not None
            self._sink(self.topic, message)
        else:
            self._publisher.publish(message)

    def close(self, node: VisionNode) -> None:
        """Withdraw the topic."""
        if self._publisher is not None:
            node.destroy_publisher(self._publisher)


class VisionNode(LifecycleNode):
    """A managed node whose settings are a dataclass and whose failures never end the process.

    Subclasses implement `open_task` (load, at configure), `start_task`, `stop_task`, `close_task`.
    """

    def __init__(self, name: str, settings_type: type, *, sink: Sink | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.sink = sink
        self.statistics = Statistics()
        self.active = False
        self._outputs: list[Output] = []
        self._problem = ""
        self._autostart = bool(self.declare_parameter("autostart", True).value)
        self.settings: Any = declare_settings(self, settings_type)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.periodic = Periodic(f"{name} clock")
        self._diagnostics = None if sink else self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        if self._diagnostics is not None:
            self.periodic.every(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)

    # ---- what a node fills in
    def open_task(self) -> None:
        """Load models and create outputs; raise VisionNodesError when that cannot be done."""

    def start_task(self) -> None:
        """Subscribe and start working."""

    def stop_task(self) -> None:
        """Unsubscribe and stop working."""

    def close_task(self) -> None:
        """Free everything `open_task` took."""

    def apply_settings(self, settings: Any) -> None:
        """Use changed live settings from the next frame on."""
        self.settings = settings

    def describe(self) -> dict[str, str]:
        """Extra key-value pairs for `/diagnostics`."""
        return {}

    # ---- lifecycle
    def autostart(self) -> bool:
        """Configure and activate unless the `autostart` parameter is false; True when it is running."""
        if not self._autostart:
            return True
        if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            return False
        return bool(self.trigger_activate() == TransitionCallbackReturn.SUCCESS)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load; a failure is logged with its remedy and leaves the node unconfigured."""
        return self._transition(self.open_task, self.close_task)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and work."""
        answer = self._transition(self.start_task, self.stop_task)
        self.active = answer == TransitionCallbackReturn.SUCCESS
        return super().on_activate(state) if self.active else answer

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the camera, keep the model."""
        self.active = False
        self.stop_task()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free model and topics."""
        self.close_all()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free from any state."""
        self.active = False
        self.stop_task()
        self.close_all()
        return TransitionCallbackReturn.SUCCESS

    def close_all(self) -> None:
        """Free the task and withdraw its topics."""
        self.close_task()
        for output in self._outputs:
            output.close(self)
        self._outputs.clear()

    def _transition(self, step: Callable[[], None], undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            step()
        except VisionNodesError as error:
            self._problem = str(error)
            self.get_logger().error(self._problem)
            undo()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would end the transition without a word
            self._problem = f"{type(error).__name__}: {error}"
            self.get_logger().error(traceback.format_exc())
            undo()
            return TransitionCallbackReturn.FAILURE
        self._problem = ""
        return TransitionCallbackReturn.SUCCESS

    # ---- outputs
    def output(
        self, msgtype: type, topic: str, qos: QoSProfile = RELIABLE, *, on_demand: bool = False
    ) -> Output:
        """Create a result topic, relative to the node's namespace."""
        made = Output(self, msgtype, topic, qos, on_demand)
        self._outputs.append(made)
        return made

    # ---- error policy
    def guarded(self, work: Callable[[], None]) -> bool:
        """Run the work on one frame: an error drops and counts the frame, and never ends the node."""
        try:
            work()
            return True
        except VisionNodesError as error:
            self.reject(str(error))
        except Exception as error:  # a bug must not take the robot's eyes away; it is shown in full
            if not self.context.ok():  # shut down while this frame was in work: nobody is there to hear
                return False
            self.statistics.count("failed")
            self._problem = f"{type(error).__name__}: {error}"
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)
        return False

    def reject(self, reason: str) -> None:
        """Count one unusable frame and say why, at most every five seconds."""
        self.statistics.count("rejected")
        self._problem = reason
        self.get_logger().warning(f"frame dropped: {reason}", throttle_duration_sec=5.0)

    # ---- parameters and diagnostics
    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        changed, answer = check_update(self.settings, "", parameters)
        if answer.successful and changed != self.settings:
            try:
                self.apply_settings(changed)
            except VisionNodesError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return answer

    def diagnostic_status(self) -> DiagnosticStatus:
        """State, counters and stage times of this node."""
        counts, stages = self.statistics.counts(), self.statistics.stages()
        bad = counts.get("failed", 0) > 0
        level = (
            DiagnosticStatus.ERROR if bad else DiagnosticStatus.WARN if self._problem else DiagnosticStatus.OK
        )
        values = {"active": str(self.active), "rate_hz": f"{self.statistics.rate_hz():.2f}"}
        values.update({name: str(value) for name, value in sorted(counts.items())})
        for name, times in stages.items():
            values[f"{name}_p50_ms"] = f"{times['p50_ms']:.2f}"
            values[f"{name}_p95_ms"] = f"{times['p95_ms']:.2f}"
            values[f"{name}_cpu_ms"] = f"{times['cpu_ms']:.3f}"
            values[f"{name}_n"] = f"{times['n']:.0f}"
        values.update(self.describe())
        return DiagnosticStatus(
            level=level,
            name=self.get_fully_qualified_name(),
            message=self._problem or ("running" if self.active else "not active"),
            hardware_id="vision_nodes",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )

    def destroy_node(self) -> None:
        """End the clock's thread first: it publishes."""
        self.periodic.close()
        super().destroy_node()

    def _publish_diagnostics(self) -> None:
        self.guarded(self._send_diagnostics)

    def _send_diagnostics(self) -> None:
        message = DiagnosticArray(status=[self.diagnostic_status()])
        message.header.stamp = self.get_clock().now().to_msg()
        assert self._diagnostics is not None
        self._diagnostics.publish(message)
