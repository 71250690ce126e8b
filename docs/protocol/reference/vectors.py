"""Holds session1 to the known answers in ../vectors: python3 -B vectors.py [FILE…], all files when none is named.

Their README says what stands in them. Prints what is not as the file says, and how many vectors were looked at.
"""

import json
import pathlib
import sys

import contents
import keys
import objects
import session1
from codec import H, Refused, u32

STATE = ("DHs", "RK", "CKs", "CKr", "HKs", "HKr", "NHKs", "NHKr", "Ns", "Nr", "PN", "DHr")
START = ("A_before_sealing_message_0", "B_before_opening_it", "B_after_opening_it", "A_after_the_first_opened_reply")


def unhex(text):
    return None if text is None else bytes.fromhex(text)


def with_zeros(v, name):
    return unhex(v[name]) + bytes(v.get("then_zeros", 0))


def shown(value):
    """A value as the files write it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: shown(v) for name, v in value.items()}
    return [shown(v) for v in value] if isinstance(value, list) else value


def says(got, want, where=""):
    """Complains unless every field that is wanted is there; numbers of 64 bits are written in digits."""
    if isinstance(want, dict) and {"hash", "length"} <= set(want):  # bytes that are too long to write
        got, want = unhex(got), (unhex(want["hash"]), want["length"])
        got = (H(got), len(got))
    elif isinstance(want, dict):
        for name in want:
            says(got[name], want[name], f"{where} {name}")
        return
    elif isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
        for i, (g, w) in enumerate(zip(got, want)):
            says(g, w, f"{where} {i}")
        return
    if got != want and not (isinstance(got, int) and str(got) == want):
        raise AssertionError(f"{where}: got {got!r}, want {want!r}")


class Exactly:
    """The bytes that a vector names as randomness, and no others."""

    def __init__(self, *parts):
        self.left = b"".join(unhex(part) for part in parts if part)

    def __call__(self, size):
        taken, self.left = self.left[:size], self.left[size:]
        if len(taken) < size:
            raise AssertionError("more randomness was asked for than there is")
        return taken


# ---------------------------------------------------------------- one object a vector


def amids(v):
    key = keys.signing_key(unhex(v["signing_seed"]))
    says(shown(keys.signing_public(key)), v["signing_key"])
    says(shown(keys.amid(keys.signing_public(key))), v["amid"])


def signing_keys(v):
    session1.require(len(unhex(v["encoded"])) == 32, "key_invalid", "length")
    keys.check_ed25519(unhex(v["encoded"]))


def objects_read_by(read):
    def check(v):
        more = [unhex(v["signer"])] if "signer" in v else []
        says(shown(read(unhex(v["encoded"]), *more)), v.get("fields", {}))

    return check


def check_contents(v):
    encoded = with_zeros(v, "encoded")
    content = contents.read_content(encoded)
    says(shown(content), v.get("fields"))
    says(shown(contents.write_content(content)), shown(encoded), "written again")


def content_hashes(v):
    # JSON's numbers and hex as contents has them, by way of a layout that knows which is which.
    d = {name: int(x) if name == "sequence" else x for name, x in v["description"].items()}
    d |= {name: unhex(d[name]) for name in ("message_id", "reply_to", "signature")}
    says(shown(contents.content_hash_of(d, unhex(v["body"]["hash"]))), v["content_hash"])


def envelopes(v):
    data = with_zeros(v, "envelope")
    says(shown(session1.envelope_id(data)), v["envelope_id"])
    says(session1.envelope_type(data), v.get("type"))


def padding(v):
    plain = bytes(v["plaintext_length"])
    if v["padded_length"] == 0:  # too long for any
        says(too_long(plain), True)
        return
    padded = session1.pad(plain)
    says(len(padded), v["padded_length"])
    says(session1.unpad(padded) == plain, True)


def too_long(plain):
    try:
        session1.pad(plain)
    except Refused:
        return True
    return False


def paddings_refused(v):
    session1.unpad(with_zeros(v, "padded"))


# ---------------------------------------------------------------- the ratchet


def ratchet_of(state, ad):
    ratchet = session1.Ratchet(None, ad)
    for name in STATE:
        setattr(ratchet, name.lower(), state[name] if isinstance(state[name], int) else unhex(state[name]))
    return ratchet


def chains(ratchet):
    for hk, stored in ratchet.stored.items():
        raw = b"".join(u32(n) + since.to_bytes(8, "big") + key for n, (key, since) in sorted(stored.items()))
        yield {"HK": hk.hex(), "count": len(stored), "hash": H(raw).hex()}


def named(ratchet):
    return {name: shown(getattr(ratchet, name.lower())) for name in STATE}


def is_state(ratchet, want, where):
    says(named(ratchet) | {"skipped": list(chains(ratchet))}, want, where)


def messages(v):
    ratchet = session1.Ratchet(Exactly(v["nonces"]), unhex(v["AD"]))
    ratchet.hks, ratchet.cks, ratchet.dhs = unhex(v["HKs"]), unhex(v["CKs"]), unhex(v["DHs"])
    ratchet.pn, ratchet.ns = v["PN"], v["N"]
    says(shown(session1.kdf_chain(ratchet.cks)[0]), v["message_key"], "message key")
    sealed = ratchet.seal(with_zeros(v, "plaintext"), v["type"])
    eh, body = sealed[6 : 6 + session1.EH], sealed[6 + session1.EH :]
    says(shown(keys.aead_open(ratchet.hks, sealed[:6], eh)), v["header"], "header")
    says(shown(eh), v["EH"], "EH")
    says(len(body) - 40, v["padded_length"], "padded length")
    says(shown(H(sealed)), v["envelope_hash"], "envelope")
    says(shown(session1.envelope_id(sealed)), v["envelope_id"], "envelope id")
    says(shown(ratchet.cks), v["CKs_after"], "chain key")


def sessions(v):
    ratchets = {by: ratchet_of(state, unhex(v["AD"])) for by, state in v["start"].items()}
    for i, step in enumerate(v["steps"]):
        ratchet = ratchets[step["by"]]
        where = f"step {i}"
        if step["op"] == "seal":
            says(ratchet.ns, step["N"], where)
            ratchet.rand = Exactly(step["nonces"])
            sealed = ratchet.seal(unhex(step["plaintext"]))
            says(shown(sealed), step["envelope"], where)
            says(shown(session1.envelope_id(sealed)), step["envelope_id"], where)
        elif step["op"] == "lose":
            ratchet.rand = bytes
            for _ in range(step["count"]):
                ratchet.seal(b"")
        else:
            want = {"plaintext": step.get("plaintext"), "error": step.get("error")}
            says(open_step(ratchet, v["steps"], step), want, where)
    for by, state in v["end"].items():
        is_state(ratchets[by], state, f"end of {by}")


def open_step(ratchet, steps, step):
    envelope = step["envelope"] if "envelope" in step else steps[step["of_step"]]["envelope"]
    # A forged message can make a ratchet key too before it is refused; then any will do.
    ratchet.rand = Exactly(step["ratchet_key"]) if "ratchet_key" in step else bytes
    try:
        return {"plaintext": shown(ratchet.open(unhex(envelope), step["at"])), "error": None}
    except Refused as refused:
        return {"plaintext": None, "error": refused.code}


# ---------------------------------------------------------------- the handshake


def side_a(v):
    a = session1.Agent(Exactly(v["a_signing_seed"], v["a_exchange_private"]), v["epoch"], 0, 1)
    a.certificate = unhex(v["a_key_certificate"])
    return a


def side_b(v, one_time_id):
    """B with the keys of a handshake, the one-time X25519 key under the id that a knock names."""
    b = session1.Agent(Exactly(v["b_signing_seed"], v["b_exchange_private"]), 0, 0, 1)
    bundle = objects.read_bundle(unhex(v["b_bundle"]))
    b.bundles[bundle["bundle_id"]] = (bundle, unhex(v["b_signed_prekey_private"]))
    if v["kem_kind"] == objects.ONE_TIME_KEM:
        b.one_time[objects.ONE_TIME_KEM, v["kem_id"]] = (unhex(v["kem_key"]), None)
    if private := unhex(v["b_one_time_private"]):
        b.one_time[objects.ONE_TIME_X25519, one_time_id] = (keys.x25519_public(private), private)
    return b


def handshakes(v):
    a, b = side_a(v), side_b(v, v["one_time_id"])
    agreed = agree(v, a, b)
    request = contents.read_content(unhex(v["request"]))
    one_time = kem_one_time = None
    if v["one_time_kind"]:
        one_time = one_time_of(b, v, objects.ONE_TIME_X25519, v["one_time_id"])
    if v["kem_kind"] == objects.ONE_TIME_KEM:
        kem_one_time = one_time_of(b, v, objects.ONE_TIME_KEM, v["kem_id"])
    a.rand = Exactly(v["EK_private"], v["Ra_private"], v["message_0_nonces"])
    kem = (unhex(v["kem_ciphertext"]), unhex(v["SS"]))
    asker, knock = a.ask(
        unhex(v["b_bundle"]), one_time, kem_one_time, lambda _: kem, request, v["issued"], v["expires"]
    )
    is_asked(v, asker, knock, agreed)
    envelope = knock
    if v["tail_plaintext"] is not None:
        asker.ratchet.rand = Exactly(v["tail_nonces"])
        envelope += asker.ratchet.seal(unhex(v["tail_plaintext"]))
    says(shown(envelope), v["envelope"], "envelope")
    says(shown(session1.envelope_id(envelope)), v["envelope_id"], "envelope id")
    b.rand = Exactly(v["Rb_private"])
    answerer, read, _ = b.answer(envelope, lambda *_: unhex(v["SS"]), v["issued"])
    is_state(answerer.ratchet, v[START[2]], START[2])
    if read["tail"]:
        says(shown(answerer.ratchet.open(read["tail"], v["issued"])), v["tail_plaintext"], "tail")
    answerer.ratchet.rand = Exactly(v["answer_nonces"])
    answer = answerer.ratchet.seal(unhex(v["answer"]))
    says(shown(answer), v["answer_envelope"], "answer")
    asker.ratchet.rand = Exactly(v["Ra_prime_private"])
    says(shown(asker.ratchet.open(answer, v["issued"])), v["answer"], "answer")
    is_state(asker.ratchet, v[START[3]], START[3])


def is_asked(v, asker, knock, agreed):
    says(shown(knock), v["knock"], "knock")
    says(shown(asker.knock_hash), v["knock_hash"], "knock hash")
    says(shown(asker.sid), v["sid"], "sid")
    says(shown(asker.ratchet.ad), v["AD"], "AD")
    is_state(agreed["A"], v[START[0]], START[0])
    is_state(agreed["B"], v[START[1]], START[1])


def one_time_of(b, v, kind, id):
    """B's signed one-time key; the knock does not show its times."""
    public, _ = b.one_time[kind, id]
    epoch = objects.read_bundle(unhex(v["b_bundle"]))["epoch"]
    value = {"version": 1, "amid": b.amid, "epoch": epoch, "kind": kind, "id": id, "created": v["issued"],
             "expires": v["expires"], "public_key": public}  # fmt: skip
    return objects.write_signed(objects.ONE_TIME, b.signing_key, b"one-time key", value)


def agree(v, a, b):
    """The key schedule, and both ratchets as they begin."""
    bundle, prekey = b.bundles[unhex(v["bundle_id"])]
    ek, clear = unhex(v["EK_private"]), unhex(v["clear"])
    one_public, one_private = b.one_time.get((v["one_time_kind"], v["one_time_id"]), (b"", None))
    names = v["kem_kind"], v["kem_id"], unhex(v["kem_key"]), v["one_time_kind"], v["one_time_id"], one_public
    th0 = session1.transcript(clear, bundle, *names)
    says(shown(th0), v["th0"], "th0")
    spk = bundle["signed_prekey"]
    dhs = [keys.dh(a.exchange_key, spk), keys.dh(ek, b.exchange), keys.dh(ek, spk)]
    dhs += [keys.dh(ek, one_public)] if one_private else []
    for i, secret in enumerate(dhs):
        says(shown(secret), v[f"DH{i + 1}"], f"DH{i + 1}")
    for got, name in zip(session1.key_schedule(dhs, unhex(v["SS"]), th0), ("RK", "HK_A", "NHK_B", "sid")):
        says(shown(got), v[name], name)
    rk, hk_a, nhk_b = (unhex(v[name]) for name in ("RK", "HK_A", "NHK_B"))
    return {
        "A": session1.start_asker(Exactly(v["Ra_private"]), th0, rk, hk_a, nhk_b, spk),
        "B": session1.start_answerer(None, th0, rk, hk_a, nhk_b, prekey),
    }


def knocks_refused(v):
    handshake = next(h for h in vectors_of("handshakes.json") if h["name"] == v["handshake"])
    envelope = unhex(v["envelope"]) or b""
    # A vector hands B its keys whatever the ids that the knock names.
    b = side_b(handshake, int.from_bytes(envelope[1349:1353], "big"))
    b.rand = bytes
    same = unhex(handshake["kem_ciphertext"]) == envelope[251:1339]
    b.answer(envelope, lambda *_: unhex(handshake["SS"]) if same else bytes(32), v["now"])


FILES = {
    "amids.json": amids,
    "signing_keys.json": signing_keys,
    "certificates.json": objects_read_by(objects.read_certificate),
    "bundles.json": objects_read_by(objects.read_bundle),
    "one_time_keys.json": objects_read_by(objects.read_one_time),
    "records.json": objects_read_by(objects.read_record),
    "envelopes.json": envelopes,
    "padding.json": padding,
    "paddings_refused.json": paddings_refused,
    "handshakes.json": handshakes,
    "knocks_refused.json": knocks_refused,
    "messages.json": messages,
    "sessions.json": sessions,
    "contents.json": check_contents,
    "content_hashes.json": content_hashes,
}
# Of a gateway, and not of a session: the verifiers in amtp-webhooks.md read it.
NOT_OURS = {"webhooks.json"}
FOLDER = pathlib.Path(__file__).parent.parent / "vectors"


def vectors_of(name):
    file = json.loads((FOLDER / name).read_text())
    if file.get("version_byte", session1.WIRE_VERSION) != session1.WIRE_VERSION:
        raise SystemExit(f"{name} is of another version")
    return file["vectors"]


def wrong(check, v):
    """What is not as the vector says, "" if all is."""
    try:
        check(v)
        code = None
    except Refused as refused:
        code = refused.code
    except AssertionError as error:
        return str(error)
    return "" if code == v.get("error") else f"got {code}, want {v.get('error')}"


def main(names):
    count = failed = 0
    for name in names or sorted({path.name for path in FOLDER.glob("*.json")} - NOT_OURS):
        for v in vectors_of(name):
            count += 1
            if why := wrong(FILES[name], v):
                failed += 1
                print(f"{name}: {v.get('name', '')}: {why:.300}")
    print(f"{count} vectors, {failed} of them wrong")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
