"""The session protocol of ../session.md a second time, written from that text alone.

It is there to be read beside the text and to be run against the node (driver.py); it guards no secrets and
has no store, no clock and no network. Section numbers are those of session.md. Needs Debian's
python3-cryptography and python3-nacl. ML-KEM is in neither: who calls hands its results in.

Objects are dictionaries whose keys are the field names; byte strings are bytes, text is str. Whatever is not
right raises Refused with a code of §13.
"""

import copy
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from codec import (
    ADDRESSES, PEER_IDS, RELAYS, SECONDS, U32, U64, Blob, H, Layout, Raw, Reader, Refused, Uint, lp, require, u32,
)  # fmt: skip
from contents import REQUEST, read_content, write_content

WIRE_VERSION = 0  # 1 when the protocol is frozen; the only place that knows it
MAGIC = b"\xa3msh"
SUITE = 2

KNOCK, RATCHET, MESSAGE_0, RENEW = 1, 2, 3, 4  # envelope types, §4.1
NO_KEY, SIGNED_PREKEY, LAST_RESORT_KEM, ONE_TIME_KEM, ONE_TIME_X25519 = 0, 1, 2, 3, 4  # key kinds, §5.2

DAY = 24 * 3600
SKEW = 600
MAX_ENVELOPE = 45_184
MAX_KNOCK = 4_096
MAX_RECORD = 8_192
MAX_SKIP = 1_000
MAX_STORED = 2_000
MAX_STORED_CHAINS = 5
STORED_LIFE = 7 * DAY
NONCE, TAG = 24, 16
EH = 82
ZEROS_16, ZEROS_32 = bytes(16), bytes(32)


# ---------------------------------------------------------------- §1, §2.1 cryptography


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


def raw_public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def x25519_public(private):
    return raw_public(X25519PrivateKey.from_private_bytes(private))


def dh(private, public):
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
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
    require(len(public) == 1184, "key_invalid", "ML-KEM key of another length")
    for i in range(0, 1152, 3):
        three = int.from_bytes(public[i : i + 3], "little")
        require(three & 0xFFF < 3329 and three >> 12 < 3329, "key_invalid", "ML-KEM key is not reduced")


def amid(signing_public):
    return H(signing_public)[:20]


def sign(key, tag, body):
    """body with its signature behind it, §2.2."""
    return body + key.sign(b"amesh/1 " + tag + b"\x00" + body)


def verify(public, tag, signed):
    body, signature = signed[:-64], signed[-64:]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"amesh/1 " + tag + b"\x00" + body)
    except InvalidSignature:
        raise Refused("signature_invalid", tag.decode()) from None


ED25519, X25519, MLKEM768 = Raw(32, check_ed25519), Raw(32, check_x25519), Raw(1184, check_mlkem768)


# ---------------------------------------------------------------- §2.3–§2.6 what an agent publishes


def lives(created, most=None):
    """The rule for objects with `created` (or `issued`) and expires, at most `most` seconds later."""

    def rule(value):
        require(value["expires"] > value[created], "malformed", "expires before it begins")
        require(most is None or value["expires"] <= value[created] + most, "malformed", "lives too long")

    return rule


CERTIFICATE = Layout(
    ("amid", Raw(20)),
    ("exchange", X25519),
    ("epoch", U32),
    ("created", SECONDS),
    ("expires", SECONDS),
    ("signature", Raw(64)),
    rule=lives("created"),
)


def suites_rule(suites):
    require(list(suites) == sorted(set(suites)), "malformed", "suites not ascending")
    require(SUITE in suites and 0 not in suites and 1 not in suites, "malformed", "suites")


def bundle_rule(bundle):
    lives("created", 14 * DAY)(bundle)
    suites_rule(bundle["suites"])


BUNDLE = Layout(
    ("version", Uint(1, 1, 1)),
    ("amid", Raw(20)),
    ("signing", ED25519),
    ("epoch", U32),
    ("sequence", U64),
    ("created", SECONDS),
    ("expires", SECONDS),
    ("certificate", Raw(136)),
    ("prekey_id", U32),
    ("prekey", X25519),
    ("kem_id", U32),
    ("kem_key", MLKEM768),
    ("suites", Blob(1, 16)),
    ("features", U32),
    ("signature", Raw(64)),
    rule=bundle_rule,
)

ONE_TIME = Layout(
    ("version", Uint(1, 1, 1)),
    ("amid", Raw(20)),
    ("epoch", U32),
    ("kind", Uint(1, ONE_TIME_KEM, ONE_TIME_X25519)),
    ("id", U32),
    ("created", SECONDS),
    ("expires", SECONDS),
    ("public", Blob(2, 1184, sizes=(32, 1184))),
    ("signature", Raw(64)),
    rule=lives("created"),
)

RECORD = Layout(
    ("version", Uint(1, 1, 1)),
    ("amid", Raw(20)),
    ("signing", ED25519),
    ("sequence", U64),
    ("created", SECONDS),
    ("expires", SECONDS),
    ("relays", RELAYS),
    ("peer_ids", PEER_IDS),
    ("addresses", ADDRESSES),
    ("bundle", Blob(2, MAX_RECORD)),
    ("signature", Raw(64)),
    rule=lives("created", DAY),
)


def write_signed(layout, key, tag, value):
    """The object's bytes with a fresh signature."""
    return sign(key, tag, layout.write({**value, "signature": bytes(64)})[:-64])


def read_certificate(data, signing, epoch):
    """The certificate, if it belongs to this signing key and epoch. Its times are the caller's."""
    certificate = CERTIFICATE.parse(data)
    require(certificate["amid"] == amid(signing), "key_mismatch", "certificate of another agent")
    require(certificate["epoch"] == epoch, "key_mismatch", "certificate of another epoch")
    verify(signing, b"key certificate", data)
    return certificate


def certificate_holds(certificate, at):
    return certificate["created"] - SKEW <= at <= certificate["expires"]


def read_bundle(data):
    """The verified bundle with `id` and `exchange` added."""
    bundle = BUNDLE.parse(data)
    require(amid(bundle["signing"]) == bundle["amid"], "key_mismatch", "bundle's AMID and key")
    verify(bundle["signing"], b"bundle", data)
    certificate = read_certificate(bundle["certificate"], bundle["signing"], bundle["epoch"])
    return {**bundle, "id": H(data[:-64]), "exchange": certificate["exchange"]}


def read_one_time(data, bundle):
    """A one-time key of the agent with this verified bundle."""
    key = ONE_TIME.parse(data)
    if key["kind"] == ONE_TIME_X25519:
        require(len(key["public"]) == 32, "malformed", "length of a one-time key")
        check_x25519(key["public"])
    else:
        check_mlkem768(key["public"])
    require(key["amid"] == bundle["amid"] and key["epoch"] == bundle["epoch"], "key_mismatch", "one-time key")
    verify(bundle["signing"], b"one-time key", data)
    return key


def read_record(data):
    require(len(data) <= MAX_RECORD, "malformed", "record too long")
    record = RECORD.parse(data)
    require(amid(record["signing"]) == record["amid"], "key_mismatch", "record's AMID and key")
    verify(record["signing"], b"agent record", data)
    bundle = read_bundle(record["bundle"])
    require(bundle["signing"] == record["signing"], "key_mismatch", "record's bundle")
    return record


# ---------------------------------------------------------------- §4 envelopes


def prefix(kind):
    return MAGIC + bytes([WIRE_VERSION, kind])


def envelope_type(data):
    """The type of an envelope as it arrives, §4.1."""
    require(data[:4] == MAGIC, "legacy")
    require(len(data) >= 6, "malformed", "shorter than its prefix")
    require(len(data) <= MAX_ENVELOPE, "malformed", "envelope too long")
    require(data[4] == WIRE_VERSION and data[5] in (KNOCK, RATCHET, MESSAGE_0, RENEW), "unsupported")
    return data[5]


def envelope_id(data):
    return H(data)[:16]


def padded_sizes():
    sizes = [256, 512, 1_088, 2_048, 4_096]
    while sizes[-1] < 45_056:
        sizes.append(sizes[-1] + 2 ** (sizes[-1].bit_length() - 1) // 8)
    return sizes


SIZES = padded_sizes()
MESSAGE_SIZES = {6 + EH + NONCE + size + TAG for size in SIZES}


def smallest_size(length):
    """The padded size for a plaintext of length bytes."""
    require(4 + length <= SIZES[-1], "malformed", "plaintext too long")
    return next(size for size in SIZES if 4 + length <= size)


def pad(plain):
    return lp(plain).ljust(smallest_size(len(plain)), b"\x00")


def unpad(padded):
    length = int.from_bytes(padded[:4], "big")
    require(4 + length <= len(padded), "malformed", "padding")
    require(len(padded) == smallest_size(length), "malformed", "not the smallest size")
    require(not any(padded[4 + length :]), "malformed", "padding is not zero")
    return padded[4 : 4 + length]


def check_message(data, kind):
    require(data[:6] == prefix(kind), "malformed", "prefix")
    require(len(data) in MESSAGE_SIZES, "malformed", "size of a ratchet message")


# ---------------------------------------------------------------- §6 the ratchet

HEADER = Layout(("ratchet_key", X25519), ("pn", U32), ("n", U32), ("extension", Uint(2, 0, 0)))


def kdf_root(rk, shared):
    out = hkdf(rk, shared, b"amesh/session/1 root", 96)
    return out[:32], out[32:64], out[64:]


def kdf_chain(ck):
    """(message key, next chain key)"""
    return hmac.digest(ck, b"\x01", "sha256"), hmac.digest(ck, b"\x02", "sha256")


class Ratchet:
    """One side's ratchet state, named as in the table of §5.5; rand(n) gives random bytes.

    stored is {header key: {N: (message key, when it was stored)}}, the oldest chain first.
    """

    def __init__(self, rand, ad):
        self.rand, self.ad = rand, ad
        self.dhs = self.dhr = self.rk = self.cks = self.ckr = None
        self.hks = self.hkr = self.nhks = self.nhkr = None
        self.ns = self.nr = self.pn = 0
        self.stored = {}

    def seal(self, plain, kind=RATCHET):
        require(self.cks is not None and self.ns < 2**32 - 1, "window_full", "no sending chain")
        header = HEADER.write(
            {"ratchet_key": x25519_public(self.dhs), "pn": self.pn, "n": self.ns, "extension": 0}
        )
        sealed_header = aead_seal(self.hks, prefix(kind), header, self.rand)
        key, self.cks = kdf_chain(self.cks)
        self.ns += 1
        body = aead_seal(key, self.ad + prefix(kind) + sealed_header, pad(plain), self.rand)
        return prefix(kind) + sealed_header + body

    def open(self, message, now, kind=RATCHET):
        """The plaintext. After Refused nothing has changed."""
        check_message(message, kind)
        after = copy.copy(self)
        after.stored = {hk: dict(keys) for hk, keys in self.stored.items()}
        plain = after._open(message, now, kind)
        self.__dict__.update(after.__dict__)
        return plain

    def _open(self, message, now, kind):
        sealed_header, body = message[6 : 6 + EH], message[6 + EH :]
        self._forget_old(now)
        chain, raw = self._open_header(sealed_header, prefix(kind))
        header = HEADER.parse(raw)
        n, pn = header["n"], header["pn"]
        if kind == MESSAGE_0:
            require(n == 0 and pn == 0, "malformed", "numbers of message 0")
        if chain == "next":
            require(pn - self.nr <= MAX_SKIP and n <= MAX_SKIP, "skip_limit")
            self._store_up_to(pn, now)
            self._step(header["ratchet_key"])
            chain = self.hkr
        if chain == self.hkr and n >= self.nr:
            require(n - self.nr <= MAX_SKIP and n < 2**32 - 1, "skip_limit")
            self._store_up_to(n, now)
            key, self.ckr = kdf_chain(self.ckr)
            self.nr += 1
        else:
            key = self._take(chain, n)
        padded = aead_open(key, self.ad + prefix(kind) + sealed_header, body)
        require(padded is not None, "decrypt_failed", "body")
        return unpad(padded)

    def _open_header(self, sealed, ad):
        """(the header key of a chain we have, or "next" for NHKr; the header)"""
        known = [hk for hk in self.stored if hk != self.hkr]
        for name, key in [*((hk, hk) for hk in known), (self.hkr, self.hkr), ("next", self.nhkr)]:
            if key is not None and (raw := aead_open(key, ad, sealed)) is not None:
                return name, raw
        raise Refused("decrypt_failed", "header")

    def _step(self, ratchet_key):
        require(ratchet_key != x25519_public(self.dhs), "key_invalid", "our own ratchet key")
        self.pn, self.ns, self.nr = self.ns, 0, 0
        self.hks, self.hkr, self.dhr = self.nhks, self.nhkr, ratchet_key
        self.rk, self.ckr, self.nhkr = kdf_root(self.rk, dh(self.dhs, self.dhr))
        self.dhs = self.rand(32)
        self.rk, self.cks, self.nhks = kdf_root(self.rk, dh(self.dhs, self.dhr))

    def _store_up_to(self, n, now):
        if self.ckr is None:
            return
        while self.nr < n:
            key, self.ckr = kdf_chain(self.ckr)
            self.stored.setdefault(self.hkr, {})[self.nr] = (key, now)
            self.nr += 1
        while len(self.stored) > MAX_STORED_CHAINS:
            del self.stored[next(iter(self.stored))]
        for _ in range(sum(map(len, self.stored.values())) - MAX_STORED):
            oldest = next(iter(self.stored))
            self._take(oldest, next(iter(self.stored[oldest])))

    def _take(self, chain, n):
        keys = self.stored.get(chain, {})
        require(n in keys, "duplicate_or_expired")
        key, _ = keys.pop(n)
        if not keys:
            del self.stored[chain]
        return key

    def _forget_old(self, now):
        for chain, keys in list(self.stored.items()):
            for n in [n for n, (_, since) in keys.items() if now - since > STORED_LIFE]:
                self._take(chain, n)


# ---------------------------------------------------------------- §5 the handshake

CLEAR = Layout(
    ("prefix", Raw(6)),
    ("suite", Uint(1, SUITE, SUITE)),
    ("epoch", U32),
    ("from", Raw(20)),
    ("to", Raw(20)),
    ("signing", ED25519),
    ("certificate", Raw(136)),
    ("ek", X25519),
    ("kem_ciphertext", Raw(1088)),
    ("prekey_id", U32),
    ("kem_kind", Uint(1, LAST_RESORT_KEM, ONE_TIME_KEM)),
    ("kem_id", U32),
    ("one_time_kind", Uint(1)),
    ("one_time_id", U32),
    ("bundle_id", Raw(32)),
    ("issued", SECONDS),
    ("expires", SECONDS),
    rule=lives("issued", 168 * 3600),
)
CLEAR_SIZE = 1_401


def read_knock(data):
    """The fields of clear and `clear`, `message_0`, `tail`, `bytes` (without the tail), `hash`.

    Syntax only; check_knock and Agent.answer do the rest.
    """
    require(envelope_type(data) == KNOCK, "malformed", "not a knock")
    r = Reader(data)
    knock = CLEAR.read(r)
    none = knock["one_time_kind"] == NO_KEY and knock["one_time_id"] == 0
    require(none or knock["one_time_kind"] == ONE_TIME_X25519, "malformed", "kind of one-time key")
    require(knock["from"] != knock["to"], "malformed", "a knock at oneself")
    knock["message_0"] = Blob(2, MAX_KNOCK).read(r)
    check_message(knock["message_0"], MESSAGE_0)
    r.take(64)
    require(r.at <= MAX_KNOCK, "malformed", "knock too long")
    knock["clear"], knock["bytes"], knock["tail"] = data[:CLEAR_SIZE], data[: r.at], data[r.at :]
    knock["hash"] = H(knock["bytes"])
    if knock["tail"]:
        check_message(knock["tail"], RATCHET)
    return knock


def check_knock(knock, now):
    """Times, signature, AMID and certificate; gives A's certificate."""
    require(knock["issued"] - SKEW <= now <= knock["expires"] + SKEW, "knock_expired")
    require(amid(knock["signing"]) == knock["from"], "key_mismatch", "knock's AMID and key")
    verify(knock["signing"], b"knock", knock["bytes"])
    certificate = read_certificate(knock["certificate"], knock["signing"], knock["epoch"])
    require(certificate_holds(certificate, knock["issued"]), "key_invalid", "certificate not valid at issued")
    return certificate


def transcript(clear, bundle, kem_kind, kem_id, kem_key, one_time_kind, one_time_id, one_time_key):
    """th0, §5.3"""
    return H(
        b"amesh/session/1 transcript\x00" + lp(clear) + lp(bundle["signing"]) + lp(bundle["exchange"])
        + lp(bundle["id"]) + b"\x01" + u32(bundle["prekey_id"]) + lp(bundle["prekey"])
        + bytes([kem_kind]) + u32(kem_id) + lp(kem_key)
        + bytes([one_time_kind]) + u32(one_time_id) + lp(one_time_key)
    )  # fmt: skip


def key_schedule(dhs, secret, th0):
    """(RK, HK_A, NHK_B, sid), §5.4"""
    ikm = b"\xff" * 32 + b"".join(dhs) + secret
    out = hkdf(ZEROS_32, ikm, b"amesh/session/1 handshake\x00" + th0, 112)
    return out[:32], out[32:64], out[64:96], out[96:]


class Session:
    """A ratchet and what the two sides call it. request is A's, asked tells which side this is."""

    def __init__(self, ratchet, knock_bytes, th0, sid, request, asked):
        self.ratchet, self.th0, self.sid, self.request, self.asked = ratchet, th0, sid, request, asked
        self.knock_hash, self.accepted = H(knock_bytes), False
        ratchet.ad = H(th0 + knock_bytes)

    def seal(self, content):
        return self.ratchet.seal(write_content(content))

    def open(self, message, now):
        """The content; a content that cannot be read changes the ratchet all the same."""
        return read_content(self.ratchet.open(message, now))


def winner(a, b):
    """Which of two sessions between two agents sends, §8.4; None when no responder accepted."""
    if not (a.accepted and b.accepted):
        return a if a.accepted else b if b.accepted else None
    if a.request["prev"] == b.knock_hash:
        return a
    if b.request["prev"] == a.knock_hash:
        return b
    return min(a, b, key=lambda s: s.knock_hash)


class Agent:
    """An identity with its bundles and one-time keys. rand(n) gives random bytes."""

    def __init__(self, rand, epoch, created, expires):
        self.rand, self.epoch = rand, epoch
        self.signing_key = Ed25519PrivateKey.from_private_bytes(rand(32))
        self.signing = raw_public(self.signing_key)
        self.amid = amid(self.signing)
        self.exchange_key = rand(32)
        self.exchange = x25519_public(self.exchange_key)
        value = {"amid": self.amid, "exchange": self.exchange, "epoch": epoch,
                 "created": created, "expires": expires}  # fmt: skip
        self.certificate = write_signed(CERTIFICATE, self.signing_key, b"key certificate", value)
        self.bundles = {}  # id: (bundle, signed prekey's private part)
        self.one_time = {}  # (kind, id): (public, private; None for ML-KEM)
        self.seen = set()  # th0 of every knock that was opened

    def make_bundle(self, sequence, created, expires, prekey_id, kem_id, kem_key, suites=b"\x02", features=0):
        prekey = self.rand(32)
        data = write_signed(BUNDLE, self.signing_key, b"bundle", {
            "version": 1, "amid": self.amid, "signing": self.signing, "epoch": self.epoch, "sequence": sequence,
            "created": created, "expires": expires, "certificate": self.certificate, "prekey_id": prekey_id,
            "prekey": x25519_public(prekey), "kem_id": kem_id, "kem_key": kem_key, "suites": suites,
            "features": features})  # fmt: skip
        bundle = read_bundle(data)
        self.bundles[bundle["id"]] = (bundle, prekey)
        return data

    def make_one_time(self, kind, id, created, expires, kem_key=None):
        private = self.rand(32) if kind == ONE_TIME_X25519 else None
        public = x25519_public(private) if private else kem_key
        self.one_time[kind, id] = (public, private)
        return write_signed(ONE_TIME, self.signing_key, b"one-time key", {
            "version": 1, "amid": self.amid, "epoch": self.epoch, "kind": kind, "id": id, "created": created,
            "expires": expires, "public": public})  # fmt: skip

    def make_record(self, sequence, created, expires, relays, peer_ids, addresses, bundle):
        return write_signed(RECORD, self.signing_key, b"agent record", {
            "version": 1, "amid": self.amid, "signing": self.signing, "sequence": sequence, "created": created,
            "expires": expires, "relays": relays, "peer_ids": peer_ids, "addresses": addresses,
            "bundle": bundle})  # fmt: skip

    def _refuse_own(self, *keys):
        own = {self.signing, self.exchange, *(bundle["prekey"] for bundle, _ in self.bundles.values())}
        own |= {public for public, _ in self.one_time.values()}
        require(not own & set(keys), "key_invalid", "a key of our own")

    def ask(self, bundle_data, one_time, kem_one_time, kem, request, issued, expires):
        """(session, knock without tail): A's side of the handshake.

        one_time and kem_one_time are signed one-time keys or None; kem(public key) gives (ciphertext,
        shared secret).
        """
        bundle = read_bundle(bundle_data)
        require(bundle["created"] - SKEW <= issued <= bundle["expires"], "bundle_expired")
        self._refuse_own(bundle["signing"], bundle["exchange"], bundle["prekey"])
        kem_kind, kem_id, kem_key = LAST_RESORT_KEM, bundle["kem_id"], bundle["kem_key"]
        if kem_one_time:
            key = read_one_time(kem_one_time, bundle)
            kem_kind, kem_id, kem_key = key["kind"], key["id"], key["public"]
            require(kem_kind == ONE_TIME_KEM, "malformed", "kind of one-time key")
        one_kind, one_id, one_key = NO_KEY, 0, b""
        if one_time:
            key = read_one_time(one_time, bundle)
            one_kind, one_id, one_key = key["kind"], key["id"], key["public"]
            require(one_kind == ONE_TIME_X25519, "malformed", "kind of one-time key")
            self._refuse_own(one_key)
        ek, (ciphertext, secret) = self.rand(32), kem(kem_key)
        clear = CLEAR.write({
            "prefix": prefix(KNOCK), "suite": SUITE, "epoch": self.epoch, "from": self.amid, "to": bundle["amid"],
            "signing": self.signing, "certificate": self.certificate, "ek": x25519_public(ek),
            "kem_ciphertext": ciphertext, "prekey_id": bundle["prekey_id"], "kem_kind": kem_kind,
            "kem_id": kem_id, "one_time_kind": one_kind, "one_time_id": one_id, "bundle_id": bundle["id"],
            "issued": issued, "expires": expires})  # fmt: skip
        th0 = transcript(clear, bundle, kem_kind, kem_id, kem_key, one_kind, one_id, one_key)
        dhs = [dh(self.exchange_key, bundle["prekey"]), dh(ek, bundle["exchange"]), dh(ek, bundle["prekey"])]
        dhs += [dh(ek, one_key)] if one_time else []
        rk, hk_a, nhk_b, sid = key_schedule(dhs, secret, th0)
        ratchet = Ratchet(self.rand, th0)
        ratchet.dhs, ratchet.dhr = self.rand(32), bundle["prekey"]
        ratchet.rk, ratchet.cks, ratchet.nhks = kdf_root(rk, dh(ratchet.dhs, ratchet.dhr))
        ratchet.hks, ratchet.nhkr = hk_a, nhk_b
        message_0 = ratchet.seal(write_content({"type": REQUEST, **request}), MESSAGE_0)
        knock = sign(self.signing_key, b"knock", clear + lp(message_0, 2))
        require(len(knock) <= MAX_KNOCK, "malformed", "knock too long")
        return Session(ratchet, knock, th0, sid, request, asked=True), knock

    def answer(self, data, kem, now):
        """(session, knock, request): B's side, steps 1–3, 6, 9 and 10 of §8.2.

        kem(kind, id, ciphertext) gives the shared secret. The one-time key is gone afterwards.
        """
        knock = read_knock(data)
        require(knock["to"] == self.amid, "wrong_recipient")
        certificate = check_knock(knock, now)
        require(knock["bundle_id"] in self.bundles, "prekey_unknown", "bundle")
        bundle, prekey = self.bundles[knock["bundle_id"]]
        require(knock["issued"] <= bundle["expires"] + SKEW, "bundle_expired")
        require(knock["prekey_id"] == bundle["prekey_id"], "prekey_unknown", "signed prekey")
        self._refuse_own(knock["signing"], certificate["exchange"], knock["ek"])
        kem_name, one_name = (knock["kem_kind"], knock["kem_id"]), (knock["one_time_kind"], knock["one_time_id"])
        keys = {(LAST_RESORT_KEM, bundle["kem_id"]): (bundle["kem_key"], None), (NO_KEY, 0): (b"", None)}
        keys |= self.one_time
        require(kem_name in keys and one_name in keys, "prekey_unknown", "KEM or one-time key")
        (kem_key, _), (one_public, one_private) = keys[kem_name], keys[one_name]
        th0 = transcript(knock["clear"], bundle, *kem_name, kem_key, *one_name, one_public)
        require(th0 not in self.seen, "duplicate_or_expired", "knock seen before")
        dhs = [dh(prekey, certificate["exchange"]), dh(self.exchange_key, knock["ek"]), dh(prekey, knock["ek"])]
        dhs += [dh(one_private, knock["ek"])] if one_private else []
        rk, hk_a, nhk_b, sid = key_schedule(dhs, kem(*kem_name, knock["kem_ciphertext"]), th0)
        ratchet = Ratchet(self.rand, th0)
        ratchet.dhs, ratchet.rk, ratchet.nhks, ratchet.nhkr = prekey, rk, nhk_b, hk_a
        request = read_content(ratchet.open(knock["message_0"], now, MESSAGE_0))
        require(request["type"] == REQUEST, "malformed", "message 0 is no request")
        self.seen.add(th0)
        self.one_time.pop(kem_name, None)
        self.one_time.pop(one_name, None)
        return Session(ratchet, knock["bytes"], th0, sid, request, asked=False), knock, request
