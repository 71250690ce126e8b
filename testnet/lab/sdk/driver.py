"""Lets a test use a 0.2 client in Python, as driver.mjs does one in JavaScript.

AMESH_SDK_PY names the folder of the SDK. Without it plain.py takes its place, which says the same with the same
WebSocket library. The SDK keeps its files in HOME.
"""

import asyncio
import base64
import dataclasses
import json
import os
import sys

folder = os.environ.get("AMESH_SDK_PY")
if folder:
    sys.path.insert(0, folder)
    from agentmesh.discovery import RegistryClient
    from agentmesh.identity import Identity
    from agentmesh.transport import RelayTransport
else:
    from plain import Identity, RegistryClient, RelayTransport

HANDLED = ("receive", "presence_response", "ice_offer", "ice_answer", "p2_p_established", "pong", "error",
           "pending_messages")


def say(thing):
    print(json.dumps(thing, default=plainly), flush=True)


def plainly(thing):
    return dataclasses.asdict(thing) if dataclasses.is_dataclass(thing) else thing.isoformat()


class Driver:
    def __init__(self):
        self.me = self.link = self.client = self.directory = None

    async def identity(self):
        self.me = Identity.generate()
        return {"amid": self.me.amid, "key": self.me.signing_public_key_b64_raw}

    async def claim(self, amid):
        self.me.amid = amid

    async def transport(self, url, delay):
        self.link = RelayTransport(self.me, url)  # which never comes back by itself: delay is for others
        for kind in HANDLED:
            self.link.on_message(kind, self.handled)

    async def handled(self, data):
        say({"handled": data})

    async def connect(self):
        return await self.link.connect()

    async def state(self):
        link = self.link
        return {"connected": link.is_connected, "session": link._session_id, "pending": link._pending_messages}

    async def send(self, to, payload, kind, candidates=None):
        return await self.link.send(to, payload, kind, candidates)

    async def presence(self, status):
        return await self.link.update_presence(status)

    async def query(self, amid):
        await self.link.query_presence(amid)

    async def disconnect(self):
        await self.link.disconnect()

    async def raw(self, text):
        await self.link._ws.send(text)

    async def ping(self):
        """One WebSocket ping, as the library sends by itself every 30 s."""
        await asyncio.wait_for(await self.link._ws.ping(), 10)

    async def closed(self):
        await asyncio.wait_for(self.link._ws.wait_closed(), 10)
        return self.link._ws.close_code

    # The client of a registry: every call that it has, by its name.

    async def registry(self, url):
        self.directory = RegistryClient(url)

    async def ask(self, call, args, signed=False):
        return await getattr(self.directory, call)(*([self.me] if signed else []), *args)

    async def signature(self, text):
        return base64.b64encode(self.me.sign(base64.b64decode(text))).decode()

    # The SDK's high-level client, on the identity in HOME.

    async def open_client(self, relay, registry):
        from agentmesh import AgentMeshClient
        from agentmesh.config import Config

        self.client = AgentMeshClient()
        self.client.transport.relay_url = relay
        self.client.registry.__init__(registry)
        self.client.transport.on_message("receive", self.received)
        registered = await self.client.registry.register(self.client.identity)
        return {"amid": self.client.amid, "registered": registered["success"],
                "connected": await self.client.connect()}

    async def received(self, data):
        say({"handled": data})
        await self.client._handle_receive(data)

    async def client_send(self, to, intent, timeout):
        """A knock and, once it is accepted, a message. Nobody can answer that: the SDK's receiver makes no keys."""
        return await self.client.send(to, intent, {"n": 1}, timeout=timeout)

    async def close_client(self):
        await self.client.disconnect()


async def main():
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question = json.loads(line)
        number, op = question.pop("id"), question.pop("op")
        try:
            say({"id": number, "ok": await getattr(driver, op)(**question)})
        except Exception as error:  # whatever it is, the test decides
            say({"id": number, "failed": repr(error)})
    sys.stdout.flush()
    os._exit(0)  # without the library's ten seconds of saying goodbye


asyncio.run(main())
