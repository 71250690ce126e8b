"""The contents of ratchet messages, session.md §7: read_content and write_content, parts and the content hash."""

import re

from codec import (
    ADDRESSES, ID_16, MILLIS, PEER_IDS, RELAYS, SECONDS, U8, U32, U64,
    Blob, H, Layout, List, Raw, Rest, Text, Uint, lp, require,
)  # fmt: skip
from keys import sign, verify

MAX_BODY = 1_048_576
SLICE = 43_692
MAX_PLAINTEXT = 45_052
REQUEST, ACCEPT, REJECT, PENDING, MESSAGE, PART, RECEIPTS, SKIP, CLOSE, PATHS = (
    0x01, 0x02, 0x03, 0x04, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15)  # fmt: skip
ICE_OFFER, ICE_ANSWER, REVOCATION, ECHO, ECHO_REPLY = 0x16, 0x17, 0x18, 0x19, 0x1A
PRIVATE, ACCOUNTABLE = 1, 2  # modes, §7.1
LONGEST_DEADLINE = 72 * 3600 * 1000


def check_intent(intent):
    require(re.fullmatch(r"[a-z0-9._-]+(/[a-z0-9._-]+)*", intent), "malformed", "intent")


def check_file_name(name):
    require(not set(name) & set("/\\") and name not in (".", ".."), "malformed", "file name")


def check_ice_chars(value):
    require(re.fullmatch(r"[a-zA-Z0-9+/]*", value), "malformed", "not an ice-char")


def check_not_zero(value):
    require(any(value), "malformed", "id of zeros")


INTENT = Text(128, check=check_intent)
SEQUENCE = Uint(8, 1)
LIMITS = Layout(("messages", U32), ("bytes", U64), ("ttl_s", U32))


def description_rule(d):
    require(0 < d["deadline_ms"] - d["created_ms"] <= LONGEST_DEADLINE, "malformed", "deadline")


DESCRIPTION = Layout(
    ("message_id", Raw(16, check_not_zero)),
    ("sequence", SEQUENCE),
    ("created_ms", MILLIS),
    ("deadline_ms", MILLIS),
    ("intent", INTENT),
    ("thread", Text(64)),
    ("reply_to", ID_16),
    ("content_type", Text(128)),
    ("file_name", Text(255, check=check_file_name)),
    ("signature", Blob(1, 64, sizes=(0, 64))),
    rule=description_rule,
)


class Sized:
    """A layout behind its length in two bytes."""

    def __init__(self, layout):
        self.layout = layout

    def read(self, r):
        return self.layout.parse(Blob(2, 0xFFFF).read(r))

    def write(self, value):
        return lp(self.layout.write(value), 2)


def message_rule(m):
    require(len(m["body"]) <= SLICE, "malformed", "body too long for one message")


def part_rule(p):
    require(p["count"] == -(-p["total"] // SLICE) and p["index"] < p["count"], "malformed", "index or count")
    size = SLICE if p["index"] < p["count"] - 1 else p["total"] - SLICE * (p["count"] - 1)
    require(len(p["slice"]) == size, "malformed", "length of a slice")


def receipt_rule(m):
    require((m["reason"] == 0) == (m["state"] <= 3), "malformed", "state and reason")


def revocation_rule(r):
    """objects.read_revocation verifies the statement."""
    require(len(r["statement"]) in (128, 224), "malformed", "length of a revocation")


def answer_rule(a):
    """A yes has what an offer has, a no has nothing of it; NO_ICE is the one layout in which all may be empty."""
    described = {name: a[name] for name, _ in ICE}
    if a["code"] == 0:
        Layout(*ICE).write(described)
    else:
        require(not any(described.values()), "malformed", "a no with a description")


def skip_rule(s):
    require(s["from"] <= s["to"], "malformed", "empty skip")


MESSAGE_RECEIPT = Layout(
    ("message_id", ID_16),
    ("state", Uint(1, 1, 5)),
    ("reason", Uint(1, 0, 8)),
    ("at_ms", MILLIS),
    ("text", Text(200)),
    rule=receipt_rule,
)

ICE = (
    ("peer_id", Text(255, 1)),
    ("ufrag", Text(64, 4, check=check_ice_chars)),
    ("password", Text(64, 22, check=check_ice_chars)),
    ("candidates", List(Text(200, 1), 16)),
)
NO_ICE = (("peer_id", Text(255)), ("ufrag", Text(64)), ("password", Text(64)), ("candidates", List(Text(200, 1), 16)))

CONTENTS = {
    REQUEST: Layout(
        ("nonce", Raw(32)),
        ("intent", INTENT),
        ("session_type", Uint(1, 1, 3)),
        ("mode", Uint(1, 1, 2)),
        ("limits", LIMITS),
        ("features", U32),
        ("prev", Raw(32)),
        ("first_seq", SEQUENCE),
        ("resume", List(ID_16, 16)),
        ("tier_certificate", Blob(2, 1_024)),
        ("invite_secret", Blob(1, 64)),
    ),
    ACCEPT: Layout(
        ("knock_hash", Raw(32)),
        ("session_type", Uint(1, 1, 3)),
        ("mode", Uint(1, 1, 2)),
        ("limits", LIMITS),
        ("features", U32),
        ("first_seq", SEQUENCE),
        ("grant_expires", SECONDS),
        ("intents", List(INTENT, 255)),
    ),
    REJECT: Layout(("knock_hash", Raw(32)), ("code", Uint(1, 1, 3)), ("retry_after_s", U32)),
    PENDING: Layout(("knock_hash", Raw(32)), ("until", SECONDS)),
    MESSAGE: Layout(("description", Sized(DESCRIPTION)), ("body", Rest()), rule=message_rule),
    PART: Layout(
        ("index", U8),
        ("count", Uint(1, 2, 24)),
        ("total", Uint(4, most=MAX_BODY)),
        ("body_hash", Raw(32)),
        ("description", Sized(DESCRIPTION)),
        ("slice", Rest()),
        rule=part_rule,
    ),
    RECEIPTS: Layout(("envelopes", List(ID_16, 0xFFFF, 2)), ("messages", List(MESSAGE_RECEIPT, 0xFFFF, 2))),
    SKIP: Layout(("from", SEQUENCE), ("to", SEQUENCE), rule=skip_rule),
    CLOSE: Layout(("reason", Uint(1, 1, 5)), ("last_sequence", U64)),
    PATHS: Layout(("stamp_ms", MILLIS), ("peer_ids", PEER_IDS), ("addresses", ADDRESSES), ("relays", RELAYS)),
    ICE_OFFER: Layout(("attempt", ID_16), ("stamp_ms", MILLIS), *ICE),
    ICE_ANSWER: Layout(("attempt", ID_16), ("stamp_ms", MILLIS), ("code", Uint(1, 0, 5)), *NO_ICE, rule=answer_rule),
    REVOCATION: Layout(("statement", Rest()), rule=revocation_rule),
    ECHO: Layout(("nonce", Raw(16))),
    ECHO_REPLY: Layout(("nonce", Raw(16))),
}


def write_content(content):
    """The plaintext of a content, which is its fields and `type`; for what read_content gives."""
    if content["type"] not in CONTENTS:
        return bytes([content["type"]]) + content["fields"]
    return bytes([content["type"]]) + CONTENTS[content["type"]].write(content)


def read_content(plain):
    """The content; of a type we do not know only `type` and `fields`."""
    require(0 < len(plain) <= MAX_PLAINTEXT, "malformed", "no type, or longer than any plaintext")
    if plain[0] not in CONTENTS:
        return {"type": plain[0], "fields": plain[1:]}
    return {"type": plain[0], **CONTENTS[plain[0]].parse(plain[1:])}


def content_hash(description, body):
    """§9.2"""
    return content_hash_of(description, H(body))


def content_hash_of(description, body_hash):
    d = description
    return H(
        b"amesh/session/1 content\x00" + d["message_id"] + MILLIS.write(d["created_ms"])
        + MILLIS.write(d["deadline_ms"])
        + lp(d["intent"].encode()) + lp(d["thread"].encode()) + d["reply_to"] + lp(d["content_type"].encode())
        + lp(d["file_name"].encode()) + lp(body_hash)
    )  # fmt: skip


def answers(request, accept):
    """Whether an accept is an answer to the request at all, §7.2."""
    wanted, given = request["limits"], accept["limits"]
    return (
        accept["session_type"] == request["session_type"]
        and accept["mode"] == request["mode"]
        and all(wanted[name] == 0 or 0 < given[name] <= wanted[name] for name in wanted)
    )


def signed_words(ad, description, hash):
    """What the signature of a message in accountable mode is over, §9.5."""
    return ad + SEQUENCE.write(description["sequence"]) + hash


def sign_message(key, ad, description, body):
    """The description with the sender's signature in it."""
    words = signed_words(ad, description, content_hash(description, body))
    return {**description, "signature": sign(key, b"message", words)[len(words) :]}


def check_message_signature(mode, public, ad, description, body_hash):
    """Whether a message or part may be taken in a session of this mode; body_hash is of the whole body."""
    if mode == PRIVATE:
        require(not description["signature"], "signature_invalid", "signature in a private session")
        return
    require(description["signature"], "signature_invalid", "no signature")
    words = signed_words(ad, description, content_hash_of(description, body_hash))
    verify(public, b"message", words + description["signature"])


def split(description, body):
    """The contents a body travels in, §7.3."""
    require(len(body) <= MAX_BODY, "malformed", "body too long")
    if len(body) <= SLICE:
        return [{"type": MESSAGE, "description": description, "body": body}]
    slices = [body[at : at + SLICE] for at in range(0, len(body), SLICE)]
    return [
        {"type": PART, "index": i, "count": len(slices), "total": len(body), "body_hash": H(body),
         "description": description, "slice": piece}
        for i, piece in enumerate(slices)
    ]  # fmt: skip


def join(parts):
    """The body of parts in any order."""
    parts = sorted(parts, key=lambda p: p["index"])
    first = {k: v for k, v in parts[0].items() if k not in ("index", "slice")}
    same = all({k: v for k, v in p.items() if k not in ("index", "slice")} == first for p in parts)
    require(same and [p["index"] for p in parts] == list(range(first["count"])), "malformed", "parts")
    body = b"".join(p["slice"] for p in parts)
    require(H(body) == first["body_hash"], "malformed", "parts do not fit their hash")
    return body
