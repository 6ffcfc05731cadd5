"""The only way out of the building: a durable spool, a pinned client, and a ledger of every byte that left."""

from agent.uplink.address import SinkAddress, parse_address
from agent.uplink.connect import SinkConfig
from agent.uplink.ledger import EgressLedger, EgressRow
from agent.uplink.mask import has_mac, load_mask_key, mask_device, mask_event, masked
from agent.uplink.uplink import Uplink, UplinkSettings

__all__ = [
    "EgressLedger", "EgressRow", "SinkAddress", "SinkConfig", "Uplink", "UplinkSettings", "has_mac",
    "load_mask_key", "mask_device", "mask_event", "masked", "parse_address",
]  # fmt: skip
