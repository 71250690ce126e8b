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
    const exchange = Buffer.from(generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' }).x, 'base64url');
    return Object.assign(new Identity(), {
      privateKey, amid, signingPublicKeyB64Raw: raw.toString('base64'), exchange: exchange.toString('base64'),
    });
  }

  sign(message) { return sign(null, message, this.privateKey); }

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

export class RegistryClient {
  constructor(url) { this.url = url; }

  async call(path, body) {
    const options = body ? { method: 'POST', body: JSON.stringify(body) } : {};
    const answer = await fetch(this.url + path, { ...options, headers: { 'Content-Type': 'application/json' } });
    return { status: answer.status, data: await answer.json() };
  }

  async done(path, body) { return (await this.call(path, body)).status === 200; }

  async found(path) {
    const { status, data } = await this.call(path);
    return status === 200 ? data : null;
  }

  async register(me, { displayName, capabilities = [], relayEndpoint }) {
    const { status, data } = await this.call('/registry/register', {
      amid: me.amid, signing_public_key: 'ed25519:' + me.signingPublicKeyB64Raw, exchange_public_key: 'x25519:' + me.exchange,
      display_name: displayName, capabilities, relay_endpoint: relayEndpoint, ...me.stamp(),
    });
    if (status === 409) return { success: true, alreadyRegistered: true, ...data };
    return { ...data, success: status === 201 };
  }

  async lookup(amid) {
    const data = await this.found('/registry/lookup?amid=' + amid);
    return data && info(data);
  }

  async search({ capability, limit = 20 }) {
    const data = await this.found(`/registry/search?capability=${encodeURIComponent(capability)}&limit=${limit}&offset=0`);
    return { results: data.results.map(info), total: data.total };
  }

  updateStatus(me, status) { return this.done('/registry/status', { amid: me.amid, status, ...me.stamp() }); }

  updateCapabilities(me, capabilities) {
    return this.done('/registry/capabilities', { amid: me.amid, capabilities, ...me.stamp() });
  }

  uploadPrekeys(me, signed_prekey, signed_prekey_signature, signed_prekey_id, one_time_prekeys) {
    return this.done('/registry/prekeys', {
      amid: me.amid, signed_prekey, signed_prekey_signature, signed_prekey_id, one_time_prekeys, ...me.stamp(),
    });
  }

  async getPrekeys(amid) {
    const data = await this.found('/registry/prekeys/' + amid);
    return data && {
      identityKey: data.identity_key, signedPrekey: data.signed_prekey, signedPrekeySignature: data.signed_prekey_signature,
      signedPrekeyId: data.signed_prekey_id, oneTimePrekeys: data.one_time_prekeys ?? [],
    };
  }

  async getOAuthProviders() { return (await this.found('/auth/oauth/providers')).providers; }

  async startOAuthVerification(me, provider) {
    const { status, data } = await this.call('/auth/oauth/authorize', { amid: me.amid, provider, ...me.stamp() });
    return status === 200 ? { authorizationUrl: data.authorization_url, state: data.state } : null;
  }

  async getVerificationStatus(amid) {
    const tier = (await this.lookup(amid))?.tier;
    return tier ? { tier, isVerified: tier !== 'anonymous' } : null;
  }

  checkRevocation(amid) { return this.found('/registry/revocation?amid=' + amid); }

  async bulkCheckRevocation(amids) { return (await this.call('/registry/revocations/bulk', { amids })).data.revocations; }

  healthCheck() { return this.found('/health'); }

  submitReputation(me, target_amid, session_id, score, tags) {
    return this.done('/registry/reputation', { target_amid, from_amid: me.amid, session_id, score, tags, ...me.stamp() });
  }
}

const info = (data) => ({
  amid: data.amid, tier: data.tier, displayName: data.display_name, signingPublicKey: data.signing_public_key,
  exchangePublicKey: data.exchange_public_key, capabilities: data.capabilities, relayEndpoint: data.relay_endpoint,
  status: data.status, reputationScore: data.reputation_score, lastSeen: new Date(data.last_seen),
});
