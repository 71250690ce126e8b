"""The primitives of session.md §1 and what it asks of keys and signatures, §2.1 and §2.2."""

import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt, crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_scalarmult, crypto_scalarmult_base,
)  # fmt: skip
from nacl.exceptions import CryptoError

from codec import H, Refused, require

NONCE, TAG = 24, 16


def hkdf(salt, ikm, info, size):
    prk, out, block = hmac.digest(salt, ikm, "sha256"), b"", b""
    for i in range(1, (size + 31) // 32 + 1):
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out += block
    return out[:size]


def aead_seal(key, ad, plain, rand):
    nonce = rand(NONCE)
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, ad, nonce, key)


def aead_open(key, ad, sealed):
    """The plaintext, or None when the tag is another."""
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[NONCE:], ad, sealed[:NONCE], key)
    except CryptoError:
        return None


def x25519_public(private):
    return crypto_scalarmult_base(private)


def dh(private, public):
    try:
        return crypto_scalarmult(private, public)
    except CryptoError:  # libsodium's word for a result of zeros
        raise Refused("kex_low_order") from None


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def check_x25519(public):
    require(int.from_bytes(public, "little") < P, "key_invalid", "X25519 key is not canonical")
    dh(b"\x08" + bytes(31), public)


def check_ed25519(public):
    number = int.from_bytes(public, "little")
    y = number % 2**255
    require(y < P, "key_invalid", "Ed25519 key is not canonical")
    # −x² + y² = 1 + d·x²·y²; a root of x² exists when its Legendre symbol is not −1.
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    require(pow(x2, (P - 1) // 2, P) <= 1, "key_invalid", "Ed25519 key is not on the curve")
    # Order 1 and 2: y = ±1. Order 4: y = 0. Order 8: the double has y = 0, which is d·y⁴ + 2y² = 1.
    small = y in (0, 1, P - 1) or (D * y**4 + 2 * y * y - 1) % P == 0
    require(not small, "key_invalid", "Ed25519 key of small order")


def check_mlkem768(public):
    """FIPS 203 §7.2: the length, and every 12-bit coefficient below q."""
    require(len(public) == 1184, "kem_invalid", "ML-KEM key of another length")
    for i in range(0, 1152, 3):
        three = int.from_bytes(public[i : i + 3], "little")
        require(three & 0xFFF < 3329 and three >> 12 < 3329, "kem_invalid", "ML-KEM key is not reduced")


def amid(signing_public):
    return H(signing_public)[:20]


def signing_key(seed):
    return Ed25519PrivateKey.from_private_bytes(seed)


def signing_public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(key, tag, body):
    """body with its signature behind it, §2.2."""
    return body + key.sign(b"amesh/1 " + tag + b"\x00" + body)


def verify(public, tag, signed):
    body, signature = signed[:-64], signed[-64:]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"amesh/1 " + tag + b"\x00" + body)
    except InvalidSignature:
        raise Refused("signature_invalid", tag.decode()) from None
