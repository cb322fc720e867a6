"""Which partition a tenant lives on: the murmur2 of Kafka's Java client, the same for everybody."""

from functools import lru_cache
from typing import Final

_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C


def murmur2(data: bytes) -> int:
    """Hash bytes as org.apache.kafka.common.utils.Utils.murmur2 does, as an unsigned 32-bit number."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole != length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def tenant_key(tenant: str) -> bytes:
    """Give the record key of a tenant."""
    return tenant.encode()


@lru_cache(maxsize=65_536)
def partition_for(tenant: str, count: int) -> int:
    """Give the partition, of `count`, on which everything of a tenant is decided."""
    return (murmur2(tenant_key(tenant)) & 0x7FFFFFFF) % count
