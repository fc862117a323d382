"""Who this node is, and which private network it is in."""

from aicn.identity.keys import PrivateKey, PublicKey, create_key_file, load_key_file
from aicn.identity.psk import PreSharedKey

__all__ = ["PreSharedKey", "PrivateKey", "PublicKey", "create_key_file", "load_key_file"]
