// A 0.2 client that sends what the JavaScript SDK sends, with its timestamps and
// its way of ending: for machines that have Node.js and not the SDK.

import { createHash, generateKeyPairSync, sign } from 'node:crypto';

const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

function base58(raw) {
  let n = BigInt('0x' + raw.toString('hex'));
  let out = '';
  for (; n > 0n; n /= 58n) out = alphabet[Number(n % 58n)] + out;
  for (const b of raw) {
    if (b !== 0) break;
    out = alphabet[0] + out;
  }
  return out;
}

export class Identity {
  static generate() {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x, 'base64url');
    const amid = base58(createHash('sha256').update(raw).digest().subarray(0, 20));
    return Object.assign(new Identity(), { privateKey, amid, signingPublicKeyB64Raw: raw.toString('base64') });
  }

  stamp() {
    const timestamp = new Date().toISOString();
    return { timestamp, signature: sign(null, Buffer.from(timestamp), this.privateKey).toString('base64') };
  }
}

export class RelayTransport {
  handlers = new Map();
  isConnected = false;
  currentSessionId = null;
  pendingMessageCount = 0;

  constructor(identity, { relayUrl, reconnectBaseDelay }) {
    Object.assign(this, { identity, url: relayUrl, delay: reconnectBaseDelay });
  }

  connect() {
    return new Promise((resolve) => {
      this.ws = new WebSocket(this.url);
      this.ws.addEventListener('open', () => this.say({
        type: 'connect', protocol: 'agentmesh/0.2', amid: this.identity.amid,
        public_key: this.identity.signingPublicKeyB64Raw, ...this.identity.stamp(), p2p_capable: false,
      }));
      this.ws.addEventListener('message', (event) => this.take(JSON.parse(event.data), resolve));
      this.ws.addEventListener('close', () => {
        const again = this.isConnected;
        this.isConnected = false;
        resolve(false);
        if (again) setTimeout(() => this.connect(), this.delay);
      });
    });
  }

  take(frame, resolve) {
    if (frame.type === 'connected') {
      this.isConnected = true;
      this.currentSessionId = frame.session_id;
      this.pendingMessageCount = frame.pending_messages;
      if (frame.pending_messages > 0) this.say({ type: 'get_pending_messages' });
      resolve(true);
    } else if (frame.type === 'error') {
      this.isConnected = false;
      resolve(false);
    } else {
      this.handlers.get(frame.type)?.(frame);
    }
  }

  say(frame) {
    this.ws.send(JSON.stringify(frame));
    return true;
  }

  onMessage(type, handler) { this.handlers.set(type, handler); }

  send(to, encrypted_payload, message_type, ice_candidates) {
    if (!this.isConnected) throw new Error('not connected');
    return this.say({ type: 'send', to, encrypted_payload, message_type, ice_candidates });
  }

  sendOptimistic(to, knock_payload, message_payload, message_type) {
    return this.say({ type: 'knock_with_message', to, knock_payload, message_payload, message_type });
  }

  updatePresence(status) { return this.say({ type: 'presence', status }); }
  queryPresence(amid) { this.say({ type: 'presence_query', amid }); }
  processPendingMessages() { return { processed: 0, failed: 0 }; }

  disconnect() {
    this.isConnected = false;
    this.say({ type: 'disconnect', reason: 'client_disconnect' });
    this.ws.close();
  }
}
