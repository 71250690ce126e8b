"""The session protocol of ../session.md a second time, written from that text alone.

It is there to be read beside the text and to be run against the node (driver.py); it guards no secrets and
has no store, no clock and no network. Section numbers are those of session.md. Needs Debian's
python3-cryptography and python3-nacl. ML-KEM is in neither: who calls hands its results in.

Objects are dictionaries whose keys are the field names; byte strings are bytes, text is str. Whatever is not
right raises Refused with a code of §13.
"""

import copy
import hmac

from codec import SECONDS, U32, Blob, H, Layout, Raw, Reader, Refused, Uint, lp, require, u32
from contents import REQUEST, read_content, write_content
from keys import (
    NONCE, TAG, aead_open, aead_seal, amid, check_x25519, dh, hkdf, sign, signing_key, signing_public, verify,
    x25519_public,
)  # fmt: skip
from objects import (
    BUNDLE, CERTIFICATE, DAY, LAST_RESORT_KEM, MARK, NO_KEY, ONE_TIME, ONE_TIME_KEM, ONE_TIME_X25519, RECORD, SKEW,
    SUITE, check_owner, lives, read_bundle, read_certificate, read_one_time, require_valid, write_revocation,
    write_signed,
)  # fmt: skip

WIRE_VERSION = 1  # the only place that knows it
MAGIC = b"\xa3msh"

KNOCK, RATCHET, MESSAGE_0, RENEW = 1, 2, 3, 4  # envelope types, §4.1

MAX_ENVELOPE = 45_184
MAX_KNOCK = 4_096
MAX_SKIP = 1_000
MAX_STORED = 2_000
MAX_STORED_CHAINS = 64
STORED_LIFE = 7 * DAY
EH = 82


# ---------------------------------------------------------------- §4 envelopes


def prefix(kind):
    return MAGIC + bytes([WIRE_VERSION, kind])


def envelope_type(data):
    """The type of an envelope as it arrives, §4.1."""
    require(data[:4] == MAGIC, "legacy")
    require(len(data) >= 6, "malformed", "shorter than its prefix")
    require(len(data) <= MAX_ENVELOPE, "malformed", "envelope too long")
    require(data[4] == WIRE_VERSION and data[5] in (KNOCK, RATCHET, MESSAGE_0, RENEW), "unsupported")
    require(data[5] != MESSAGE_0, "malformed", "message 0 outside a knock")
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

HEADER = Layout(("ratchet_key", Raw(32)), ("pn", U32), ("n", U32), ("extension", Uint(2, 0, 0)))


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
            key = self._take(chain, n, now)
        padded = aead_open(key, self.ad + prefix(kind) + sealed_header, body)
        require(padded is not None, "decrypt_failed", "body")
        plain = unpad(padded)
        self._tidy(now)
        return plain

    def _open_header(self, sealed, ad):
        """(the header key of a chain we have, or "next" for NHKr; the header)"""
        known = [hk for hk in self.stored if hk != self.hkr]
        for name, key in [*((hk, hk) for hk in known), (self.hkr, self.hkr), ("next", self.nhkr)]:
            if key is not None and (raw := aead_open(key, ad, sealed)) is not None:
                return name, raw
        raise Refused("decrypt_failed", "header")

    def _step(self, ratchet_key):
        check_x25519(ratchet_key)
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

    def _take(self, chain, n, now):
        key, since = self.stored.get(chain, {}).get(n, (None, 0))
        require(key is not None and now - since <= STORED_LIFE, "duplicate_or_expired")
        del self.stored[chain][n]
        return key

    def _tidy(self, now):
        """Forgets what is too old or too much; the oldest keys of the oldest chain go first."""
        chains = [
            (hk, [(n, key) for n, key in keys.items() if now - key[1] <= STORED_LIFE])
            for hk, keys in self.stored.items()
        ]
        chains = [(hk, keys) for hk, keys in chains if keys][-MAX_STORED_CHAINS:]
        too_many, self.stored = sum(len(keys) for _, keys in chains) - MAX_STORED, {}
        for hk, keys in chains:
            if too_many < len(keys):
                self.stored[hk] = dict(keys[max(too_many, 0) :])
            too_many -= len(keys)


# ---------------------------------------------------------------- §5 the handshake

CLEAR = Layout(
    ("prefix", Raw(6)),
    ("suite", Uint(1, SUITE, SUITE)),
    ("epoch", U32),
    ("from", Raw(20)),
    ("to", Raw(20)),
    ("signing_key", Raw(32)),
    ("key_certificate", Raw(136)),
    ("ek", Raw(32)),
    ("kem_ciphertext", Raw(1088)),
    ("signed_prekey_id", U32),
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

    Syntax only; check_knock and Agent.answer do the rest, which looks at EK and message 0 too.
    """
    require(envelope_type(data) == KNOCK, "malformed", "not a knock")
    r = Reader(data)
    knock = CLEAR.read(r)
    none = knock["one_time_kind"] == NO_KEY and knock["one_time_id"] == 0
    require(none or knock["one_time_kind"] == ONE_TIME_X25519, "malformed", "kind of one-time key")
    require(knock["from"] != knock["to"], "malformed", "a knock at oneself")
    knock["message_0"] = Blob(2, MAX_KNOCK).read(r)
    r.take(64)
    require(r.at <= MAX_KNOCK, "malformed", "knock too long")
    knock["clear"], knock["bytes"], knock["tail"] = data[:CLEAR_SIZE], data[: r.at], data[r.at :]
    knock["hash"] = H(knock["bytes"])
    if knock["tail"]:
        check_message(knock["tail"], RATCHET)
    return knock


def refuse_own(peers, own):
    require(not set(peers) & set(own), "key_invalid", "a key of our own")


def check_knock(knock, now):
    """Times, signature, AMID and certificate; gives A's certificate."""
    require(knock["issued"] - SKEW <= now <= knock["expires"] + SKEW, "knock_expired")
    check_owner({"amid": knock["from"], "signing_key": knock["signing_key"]})
    verify(knock["signing_key"], b"knock", knock["bytes"])
    certificate = read_certificate(knock["key_certificate"], knock["signing_key"])
    require(certificate["epoch"] == knock["epoch"], "key_mismatch", "epoch of a knock's certificate")
    require_valid(certificate, knock["issued"])
    return certificate


RENEW_LAYOUT = Layout(
    ("prefix", Raw(6)),
    ("from", Raw(20)),
    ("to", Raw(20)),
    ("knock_hash", Raw(32)),
    ("code", Uint(1, 1, 4)),
    ("bundle", Blob(2, 0xFFFF)),
    ("signature", Raw(64)),
)


def read_renew(data):
    """A renew with its bundle verified, §8.5. That it is for a knock of ours is the caller's."""
    require(envelope_type(data) == RENEW, "malformed", "not a renew")
    renew = RENEW_LAYOUT.parse(data)
    bundle = read_bundle(renew["bundle"])
    require(bundle["amid"] == renew["from"], "key_mismatch", "renew with the bundle of another")
    verify(bundle["signing_key"], b"renew", data)
    return renew


def transcript(clear, bundle, kem_kind, kem_id, kem_key, one_time_kind, one_time_id, one_time_key):
    """th0, §5.3"""
    return H(
        b"amesh/session/1 transcript\x00" + lp(clear) + lp(bundle["signing_key"]) + lp(bundle["exchange_key"])
        + lp(bundle["bundle_id"]) + b"\x01" + u32(bundle["signed_prekey_id"]) + lp(bundle["signed_prekey"])
        + bytes([kem_kind]) + u32(kem_id) + lp(kem_key)
        + bytes([one_time_kind]) + u32(one_time_id) + lp(one_time_key)
    )  # fmt: skip


def key_schedule(dhs, secret, th0):
    """(RK, HK_A, NHK_B, sid), §5.4"""
    ikm = b"\xff" * 32 + b"".join(dhs) + secret
    out = hkdf(bytes(32), ikm, b"amesh/session/1 handshake\x00" + th0, 112)
    return out[:32], out[32:64], out[64:96], out[96:]


def start_asker(rand, th0, rk, hk_a, nhk_b, peer_prekey):
    """A before it seals message 0, §5.5."""
    ratchet = Ratchet(rand, th0)
    ratchet.dhs, ratchet.dhr = rand(32), peer_prekey
    ratchet.rk, ratchet.cks, ratchet.nhks = kdf_root(rk, dh(ratchet.dhs, ratchet.dhr))
    ratchet.hks, ratchet.nhkr = hk_a, nhk_b
    return ratchet


def start_answerer(rand, th0, rk, hk_a, nhk_b, prekey):
    """B before it opens message 0, §5.5."""
    ratchet = Ratchet(rand, th0)
    ratchet.dhs, ratchet.rk, ratchet.nhks, ratchet.nhkr = prekey, rk, nhk_b, hk_a
    return ratchet


def usable_one_time(data, kind, bundle, at):
    """(kind, id, public key) of a one-time key that goes with a bundle."""
    key = read_one_time(data, bundle["signing_key"])
    require(key["epoch"] == bundle["epoch"] and key["kind"] == kind, "key_mismatch", "epoch or kind of one-time key")
    require_valid(key, at)
    return key["kind"], key["id"], key["public_key"]


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
    a_names_b, b_names_a = a.request["prev"] == b.knock_hash, b.request["prev"] == a.knock_hash
    if a_names_b != b_names_a:
        return a if a_names_b else b
    return min(a, b, key=lambda s: s.knock_hash)


class Agent:
    """An identity with its bundles and one-time keys. rand(n) gives random bytes."""

    def __init__(self, rand, epoch, created, expires):
        self.rand, self.epoch = rand, epoch
        self.signing_key = signing_key(rand(32))
        self.signing = signing_public(self.signing_key)
        self.amid = amid(self.signing)
        self.exchange_key = rand(32)
        self.exchange = x25519_public(self.exchange_key)
        value = {"amid": self.amid, "exchange_key": self.exchange, "epoch": epoch,
                 "created": created, "expires": expires}  # fmt: skip
        self.certificate = write_signed(CERTIFICATE, self.signing_key, b"key certificate", value)
        self.bundles = {}  # id: (bundle, signed prekey's private part)
        self.one_time = {}  # (kind, id): (public, private; None for ML-KEM)
        self.seen = set()  # th0 of every knock that was opened

    def make_bundle(self, suites=b"\x02", features=0, **fields):
        """fields are the others of BUNDLE that are not the agent's own."""
        prekey = self.rand(32)
        data = write_signed(BUNDLE, self.signing_key, b"bundle", {
            "version": 1, "amid": self.amid, "signing_key": self.signing, "epoch": self.epoch,
            "key_certificate": self.certificate, "signed_prekey": x25519_public(prekey), "suites": suites,
            "features": features, **fields})  # fmt: skip
        bundle = read_bundle(data)
        self.bundles[bundle["bundle_id"]] = (bundle, prekey)
        return data

    def make_one_time(self, kind, id, created, expires, kem_key=None):
        private = self.rand(32) if kind == ONE_TIME_X25519 else None
        public = x25519_public(private) if private else kem_key
        self.one_time[kind, id] = (public, private)
        return write_signed(ONE_TIME, self.signing_key, b"one-time key", {
            "version": 1, "amid": self.amid, "epoch": self.epoch, "kind": kind, "id": id, "created": created,
            "expires": expires, "public_key": public})  # fmt: skip

    def make_record(self, **fields):
        """fields are those of RECORD that are not the agent's own."""
        own = {"version": 1, "amid": self.amid, "signing_key": self.signing}
        return write_signed(RECORD, self.signing_key, b"agent record", {**own, **fields})

    def make_renew(self, to, knock_hash, code, bundle):
        return write_signed(RENEW_LAYOUT, self.signing_key, b"renew", {
            "prefix": prefix(RENEW), "from": self.amid, "to": to, "knock_hash": knock_hash, "code": code,
            "bundle": bundle})  # fmt: skip

    def make_mark(self, server, reserved):
        return write_signed(MARK, self.signing_key, b"rollback mark", {
            "version": 1, "server": server, "amid": self.amid, "epoch": self.epoch,
            "reserved": reserved})  # fmt: skip

    def make_revocation(self, issued, reason, successor=None):
        """successor is the agent that follows, or None."""
        value = {"amid": self.amid, "signing_key": self.signing, "issued": issued, "reason": reason}
        return write_revocation(self.signing_key, value, successor and successor.signing_key)

    def ask(self, bundle_data, one_time, kem_one_time, kem, request, issued, expires):
        """(session, knock without tail): A's side of the handshake.

        one_time and kem_one_time are signed one-time keys or None; kem(public key) gives (ciphertext,
        shared secret).
        """
        bundle = read_bundle(bundle_data)
        require_valid(bundle, issued)
        require_valid(bundle["key_certificate"], issued)
        kem_kind, kem_id, kem_key = LAST_RESORT_KEM, bundle["kem_key_id"], bundle["kem_key"]
        if kem_one_time:
            kem_kind, kem_id, kem_key = usable_one_time(kem_one_time, ONE_TIME_KEM, bundle, issued)
        one_kind, one_id, one_key = NO_KEY, 0, b""
        if one_time:
            one_kind, one_id, one_key = usable_one_time(one_time, ONE_TIME_X25519, bundle, issued)
        peers = [bundle["signing_key"], bundle["exchange_key"], bundle["signed_prekey"], one_key]
        refuse_own(peers, [self.signing, self.exchange])
        ek, (ciphertext, secret) = self.rand(32), kem(kem_key)
        clear = CLEAR.write({
            "prefix": prefix(KNOCK), "suite": SUITE, "epoch": self.epoch, "from": self.amid, "to": bundle["amid"],
            "signing_key": self.signing, "key_certificate": self.certificate, "ek": x25519_public(ek),
            "kem_ciphertext": ciphertext, "signed_prekey_id": bundle["signed_prekey_id"], "kem_kind": kem_kind,
            "kem_id": kem_id, "one_time_kind": one_kind, "one_time_id": one_id, "bundle_id": bundle["bundle_id"],
            "issued": issued, "expires": expires})  # fmt: skip
        th0 = transcript(clear, bundle, kem_kind, kem_id, kem_key, one_kind, one_id, one_key)
        prekey = bundle["signed_prekey"]
        dhs = [dh(self.exchange_key, prekey), dh(ek, bundle["exchange_key"]), dh(ek, prekey)]
        dhs += [dh(ek, one_key)] if one_time else []
        rk, hk_a, nhk_b, sid = key_schedule(dhs, secret, th0)
        ratchet = start_asker(self.rand, th0, rk, hk_a, nhk_b, prekey)
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
        require(knock["signed_prekey_id"] == bundle["signed_prekey_id"], "prekey_unknown", "signed prekey")
        kem_name, one_name = (knock["kem_kind"], knock["kem_id"]), (knock["one_time_kind"], knock["one_time_id"])
        keys = {(LAST_RESORT_KEM, bundle["kem_key_id"]): (bundle["kem_key"], None), (NO_KEY, 0): (b"", None)}
        keys |= self.one_time
        require(kem_name in keys and one_name in keys, "prekey_unknown", "KEM or one-time key")
        check_x25519(knock["ek"])
        (kem_key, _), (one_public, one_private) = keys[kem_name], keys[one_name]
        refuse_own([certificate["exchange_key"], knock["ek"]], [self.exchange, bundle["signed_prekey"], one_public])
        th0 = transcript(knock["clear"], bundle, *kem_name, kem_key, *one_name, one_public)
        require(th0 not in self.seen, "duplicate_or_expired", "knock seen before")
        dhs = [dh(prekey, certificate["exchange_key"]), dh(self.exchange_key, knock["ek"]), dh(prekey, knock["ek"])]
        dhs += [dh(one_private, knock["ek"])] if one_private else []
        rk, hk_a, nhk_b, sid = key_schedule(dhs, kem(*kem_name, knock["kem_ciphertext"]), th0)
        ratchet = start_answerer(self.rand, th0, rk, hk_a, nhk_b, prekey)
        request = read_content(ratchet.open(knock["message_0"], now, MESSAGE_0))
        require(request["type"] == REQUEST, "malformed", "message 0 is no request")
        self.seen.add(th0)
        self.one_time.pop(kem_name, None)
        self.one_time.pop(one_name, None)
        return Session(ratchet, knock["bytes"], th0, sid, request, asked=False), knock, request
