"""Which addresses are of the open Internet: what others name may lead there, and nowhere inside."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
#: Translate to IPv4 behind the receiver's back (RFC 6052, RFC 8215).
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(address: IPAddress) -> bool:
    """Whether an address is one host of the open Internet, and so are the addresses that are hidden in it."""
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return not address.is_reserved
    if address.is_site_local or any(address in network for network in _NAT64):
        return False
    hidden = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    return all(is_public(inner) for inner in hidden if inner is not None) and int(address) >> 32 != 0
