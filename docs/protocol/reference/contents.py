"""The contents of ratchet messages, session.md §7: read_content and write_content, parts and the content hash."""

import re

from codec import (
    ADDRESSES, ID_16, MILLIS, PEER_IDS, RELAYS, SECONDS, U8, U32, U64,
    Blob, H, Layout, List, Raw, Rest, Text, Uint, lp, require,
)  # fmt: skip

MAX_BODY = 1_048_576
SLICE = 43_692
REQUEST, ACCEPT, REJECT, PENDING, MESSAGE, PART, RECEIPTS, SKIP, CLOSE, PATHS = (
    0x01, 0x02, 0x03, 0x04, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15)  # fmt: skip
LONGEST_DEADLINE = 72 * 3600 * 1000


def check_intent(intent):
    require(re.fullmatch(r"[a-z0-9._-]+(/[a-z0-9._-]+)*", intent), "malformed", "intent")


def check_file_name(name):
    require(not set(name) & set("/\\") and name not in (".", ".."), "malformed", "file name")


def check_not_zero(value):
    require(any(value), "malformed", "id of zeros")


INTENT = Text(128, check=check_intent)
SEQUENCE = Uint(8, 1)
LIMITS = Layout(("messages", U32), ("bytes", U64), ("ttl_s", U32))


def description_rule(d):
    require(0 < d["deadline"] - d["created"] <= LONGEST_DEADLINE, "malformed", "deadline")


DESCRIPTION = Layout(
    ("message_id", Raw(16, check_not_zero)),
    ("sequence", SEQUENCE),
    ("created", MILLIS),
    ("deadline", MILLIS),
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


def skip_rule(s):
    require(s["from"] <= s["to"], "malformed", "empty skip")


MESSAGE_RECEIPT = Layout(
    ("message_id", ID_16),
    ("state", Uint(1, 1, 5)),
    ("reason", Uint(1, 0, 6)),
    ("at", MILLIS),
    ("text", Text(200)),
    rule=receipt_rule,
)

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
        ("tier", Blob(2, 1_024)),
        ("invite", Blob(1, 64)),
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
        ("whole", Raw(32)),
        ("description", Sized(DESCRIPTION)),
        ("slice", Rest()),
        rule=part_rule,
    ),
    RECEIPTS: Layout(("envelopes", List(ID_16, 0xFFFF, 2)), ("messages", List(MESSAGE_RECEIPT, 0xFFFF, 2))),
    SKIP: Layout(("from", SEQUENCE), ("to", SEQUENCE), rule=skip_rule),
    CLOSE: Layout(("reason", Uint(1, 1, 5)), ("last_sequence", U64)),
    PATHS: Layout(("stamp", MILLIS), ("peer_ids", PEER_IDS), ("addresses", ADDRESSES), ("relays", RELAYS)),
}


def write_content(content):
    """The plaintext of a content, which is its fields and `type`; for what read_content gives."""
    if content["type"] not in CONTENTS:
        return bytes([content["type"]]) + content["rest"]
    return bytes([content["type"]]) + CONTENTS[content["type"]].write(content)


def read_content(plain):
    """The content; of a type we do not know only `type` and `rest`."""
    require(plain, "malformed", "no type")
    if plain[0] not in CONTENTS:
        return {"type": plain[0], "rest": plain[1:]}
    return {"type": plain[0], **CONTENTS[plain[0]].parse(plain[1:])}


def content_hash(description, body):
    """§9.2"""
    d = description
    return H(
        b"amesh/session/1 content\x00" + d["message_id"] + MILLIS.write(d["created"]) + MILLIS.write(d["deadline"])
        + lp(d["intent"].encode()) + lp(d["thread"].encode()) + d["reply_to"] + lp(d["content_type"].encode())
        + lp(d["file_name"].encode()) + lp(H(body))
    )  # fmt: skip


def split(description, body):
    """The contents a body travels in, §7.3."""
    require(len(body) <= MAX_BODY, "malformed", "body too long")
    if len(body) <= SLICE:
        return [{"type": MESSAGE, "description": description, "body": body}]
    slices = [body[at : at + SLICE] for at in range(0, len(body), SLICE)]
    return [
        {"type": PART, "index": i, "count": len(slices), "total": len(body), "whole": H(body),
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
    require(H(body) == first["whole"], "malformed", "parts do not fit their hash")
    return body
