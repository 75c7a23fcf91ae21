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

const REGIONS_SEARCHED = 7; // as many can be looked through

/** The user's regions as a list, with a field that finds one by its name or note where there are many. */
class RegionList {
  constructor() {
    this.search = h("input", { type: "search", placeholder: "Find a region …", "aria-label": "Find a region", input: () => this._list() });
    this.rows = h("div", {});
    this.where = h("p", { class: "quiet" });
    this.element = h("section", { class: "regions", hidden: true }, h("h3", {}, "Your regions"), this.search, this.rows, this.where);
  }

  /** open(region), drop(region); where: a sentence on who keeps them. */
  show(regions, open, drop, where) {
    Object.assign(this, { regions, open, drop });
    this.element.hidden = regions.length === 0;
    this.search.hidden = regions.length <= REGIONS_SEARCHED;
    if (this.search.hidden) this.search.value = "";
    this.where.textContent = where;
    this._list();
  }

  _list() {
    const wanted = this.search.value.trim().toLowerCase();
    const found = this.regions.filter(({ name, note }) => `${name}\n${note}`.toLowerCase().includes(wanted));
    const none = found.length === 0 ? h("p", { class: "quiet" }, "No region has this in its name or note.") : "";
    this.rows.replaceChildren(...found.map((region) => this._row(region)), none);
  }

  _row(region) {
    return h(
      "div",
      { class: "region" },
      h("button", { class: "bar-row", title: region.note || region.name, click: () => this.open(region) }, h("span", { class: "name" }, region.name)),
      h("button", { class: "close", "aria-label": `Delete the region ${region.name}`, title: "Delete", click: () => this.drop(region) }, "×"),
      region.note ? h("p", { class: "quiet" }, region.note) : "",
    );
  }
}
