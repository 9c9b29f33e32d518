"""Compares addresses as they are kept, whole or truncated, with networks."""

from ipaddress import ip_network
from ipaddress import IPv4Network
from ipaddress import IPv6Network

Network = IPv4Network | IPv6Network


def may_be_within(kept: object, network: Network) -> bool:
    """Whether a session whose address was kept so, whole or truncated, may have come from the network."""
    try:
        return ip_network(str(kept), strict=False).overlaps(network)
    except ValueError:
        return False


def network_in(text: str) -> Network | None:
    """Return an address, or a network such as 192.0.2.0/24, as a network; None if the text is neither."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
