"""A 0.2 client that sends what the Python SDK sends, with its timestamps: for machines that have Debian's
python3-websockets and python3-nacl and not the SDK."""

import asyncio
import base64
import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone

import websockets
from nacl.public import PrivateKey
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
        me.exchange = base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()
        return me

    def sign(self, message):
        return self.key.sign(message).signature

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


class RegistryClient:
    def __init__(self, url):
        self.url = url

    async def call(self, path, body=None):
        return await asyncio.to_thread(self.fetch, path, body)

    def fetch(self, path, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    async def done(self, path, body):
        status, _ = await self.call(path, body)
        return status == 200

    async def found(self, path, **query):
        status, data = await self.call(path + ("?" + urllib.parse.urlencode(query) if query else ""))
        return data if status == 200 else None

    async def register(self, me, display_name=None, capabilities=None, relay_endpoint=None):
        status, data = await self.call("/registry/register", {
            "amid": me.amid, "signing_public_key": "ed25519:" + me.signing_public_key_b64_raw,
            "exchange_public_key": "x25519:" + me.exchange, "display_name": display_name, "capabilities": capabilities or [],
            "relay_endpoint": relay_endpoint, "direct_endpoint": None, "verification_token": None, **me.stamp()})
        if status == 409:
            return {"success": True, "already_registered": True, **data}
        return {**data, "success": status == 201}

    async def lookup(self, amid):
        return await self.found("/registry/lookup", amid=amid)

    async def search(self, capability):
        data = await self.found("/registry/search", capability=capability, limit=20, offset=0)
        return data["results"], data["total"]

    async def update_status(self, me, status):
        return await self.done("/registry/status", {"amid": me.amid, "status": status, **me.stamp()})

    async def update_capabilities(self, me, capabilities):
        return await self.done("/registry/capabilities", {"amid": me.amid, "capabilities": capabilities, **me.stamp()})

    async def upload_prekeys(self, me, key, signature, number, one_time):
        return await self.done("/registry/prekeys", {
            "amid": me.amid, "signed_prekey": key, "signed_prekey_signature": signature, "signed_prekey_id": number,
            "one_time_prekeys": one_time, **me.stamp()})

    async def get_prekeys(self, amid):
        return await self.found("/registry/prekeys/" + amid)

    async def get_oauth_providers(self):
        return (await self.found("/auth/oauth/providers"))["providers"]

    async def start_oauth_verification(self, me, provider):
        status, data = await self.call("/auth/oauth/authorize", {"amid": me.amid, "provider": provider, **me.stamp()})
        return data if status == 200 else None

    async def get_verification_status(self, amid):
        agent = await self.lookup(amid)
        return agent and {"amid": amid, "tier": agent["tier"], "is_verified": agent["tier"] != "anonymous"}

    async def check_revocation(self, amid):
        return await self.found("/registry/revocation", amid=amid)

    async def bulk_check_revocation(self, amids):
        return (await self.call("/registry/revocations/bulk", {"amids": amids}))[1]

    async def health_check(self):
        return await self.found("/health")

    async def submit_reputation(self, me, target, session, score, tags=None):
        return await self.done("/registry/reputation", {
            "target_amid": target, "from_amid": me.amid, "session_id": session, "score": score, "tags": tags, **me.stamp()})

    async def revoke_agent(self, me, target, reason="admin_request", notes=None):
        status, data = await self.call("/registry/revoke", {
            "amid": target, "reason": reason, "notes": notes, "revoker_amid": me.amid, **me.stamp()})
        return data if status == 200 else {"success": False, "error": data.get("error")}
