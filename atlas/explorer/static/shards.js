/* Shards: JSON documents, fetched when first looked at and forgotten when long unused.
 *
 * A key such as "tile/0/2/1/3" names one. The three homes differ only in how a shard arrives: the server answers
 * fetch() at data/<token>/<key>.json, a static site loads the script data/<key>.js (file:// allows no fetch), which
 * calls AtlasData.put, and a notebook carries its shards inside the page or asks its kernel. */

const PARALLEL_REQUESTS = 6;
const STALE_MS = 1500; // a waiting request that nobody repeated for so long is dropped
const BYTES_KEPT = 160e6;
const RETRIES = 2;

class Shards {
  constructor({ home, asks, token, inline, changed }) {
    Object.assign(this, { home, asks, token, inline, changed });
    this.loaded = new Map(); // key -> {value, bytes}, least recently used first
    this.waiting = new Map(); // key -> time of the last get()
    this.flying = new Set();
    this.failures = new Map();
    this.bytes = 0;
    if (home === "site") {
      window.AtlasData = { put: (key, value) => this._arrived(key, value, 200_000) };
    }
  }

  /** The shard's value, or undefined while it is on its way (changed() is called when it arrives), or null: never. */
  get(key) {
    const known = this.loaded.get(key);
    if (known !== undefined) {
      this.loaded.delete(key);
      this.loaded.set(key, known);
      return known.value;
    }
    if (this.inline[key] !== undefined) {
      this._keep(key, this.inline[key], 0);
      return this.inline[key];
    }
    if (this.home === "notebook" && !this.asks) return null;
    if ((this.failures.get(key) ?? 0) > RETRIES) return null;
    this.waiting.set(key, performance.now());
    this._pump();
    return undefined;
  }

  /** A promise of the shard's value, null when it will never come. */
  async wait(key) {
    for (;;) {
      const value = this.get(key);
      if (value !== undefined) return value;
      await new Promise((done) => setTimeout(done, 30));
    }
  }

  get loading() {
    return this.flying.size > 0 || this.waiting.size > 0;
  }

  _pump() {
    const now = performance.now();
    for (const [key, asked] of this.waiting) {
      if (now - asked > STALE_MS) this.waiting.delete(key);
    }
    const newestFirst = [...this.waiting].sort((a, b) => b[1] - a[1]);
    for (const [key] of newestFirst) {
      if (this.flying.size >= PARALLEL_REQUESTS) return;
      if (this.flying.has(key)) continue;
      this.flying.add(key);
      if (this.asks) this._fetch(key);
      else this._script(key);
    }
  }

  async _fetch(key) {
    try {
      const answer = await askHome(`data/${this.token}/${key}.json`);
      if (!answer.ok) throw new Error(`${answer.status} for ${key}`);
      const text = await answer.text();
      this._arrived(key, JSON.parse(text), text.length);
    } catch {
      this._failed(key);
    }
  }

  _script(key) {
    const script = document.createElement("script");
    script.src = `data/${key}.js`;
    script.onload = () => script.remove();
    script.onerror = () => {
      script.remove();
      this._failed(key);
    };
    document.head.append(script);
  }

  _arrived(key, value, bytes) {
    this._keep(key, value, bytes);
    this._landed(key);
  }

  _failed(key) {
    this.failures.set(key, (this.failures.get(key) ?? 0) + 1);
    this._landed(key);
  }

  _landed(key) {
    this.flying.delete(key);
    this.waiting.delete(key);
    this.changed(key);
    this._pump();
  }

  _keep(key, value, bytes) {
    this.loaded.set(key, { value, bytes });
    this.bytes += bytes;
    for (const [old, entry] of this.loaded) {
      if (this.bytes <= BYTES_KEPT || old === key) break;
      this.loaded.delete(old);
      this.bytes -= entry.bytes;
    }
  }
}

/** Numbers packed by the explorer's Python side: base64 of a little-endian array. */
function unpack(text, Type) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

/** A picture from a data: URI that paints nothing until it is decoded; ready() is called then. */
function decodePicture(uri, ready) {
  const picture = { image: null };
  const image = new Image();
  image.src = uri;
  image.decode().then(
    () => {
      picture.image = image;
      ready();
    },
    () => {
      picture.broken = true;
      ready();
    },
  );
  return picture;
}
