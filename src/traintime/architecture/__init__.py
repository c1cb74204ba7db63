"""Networks as plain descriptions, read by the trainer and by the forecast alike; no torch."""

from traintime.architecture.layers import Layer, Network
from traintime.architecture.networks import NETWORKS, check_model, network_for

__all__ = ["NETWORKS", "Layer", "Network", "check_model", "network_for"]
