// Lets a test use a 0.2 client in JavaScript: one JSON object a line on standard
// input, one a line on standard output. A question is {"id", "op", ...}; its answer
// {"id", "ok"} or {"id", "failed"}. Between answers come {"frame"} for every frame
// as it came off the socket, {"handled"} for what a handler of the client was given,
// and {"closed"} with the code with which a socket ended.
//
// AMESH_SDK_JS names the folder of the SDK, built. Without it plain.mjs takes its
// place, which says the same on the same WebSocket.

import readline from 'node:readline';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

// Answers have standard output to themselves: the SDK talks on the console.
console.log = console.error;
const say = (object) => process.stdout.write(JSON.stringify(object) + '\n');

// The socket that was opened last, whoever holds it.
let socket;

globalThis.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    socket = this;
    this.addEventListener('message', (event) => say({ frame: JSON.parse(event.data) }));
    this.addEventListener('close', (event) => say({ closed: event.code }));
  }
};

const folder = process.env.AMESH_SDK_JS;
const sdk = await import(folder ? pathToFileURL(path.join(folder, 'dist/index.js')).href : './plain.mjs');

const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
const text = (raw) => Buffer.from(raw).toString('base64');

let identity, transport, sessions, prekeys, client, directory;

const handled = ['receive', 'presence_response', 'ice_offer', 'ice_answer', 'p2_p_established', 'pong'];

const operations = {
  async identity() {
    identity = await sdk.Identity.generate();
    return { amid: identity.amid, key: identity.signingPublicKeyB64Raw };
  },
  claim({ amid }) { identity.amid = amid; },
  transport({ url, delay }) {
    transport = new sdk.RelayTransport(identity, { relayUrl: url, reconnectBaseDelay: delay });
    for (const type of handled) transport.onMessage(type, (data) => say({ handled: data }));
  },
  connect: () => transport.connect(),
  state: () => ({ connected: transport.isConnected, session: transport.currentSessionId, pending: transport.pendingMessageCount }),
  send: ({ to, payload, kind, candidates }) => transport.send(to, payload, kind, candidates),
  optimistic: ({ to, knock, payload, kind }) => transport.sendOptimistic(to, knock, payload, kind),
  presence: ({ status }) => transport.updatePresence(status),
  query: ({ amid }) => transport.queryPresence(amid),
  pull: () => transport.processPendingMessages(async () => true),
  disconnect: () => transport.disconnect(),
  raw({ text }) { socket.send(text); },
  cut() { socket.close(); },

  // The client of a registry: every call that it has, by its name.
  registry({ url }) { directory = new sdk.RegistryClient(url); },
  ask: ({ call, args, signed }) => directory[call](...(signed ? [identity] : []), ...args),
  signature: async ({ text }) => Buffer.from(await identity.sign(Buffer.from(text, 'base64'))).toString('base64'),

  // The low-level classes of the SDK, as an application would use them.
  async prekeys() {
    const storage = new sdk.MemoryStorage();
    prekeys = new sdk.PrekeyManager(identity, storage);
    sessions = new sdk.SessionManager(identity, storage, prekeys);
    return sdk.serializePrekeyBundle(await prekeys.loadOrInitialize());
  },
  async initiate({ amid, bundle, key }) {
    const made = await sessions.initiateSession(amid, sdk.deserializePrekeyBundle(bundle), bytes(key));
    return { session: made.sessionId, x3dh: sdk.serializeX3DHMessage(made.x3dhMessage) };
  },
  async accept({ amid, x3dh }) {
    const session = await sessions.acceptSession(amid, sdk.deserializeX3DHMessage(x3dh));
    return { session, ratchet: text(sessions.getRatchetPublicKey(session)) };
  },
  activate: ({ session, ratchet }) => sessions.activateSession(session, bytes(ratchet)),
  encrypt: ({ session, message }) => sessions.encryptMessage(session, message),
  decrypt: ({ session, envelope }) => sessions.decryptMessage(session, envelope),

  // The high-level client.
  async openClient({ relay, registry }) {
    client = sdk.AgentMeshClient.fromIdentity(identity, { relayUrl: relay, registryUrl: registry });
    await client.connect({ capabilities: ['chat'] });
    return client.isConnected;
  },
  clientSend: ({ to, message }) => client.send(to, message, { unencrypted: true }),
  clientKill: ({ to }) => client.killSession(to),
  closeClient: () => client.disconnect(),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, op, ...args } = JSON.parse(line);
  try {
    say({ id, ok: (await operations[op](args)) ?? null });
  } catch (error) {
    say({ id, failed: String(error) });
  }
}
process.exit(0);
