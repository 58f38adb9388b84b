"""ed25519 of bytes, by the package `cryptography`: imported where a key of that kind is met, and nowhere else. Pure."""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_BYTES = 32


def signer(secret: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    """Return what signs with a private key (alone, or with its public one behind it), and the public one. Raises ValueError."""
    key = Ed25519PrivateKey.from_private_bytes(secret[:_BYTES])
    public = key.public_key().public_bytes_raw()
    if secret[_BYTES:] not in (b"", public):
        raise ValueError("its second half is not the public key of the first")
    return key.sign, public


def verifier(public: bytes) -> Callable[[bytes, bytes], bool]:
    """Return what says whether a signature of bytes is of a public key. Raises ValueError."""
    key = Ed25519PublicKey.from_public_bytes(public)

    def verify(content: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    return verify
