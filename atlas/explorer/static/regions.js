/* The user's regions, each a name, a note and the address that shows it: beside the atlas where a server keeps them,
 * else in this browser. */

class Regions {
  constructor(header, changed) {
    Object.assign(this, { header, changed });
    this.all = [];
    this.local = `activation-atlas-regions:${header.fingerprint}`;
    this.where = header.asks ? "Kept beside the atlas, in marks.json." : { site: "Kept in this browser alone.", notebook: "Kept until this page is closed." }[header.home];
  }

  async load() {
    if (this.header.asks) this._take(await this._ask("GET"));
    else if (this.header.home === "site") this._take(JSON.parse(remembered(this.local) ?? "[]"));
  }

  /** Keep a region {name, note, layer, outlines, address}. */
  async keep(region) {
    if (this.header.asks) this._take(await this._ask("POST", region));
    else this._keepHere([...this.all, { ...region, id: String(Date.now()) }]);
  }

  async drop({ id }) {
    if (this.header.asks) this._take(await this._ask("DELETE", { id }));
    else this._keepHere(this.all.filter((region) => region.id !== id));
  }

  _keepHere(all) {
    if (this.header.home === "site") remember(this.local, JSON.stringify(all));
    this._take(all);
  }

  _take(all) {
    this.all = all;
    this.changed();
  }

  async _ask(method, body) {
    const answer = await askHome(`marks/${this.header.token}`, {
      method,
      body: body && JSON.stringify(body),
      headers: body ? { "Content-Type": "application/json" } : {},
    });
    const said = await answer.text();
    if (!answer.ok) throw new Error(said || `the server answered ${answer.status}`);
    return JSON.parse(said).regions;
  }
}
