"""What an agent signs and publishes, session.md §2.3 to §2.8: layouts, and reading with every check but the time."""

from codec import (
    ADDRESSES, PEER_IDS, RELAYS, SECONDS, U32, U64, Blob, H, Layout, Raw, Text, Uint, require,
)  # fmt: skip
from keys import amid, check_ed25519, check_mlkem768, check_x25519, sign, signing_public, verify

NO_KEY, SIGNED_PREKEY, LAST_RESORT_KEM, ONE_TIME_KEM, ONE_TIME_X25519 = 0, 1, 2, 3, 4  # key kinds, §5.2
SUITE = 2
DAY = 24 * 3600
SKEW = 600
MAX_RECORD = 8_192


def lives(created, most=None):
    """The rule for objects with `created` (or `issued`) and expires, at most `most` seconds later."""

    def rule(value):
        require(value["expires"] > value[created], "malformed", "expires before it begins")
        require(most is None or value["expires"] <= value[created] + most, "malformed", "lives too long")

    return rule


CERTIFICATE = Layout(
    ("amid", Raw(20)),
    ("exchange_key", Raw(32)),
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
    ("signing_key", Raw(32)),
    ("epoch", U32),
    ("sequence", U64),
    ("created", SECONDS),
    ("expires", SECONDS),
    ("key_certificate", Raw(136)),
    ("signed_prekey_id", U32),
    ("signed_prekey", Raw(32)),
    ("kem_key_id", U32),
    ("kem_key", Raw(1184)),
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
    ("public_key", Blob(2, 1184)),
    ("signature", Raw(64)),
    rule=lives("created", 30 * DAY),
)

RECORD = Layout(
    ("version", Uint(1, 1, 1)),
    ("amid", Raw(20)),
    ("signing_key", Raw(32)),
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


MARK = Layout(
    ("version", Uint(1, 1, 1)),
    ("server", Text(255)),
    ("amid", Raw(20)),
    ("epoch", U32),
    ("reserved", U64),
    ("signature", Raw(64)),
)


def revocation_rule(revocation):
    consented = len(revocation["consent"]) > 0
    require(consented == (len(revocation["successor"]) > 0), "malformed", "successor without consent or the reverse")
    require(revocation["successor"] != revocation["signing_key"], "malformed", "a key that succeeds itself")


REVOCATION = Layout(
    ("version", Uint(1, 1, 1)),
    ("amid", Raw(20)),
    ("signing_key", Raw(32)),
    ("issued", SECONDS),
    ("reason", Uint(1, 1, 3)),
    ("successor", Blob(1, 32, sizes=(0, 32))),
    ("signature", Raw(64)),
    ("consent", Blob(1, 64, sizes=(0, 64))),
    rule=revocation_rule,
)


def write_signed(layout, key, tag, value):
    """The object's bytes with a fresh signature."""
    return sign(key, tag, layout.write({**value, "signature": bytes(64)})[:-64])


def check_owner(thing):
    check_ed25519(thing["signing_key"])
    require(amid(thing["signing_key"]) == thing["amid"], "key_mismatch", "AMID and signing key")


def require_valid(thing, at):
    """For a certificate, bundle or one-time key that is used at a time."""
    require(thing["created"] - SKEW <= at <= thing["expires"], "bundle_expired")


def read_certificate(data, signing_key):
    """A certificate of the agent with this key. Its times and epoch are the caller's."""
    certificate = CERTIFICATE.parse(data)
    check_ed25519(signing_key)
    require(certificate["amid"] == amid(signing_key), "key_mismatch", "certificate of another agent")
    verify(signing_key, b"key certificate", data)
    check_x25519(certificate["exchange_key"])
    return certificate


def read_bundle(data):
    """The verified bundle with `bundle_id` and `exchange_key` added and its certificate read."""
    bundle = BUNDLE.parse(data)
    check_owner(bundle)
    verify(bundle["signing_key"], b"bundle", data)
    certificate = read_certificate(bundle["key_certificate"], bundle["signing_key"])
    require(certificate["epoch"] == bundle["epoch"], "key_mismatch", "epoch of a bundle's certificate")
    check_x25519(bundle["signed_prekey"])
    check_mlkem768(bundle["kem_key"])
    added = {"bundle_id": H(data[:-64]), "exchange_key": certificate["exchange_key"], "key_certificate": certificate}
    return {**bundle, **added}


def read_one_time(data, signing_key):
    """A one-time key of the agent with this key. Its times and epoch are the caller's."""
    key = ONE_TIME.parse(data)
    check_ed25519(signing_key)
    require(key["amid"] == amid(signing_key), "key_mismatch", "one-time key of another agent")
    verify(signing_key, b"one-time key", data)
    if key["kind"] == ONE_TIME_X25519:
        require(len(key["public_key"]) == 32, "malformed", "length of a one-time key")
        check_x25519(key["public_key"])
    else:
        check_mlkem768(key["public_key"])
    return key


def read_record(data):
    require(len(data) <= MAX_RECORD, "malformed", "record too long")
    record = RECORD.parse(data)
    check_owner(record)
    verify(record["signing_key"], b"agent record", data)
    bundle = read_bundle(record["bundle"])
    require(bundle["signing_key"] == record["signing_key"], "key_mismatch", "record's bundle")
    return record


def read_mark(data, signing_key, server):
    """The agent's own rollback mark for a server, §2.7."""
    mark = MARK.parse(data)
    require(mark["amid"] == amid(signing_key) and mark["server"] == server, "key_mismatch", "mark of another")
    verify(signing_key, b"rollback mark", data)
    return mark


def write_revocation(key, value, successor=None):
    """A revocation by its signing key, with the successor's consent if there is one; value are the other fields."""
    public = signing_public(successor) if successor else b""
    value = {"version": 1, "signature": bytes(64), "consent": b"", **value, "successor": public}
    body = b"".join(codec.write(value[name]) for name, codec in REVOCATION.fields[:-2])
    consent = sign(successor, b"successor", body)[len(body) :] if successor else b""
    return sign(key, b"revocation", body) + Blob(1, 64).write(consent)


def read_revocation(data):
    revocation = REVOCATION.parse(data)
    check_owner(revocation)
    body = data[: len(data) - 64 - 1 - len(revocation["consent"])]
    verify(revocation["signing_key"], b"revocation", body + revocation["signature"])
    if revocation["successor"]:
        check_ed25519(revocation["successor"])
        verify(revocation["successor"], b"successor", body + revocation["consent"])
    return revocation


def counts(a, b):
    """Which of two verified revocations of a key counts, §2.8."""
    return min(a, b, key=lambda data: (REVOCATION.parse(data)["issued"], data))
