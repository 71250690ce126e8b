"""Lets another program use session1: one JSON object a line on standard input, one answer a line on standard output.

A question is {"op": name, …}, an answer {"ok": …} or {"refused": code, "changed": whether the session or agent is
another than before}. Byte strings are hex. What the operations take stands in their arguments; agents and sessions
are kept here under names that the asker chooses. python3 driver.py < questions runs it; -B keeps the folder clean.
"""

import json
import random
import sys

import contents
import objects
import session1
from codec import Blob, Layout, List, Raw, Refused, Rest, require


def hexed(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: hexed(v) for name, v in value.items()}
    if isinstance(value, list):
        return [hexed(v) for v in value]
    return value


def unhexed(codec, value):
    """JSON of a value of the codec's as that value."""
    if isinstance(codec, (Raw, Blob, Rest)):
        return bytes.fromhex(value)
    if isinstance(codec, List):
        return [unhexed(codec.item, v) for v in value]
    if isinstance(codec, contents.Sized):
        return unhexed(codec.layout, value)
    if isinstance(codec, Layout):
        return {name: unhexed(c, value[name]) for name, c in codec.fields}
    return value


def content_of(value):
    if value["type"] not in contents.CONTENTS:
        return {"type": value["type"], "fields": bytes.fromhex(value["fields"])}
    return {"type": value["type"], **unhexed(contents.CONTENTS[value["type"]], value)}


def optional(value):
    return bytes.fromhex(value) if value else None


class Driver:
    """The operations: every method that has no underscore in front."""

    def __init__(self):
        self.rand = random.SystemRandom().randbytes
        self.agents, self.sessions = {}, {}

    def seed(self, seed):
        """From now on all randomness follows from the seed."""
        self.rand = random.Random(seed).randbytes

    def forget(self):
        """No agent and no session is left."""
        self.agents, self.sessions = {}, {}

    def agent(self, name, epoch, created, expires):
        agent = self.agents[name] = session1.Agent(self.rand, epoch, created, expires)
        return {"amid": agent.amid, "signing_key": agent.signing, "key_certificate": agent.certificate}

    def bundle(self, agent, kem_key, suites, **fields):
        return self.agents[agent].make_bundle(
            kem_key=bytes.fromhex(kem_key), suites=bytes.fromhex(suites), **fields
        )

    def one_time(self, agent, kem_key="", **fields):
        return self.agents[agent].make_one_time(kem_key=bytes.fromhex(kem_key), **fields)

    def record(self, agent, bundle, **fields):
        return self.agents[agent].make_record(bundle=bytes.fromhex(bundle), **fields)

    def renew(self, agent, to, knock_hash, bundle, code):
        to, knock_hash, bundle = bytes.fromhex(to), bytes.fromhex(knock_hash), bytes.fromhex(bundle)
        return self.agents[agent].make_renew(to, knock_hash, code, bundle)

    def mark(self, agent, **fields):
        return self.agents[agent].make_mark(**fields)

    def revocation(self, agent, issued, reason, successor=None):
        """successor is the name of an agent, or none."""
        return self.agents[agent].make_revocation(issued, reason, self.agents.get(successor))

    def ask(self, agent, session, bundle, one_time, kem_one_time, kem_key, kem_ciphertext, kem_secret, request,
            issued, expires):  # fmt: skip
        """A's side of a handshake; kem_… is what encapsulation to kem_key gave."""

        def kem(key):
            require(key == bytes.fromhex(kem_key), "kem_invalid", "encapsulated to another key")
            return bytes.fromhex(kem_ciphertext), bytes.fromhex(kem_secret)

        request = unhexed(contents.CONTENTS[contents.REQUEST], request)
        asked, knock = self.agents[agent].ask(
            bytes.fromhex(bundle), optional(one_time), optional(kem_one_time), kem, request, issued, expires
        )
        self.sessions[session] = asked
        return {"knock": knock, "hash": asked.knock_hash, "th0": asked.th0, "sid": asked.sid}

    def answer(self, agent, session, knock, kem_secret, now):
        """B's side; kem_secret is what the key that the knock names makes of its ciphertext."""
        answered, knock, request = self.agents[agent].answer(
            bytes.fromhex(knock), lambda *_: bytes.fromhex(kem_secret), now
        )
        self.sessions[session] = answered
        return {"request": request, "tail": knock["tail"], "hash": answered.knock_hash, "th0": answered.th0,
                "sid": answered.sid}  # fmt: skip

    def seal(self, session, content):
        sealed = self.sessions[session].seal(content_of(content))
        return {"envelope": sealed, "id": session1.envelope_id(sealed)}

    def seal_many(self, session, content, count):
        """As many envelopes of one content; only the last is given back."""
        for _ in range(count - 1):
            self.sessions[session].seal(content_of(content))
        return self.seal(session, content)

    def open(self, session, envelope, now):
        return self.sessions[session].open(bytes.fromhex(envelope), now)

    def facts(self, session):
        session = self.sessions[session]
        return {"hash": session.knock_hash, "th0": session.th0, "sid": session.sid}

    def accept(self, session):
        self.sessions[session].accepted = True

    def winner(self, a, b):
        won = session1.winner(self.sessions[a], self.sessions[b])
        return next((name for name in (a, b) if self.sessions[name] is won), None)

    def answers(self, request, accept):
        return contents.answers(content_of(request), content_of(accept))

    def sign_message(self, agent, session, description, body):
        description = unhexed(contents.DESCRIPTION, description)
        ad, key = self.sessions[session].ratchet.ad, self.agents[agent].signing_key
        return contents.sign_message(key, ad, description, bytes.fromhex(body))

    def check_message_signature(self, session, mode, signer, description, body_hash):
        description = unhexed(contents.DESCRIPTION, description)
        ad = self.sessions[session].ratchet.ad
        contents.check_message_signature(mode, bytes.fromhex(signer), ad, description, bytes.fromhex(body_hash))

    def split(self, description, body):
        return contents.split(unhexed(contents.DESCRIPTION, description), bytes.fromhex(body))

    def join(self, parts):
        return contents.join([content_of(part) for part in parts])

    def content_hash(self, description, body):
        return contents.content_hash(unhexed(contents.DESCRIPTION, description), bytes.fromhex(body))

    def read(self, what, data, signer="", server="", now=0):
        """The verified object; signer is the key of its owner where it has none in it, server is for a mark, now
        for a knock."""
        data = bytes.fromhex(data)
        if what == "certificate":
            return objects.read_certificate(data, bytes.fromhex(signer))
        if what == "one_time":
            return objects.read_one_time(data, bytes.fromhex(signer))
        if what == "mark":
            return objects.read_mark(data, bytes.fromhex(signer), server)
        if what == "knock":
            knock = session1.read_knock(data)
            session1.check_knock(knock, now)
            return knock
        return {"bundle": objects.read_bundle, "record": objects.read_record, "renew": session1.read_renew,
                "revocation": objects.read_revocation, "content": contents.read_content}[what](data)  # fmt: skip

    def _picture(self, question):
        """Everything that a refused operation must leave as it was."""
        picture = []
        if session := self.sessions.get(question.get("session")):
            ratchet = vars(session.ratchet)
            picture += [dict(ratchet, stored={hk: dict(keys) for hk, keys in ratchet["stored"].items()})]
        if agent := self.agents.get(question.get("agent")):
            picture += [dict(agent.bundles), dict(agent.one_time), set(agent.seen)]
        return picture

    def _run(self, op, **question):
        before = self._picture(question)
        try:
            return {"ok": hexed(getattr(self, op)(**question))}
        except Refused as refused:
            return {"refused": refused.code, "why": str(refused), "changed": self._picture(question) != before}

    def serve(self, lines, out):
        for line in lines:
            out.write(json.dumps(self._run(**json.loads(line))) + "\n")
            out.flush()


if __name__ == "__main__":
    Driver().serve(sys.stdin, sys.stdout)
