"""The broker of watched runs in this process, and its way to those of others."""

from channels.layers import InMemoryChannelLayer, get_channel_layer

from dashboard.edge.broker import Broker
from dashboard.edge.layer import Layer
from dashboard.runtime import Runtime

_broker: Broker | None = None


def of(runtime: Runtime) -> Broker:
    """Return the broker of a runtime, made when its first link or viewer comes."""
    global _broker
    if _broker is None or _broker.runtime is not runtime:
        _broker = Broker(runtime)
        layer = get_channel_layer()
        if not isinstance(layer, InMemoryChannelLayer):  # there are others
            relay = Layer(_broker, layer)
            _broker.relay = relay
            runtime.along(relay.run())
    return _broker
