"""A 0.2 client that sends what the Python SDK sends, with its timestamps: for machines that have Debian's
python3-websockets and python3-nacl and not the SDK."""

import asyncio
import base64
import hashlib
import json
from datetime import datetime, timezone

import websockets
from nacl.signing import SigningKey

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def base58(raw):
    n, out = int.from_bytes(raw, "big"), ""
    while n:
        n, digit = divmod(n, 58)
        out = ALPHABET[digit] + out
    return ALPHABET[0] * (len(raw) - len(raw.lstrip(b"\0"))) + out


class Identity:
    @classmethod
    def generate(cls):
        me = cls()
        me.key = SigningKey.generate()
        public = bytes(me.key.verify_key)
        me.amid = base58(hashlib.sha256(public).digest()[:20])
        me.signing_public_key_b64_raw = base64.b64encode(public).decode()
        return me

    def stamp(self):
        stamp = datetime.now(timezone.utc).isoformat()
        return {"timestamp": stamp, "signature": base64.b64encode(self.key.sign(stamp.encode()).signature).decode()}


class RelayTransport:
    def __init__(self, me, url):
        self.me, self.url = me, url
        self.is_connected, self._session_id, self._pending_messages = False, None, 0
        self.handlers, self.reader = {}, None

    async def connect(self):
        self._ws = await websockets.connect(self.url, ping_interval=30, ping_timeout=10)
        await self.say({"type": "connect", "protocol": "agentmesh/0.2", "amid": self.me.amid,
                        "public_key": self.me.signing_public_key_b64_raw, **self.me.stamp(), "p2p_capable": True})
        first = json.loads(await asyncio.wait_for(self._ws.recv(), 10))
        if first["type"] != "connected":
            await self._ws.close()
            return False
        self.is_connected = True
        self._session_id, self._pending_messages = first["session_id"], first["pending_messages"]
        self.reader = asyncio.create_task(self.read())
        return True

    async def read(self):
        try:
            async for text in self._ws:
                frame = json.loads(text)
                if handler := self.handlers.get(frame["type"]):
                    await handler(frame)
        except websockets.ConnectionClosed:
            pass
        self.is_connected = False

    async def say(self, frame):
        await self._ws.send(json.dumps(frame))
        return True

    def on_message(self, kind, handler):
        self.handlers[kind] = handler

    async def send(self, to, payload, kind, candidates):
        frame = {"type": "send", "to": to, "encrypted_payload": payload, "message_type": kind}
        return await self.say(frame | ({"ice_candidates": candidates} if candidates else {}))

    async def update_presence(self, status):
        return await self.say({"type": "presence", "status": status})

    async def query_presence(self, amid):
        await self.say({"type": "presence_query", "amid": amid})

    async def disconnect(self):
        self.is_connected = False
        await self.say({"type": "disconnect", "reason": "client_disconnect"})
        await self._ws.close()
