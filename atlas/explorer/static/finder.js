/* Find an image by a part of its id, and mark where it lies. The server searches its own ids; a page without one
 * searches those it carries, as long as they are few enough to load at once. */

const IDS_IN_A_PAGE = 65_536; // 16 shards: half a second from disk
const FOUND_SHOWN = 50;
const TYPING_MS = 120;

/** Whether this home can search ids: a notebook only where nothing of it was left out. */
const canFindImages = ({ asks, images, notes }) => asks || (images <= IDS_IN_A_PAGE && notes.length === 0);

class ImageFinder {
  /** choose(image): one was chosen, null: none any more; look(image): see Caption. */
  constructor(header, shards, choose, look) {
    Object.assign(this, { header, shards, choose, look });
    this.asked = 0;
    this.image = null; // whose places are marked
    this.input = h("input", {
      type: "search", placeholder: "Find an image by its id …", "aria-label": "Find an image by its id",
      input: () => this._later(), focus: () => this._later(), keydown: (event) => this._key(event),
    });
    this.matches = h("div", { class: "matches", role: "listbox", "aria-label": "Images found" });
    this.chosen = h("div", { class: "chosen" });
    this.element = h("div", { class: "finder images" }, this.input, this.matches, this.chosen);
    this.element.addEventListener("focusout", (event) => {
      if (!this.element.contains(event.relatedTarget)) this._close();
    });
  }

  _later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this._list(), TYPING_MS);
  }

  _close() {
    clearTimeout(this.timer);
    this.asked++; // an answer on its way comes too late
    this.matches.replaceChildren();
  }

  async _list() {
    const words = this.input.value.trim();
    const asked = ++this.asked;
    if (words === "") {
      this._close();
      if (this.chosen.childElementCount > 0) this._take(null);
      return;
    }
    const answer = await this._find(words).catch(() => null);
    if (asked !== this.asked) return;
    this.first = answer?.found[0] ?? null;
    const said = (text) => h("p", { class: "quiet" }, text);
    if (answer === null) {
      this.matches.replaceChildren(said("The search failed: is the server still there?"));
      return;
    }
    const rest = answer.images - answer.found.length;
    this.matches.replaceChildren(
      ...answer.found.map((found) => h("button", { role: "option", click: () => this._take(found) }, found[1])),
      rest > 0 ? said(`and ${count(rest)} more: type more of the id`) : "",
      answer.images === 0 ? said("No image has this in its id.") : "",
    );
    this.matches.scrollIntoView?.({ block: "nearest" }); // they may begin below the window's edge
  }

  /** {found: [[image, id], ...], images: how many there are in all}. */
  async _find(words) {
    if (this.header.asks) {
      const answer = await askHome(`find/${this.header.token}?q=${encodeURIComponent(words)}`);
      if (!answer.ok) throw new Error(`${answer.status}`);
      return answer.json();
    }
    this.ids ??= await this._allIds();
    const wanted = words.toLowerCase();
    const images = this.ids.map((_, image) => image).filter((image) => this.ids[image].toLowerCase().includes(wanted));
    return { found: images.slice(0, FOUND_SHOWN).map((image) => [image, this.ids[image]]), images: images.length };
  }

  async _allIds() {
    const shards = Array.from({ length: Math.ceil(this.header.images / IDS_PER_SHARD) }, (_, n) => this.shards.wait(`names/${n}`));
    return (await Promise.all(shards)).flatMap((shard) => shard?.ids ?? []);
  }

  _key(event) {
    if (event.key === "Enter" && this.first && this.matches.childElementCount > 0) this._take(this.first);
    else if (event.key === "Escape") {
      this._close();
      this.input.blur();
    } else return;
    event.stopPropagation();
  }

  _take(found) {
    this._close();
    if (found !== null) this.input.blur(); // the keys are the map's again
    this.show(found);
    this.choose(found && found[0]);
  }

  /** Show whose places are marked: [image, id], or null for nobody's. */
  show(found) {
    this.input.value = found === null ? "" : found[1];
    this.image = found === null ? null : found[0];
    this.chosen.replaceChildren();
    this.refresh();
  }

  /** A shard has come or a sheet is decoded: show the picture that waited for it. */
  refresh() {
    if (this.image === null || this.chosen.childElementCount > 0) return;
    const content = pointCard(this.image, null, this.shards, this.header);
    if (content === null) return;
    content.at(-1).append(this.look(this.image));
    this.chosen.replaceChildren(...content);
  }
}
