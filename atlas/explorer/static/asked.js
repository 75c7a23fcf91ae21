/* What the explorer does when it is asked to go somewhere, to mark something, or to hand something out. */

Object.assign(Explorer.prototype, {
  /** Mark where an image's samples lie, on every map, or with null nothing. */
  async showPlaces(image) {
    this.marked = image;
    for (const pane of this.panes) pane.places = null;
    this.chrome.showPlaces(null);
    if (this.finder && this.finder.image !== image) this.finder.show(null);
    if (image !== null) {
      const shown = this.panes.filter(({ layer }) => layer !== null);
      const layers = shown.map(({ layer }) => layer);
      const shard = Math.floor(image / IMAGES_PER_SHARD);
      const [records, ...places] = await Promise.all([`image/${shard}`, ...layers.map((layer) => `places/${layer}/${shard}`)].map((key) => this.shards.wait(key)));
      if (this.marked !== image || places.includes(null) || shown.some(({ layer }, i) => layer !== layers[i])) return;
      shown.forEach((pane, i) => (pane.places = placesOf(places[i], image)));
      this.chrome.showPlaces(this.places, records?.ids[image % IMAGES_PER_SHARD] ?? `image ${image}`, image);
    }
    this.repaint();
  },

  async findImage(image) {
    await this.showPlaces(image);
    if (this.places?.x.length > 0) this.fit();
  },

  /** Mark an image's places, and move the maps on which one of them is out of sight. */
  async goToImage(image) {
    await this.showPlaces(image);
    const seen = ({ view, places }) => places.x.every((x, i) => view.isInSight(x, places.y[i]));
    this.panes.filter(({ places }) => places?.x.length > 0).filter((pane) => !seen(pane)).forEach((pane) => this._fitPlaces(pane));
  },

  _fitPlaces({ view, places, about }) {
    const room = 1.5 / (about.levels.at(-1)?.side ?? 8); // a single place is shown among its neighbours
    view.fit([Math.min(...places.x) - room, Math.min(...places.y) - room, Math.max(...places.x) + room, Math.max(...places.y) + room]);
  },

  /** The user's own picture: its places on the first map, null while they are sought or when it is closed. */
  showPicture(places, name) {
    this.set({ selected: null, region: [] });
    this.showPlaces(null);
    this.panes[0].places = places;
    this.chrome.showPlaces(places, name);
    this.repaint();
  },

  focusPlace(index) {
    if (this.places === null) return;
    this.places.focus = index;
    this.repaint();
  },

  /** Go to one place of the user's picture, at the deepest level, and open the cell there. */
  goToPlace({ x, y }) {
    const level = this.layer.levels.at(-1);
    const side = 6 / level.side;
    this.view.fit([x - side / 2, y - side / 2, x + side / 2, y + side / 2]);
    const at = (value) => Math.min(level.side - 1, Math.floor(value * level.side));
    this.set({ selected: { level: level.level, column: at(x), row: at(y) }, region: [], pane: 0 });
  },

  /** Open a suspect's panel and go to where it lies, on the layer that it was found on; null: back to the list. */
  async openSuspect(index) {
    const { suspects } = this.header;
    const { layer, beside } = this.state;
    const elsewhere = index !== null && ![layer, beside].includes(suspects.layer);
    this.set({ suspect: index, selected: null, region: [], ...(elsewhere ? { layer: suspects.layer } : {}) });
    if (index !== null) await this.fitSuspect();
  },

  stepSuspect(by) {
    const { suspect } = this.state;
    const { length } = this.header.suspects.listed;
    const wanted = suspect === null ? (by > 0 ? 0 : length - 1) : suspect + by;
    if (wanted >= 0 && wanted < length) this.openSuspect(wanted);
  },

  /** Bring the open suspect's places into sight, on every map. */
  async fitSuspect() {
    const { suspect } = this.state;
    for (const pane of this.panes.filter(({ layer }) => layer !== null)) {
      const { layer } = pane;
      const shard = await this.shards.wait(`outlined/${layer}`);
      const view = shard?.suspects[suspect]?.view;
      if (!view || this.state.suspect !== suspect || pane.layer !== layer) continue;
      const room = 2 / (pane.about.levels.at(-1)?.side ?? 8); // it is seen among its neighbours
      pane.view.fit([view[0] - room, view[1] - room, view[2] + room, view[3] + room]);
    }
  },

  /** Let the filter leave the images of one suspect alone, or with null of none in particular. */
  showOnlySuspect(index) {
    const { filter } = this.state;
    const { column } = this.header.suspects;
    const others = filter.columns.filter((one) => one.column !== column);
    this.set({ filter: { ...filter, columns: index === null ? others : [...others, { column, codes: [index] }].sort((a, b) => a.column - b.column) } });
  },

  /** Whether that is what the filter does. */
  isOnlySuspect(index) {
    const asked = this.state.filter.columns.find(({ column }) => column === this.header.suspects.column);
    return asked?.codes?.length === 1 && asked.codes[0] === index;
  },

  async saveSuspects(indices) {
    saveFile(`${this.header.name}-suspects.csv`, "text/csv", await suspectsCsv(this, indices));
  },

  /** Zoom to what is marked: an image's samples, the region, the selected cell; else home. */
  fit() {
    const { region, selected } = this.state;
    const marked = this.panes.filter(({ places }) => places?.x.length > 0);
    if (marked.length > 0) {
      marked.forEach((pane) => this._fitPlaces(pane));
      return;
    }
    const { view, about } = this.selectedPane;
    if (region.length > 0) view.fit(boxAround(region));
    else if (selected !== null) {
      const { side } = about.levels.find((one) => one.level === selected.level);
      view.fit([(selected.column - 1) / side, (selected.row - 1) / side, (selected.column + 2) / side, (selected.row + 2) / side]);
    } else if (this.state.suspect !== null) this.fitSuspect();
    else this.active.view.goHome();
  },

  async share() {
    this.address._write(this.addressText, this.address.steps);
    const copied = await copyText(window.location.href);
    this.chrome.say(copied ? "The link to this view is copied." : "The browser does not let a page copy here: take the link from the address bar.");
  },

  async parquet(rows) {
    const { level, layer } = this.selectedPane;
    const answer = await askHome(`table/${this.header.token}/${layer}/${level?.level ?? 0}`, { method: "POST", body: rows, headers: { "Content-Type": "application/octet-stream" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.arrayBuffer();
  },

  escape() {
    const { state } = this;
    if (!this.chrome.help.hidden) this.chrome.toggleHelp(false);
    else if (this.reader.isOpen) this.reader.close();
    else if (this.input.tool !== "move") this.input.take("move");
    else if (state.walk !== null) this.set({ walk: null });
    else if (this.network?.isOpen && state.selected === null) this.network.close();
    else if (this.places !== null) this.showPlaces(null);
    else if (state.selected !== null || state.region.length > 0) this.set({ selected: null, region: [] });
    else if (state.suspect !== null) this.openSuspect(null);
    else if (filtersAnything(state.filter)) this.set({ filter: { ...NO_FILTER } });
  },
});

/** An image's samples out of a shard of places. */
function placesOf(shard, image) {
  const own = shard.image.map((_, i) => i).filter((i) => shard.image[i] === image);
  return { image, x: own.map((i) => shard.x[i]), y: own.map((i) => shard.y[i]) };
}
