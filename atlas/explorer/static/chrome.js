/* What stands around the map: header, switches, status line, the card under the pointer, the first explanation. */

const HELP_SEEN = "activation-atlas-help-closed";

const INTRODUCTION = [
  "Every square is a small region of what the network sees: pictures that it finds alike lie close together.",
  "A square's icon is drawn by the computer: what the network itself looks for there. It is no photograph.",
  "Small squares hold few images, full ones many, and a dot too few for an icon. Only bare ground is empty.",
  "Zoom in, and every square splits into four. Press P for the real pictures, S for the single samples.",
  "Click a square for its pictures, its labels, and how far its icon can be believed.",
];

const KEYS = [
  ["+ −", "zoom"], ["arrows", "move"], ["0", "the whole map"], ["F", "fit to what is selected"],
  [", .", "layer before, after"], ["T", "two maps"], ["M", "keys move the other"], ["G", "move them together"], ["[ ]", "coarser, finer level"], ["A", "automatic level"], ["P", "real pictures, both"], ["S", "samples"],
  ["C", "next colour"], ["D", "size by density"], ["N", "names of classes"], ["/", "find a class"], ["I", "find an image"], ["X", "wrong only"],
  ["Enter", "open the middle cell"], ["⇧ arrows", "open the next cell"], ["B", "select a box"],
  ["L", "select with a lasso"], ["W", "draw a walk"], ["Space ⏎", "drawing: a corner, the last"], ["V", "move again"], ["U", "copy the link"], ["Esc", "close, clear"],
];

const FLOOR_KEYS = [["E", "cells within noise pale"]];
const SUSPECT_KEYS = [["J K", "suspect after, before"], ["1 2 3", "say cue, fine, unsure"], ["O", "outlines of suspects"]];

const LOOK_KEYS = [["R", "look inside the marked"]];

const keysOf = ({ diff, suspects, looks, views }) => [...KEYS, ...(looks || views?.length ? LOOK_KEYS : []), ...(diff?.floored ? FLOOR_KEYS : []), ...(suspects === null ? [] : SUSPECT_KEYS)];

/** A row of choices, one of them on. choices: [value, words, key]. */
class Switch {
  constructor(name, choices, choose) {
    this.buttons = choices.map(([value, words, title]) =>
      h("button", { "data-value": value, title, click: () => choose(value) }, words),
    );
    this.element = h("div", { class: "switch", role: "group", "aria-label": name }, h("span", {}, name), h("div", {}, this.buttons));
  }

  show(value) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.value === value));
  }
}

class Menu {
  constructor(name, choices, choose) {
    const options = choices.map(([value, words]) => h("option", { value }, words));
    this.select = h("select", { "aria-label": name, change: (event) => choose(event.target.value) }, options);
    this.element = h("label", { class: "menu" }, h("span", {}, name), this.select);
  }

  /** Replace the choices, where they are others. */
  offer(choices) {
    const stamp = JSON.stringify(choices);
    if (stamp === this.offered) return;
    this.offered = stamp;
    this.select.replaceChildren(...choices.map(([value, words]) => h("option", { value }, words)));
  }

  show(value) {
    this.select.value = value;
  }
}

class Chrome {
  /** actions: {set(changes), colour(mode), tool(name), zoom(factor), home(), beside(), share(), panel(), save(kind),
   *  places(fit), thumb(image, canvas): draw it, look(image): see Caption, picture(): choose one, or null without a network} */
  constructor(header, actions) {
    Object.assign(this, { header, actions });
    this.cells = new Switch("Cells", cellChoices(header), (cells) => actions.set({ cells }));
    this.points = new Switch(
      "Samples",
      [["off", "Off", "S"], ["over", "Over", "S: one point per sample, over the cells"], ["under", "Under", "S: beneath the cells' pictures, between them"], ["only", "Only", "S"]],
      (points) => actions.set({ points }),
    );
    this.colour = new Menu("Colour", [], (colour) => actions.colour(colour));
    this.layer = new LayerPicker(layerWord(header), header, (layer) => actions.set({ layer }));
    this.slider = new LayerSlider(header, (layer) => actions.set({ layer }));
    this.two = h("button", { class: "quiet-button two", "aria-pressed": "false", title: "Two maps: a second layer beside this one (T)", "aria-label": "Two maps", click: () => actions.beside() }, "◫");
    this.level = new Menu("Level", [["auto", "Automatic"]], (value) => actions.set({ locked: value === "auto" ? null : Number(value) }));
    this.head = this._head();
    this.status = h("div", { class: "status", role: "status" });
    this.levelWords = h("span", { class: "level-words" });
    this.note = h("div", { class: "note", role: "status", hidden: true });
    this.card = h("div", { class: "card", hidden: true });
    this.help = this._help();
    this.welcome = this._welcome();
    this.overlay = h("div", { class: "overlay" }, this._corner(), this.note, this._zoomButtons());
  }

  _head() {
    const { header } = this;
    const origin = [header.model, header.dataset && `on ${header.dataset}`].filter(Boolean).join(" ");
    const accuracy = accuracyWords(header);
    const facts = [accuracy, origin].filter(Boolean).join(" · ");
    const help = h("button", { class: "round", title: "What am I looking at? (?)", "aria-label": "What am I looking at?", click: () => this.toggleHelp() }, "?");
    const go = (address) => window.location.assign(address);
    const atlases = new Menu("Atlas", header.atlases.map(([name, address]) => [address, name]), go);
    atlases.show(window.location.pathname);
    return h(
      "header",
      { class: "head" },
      h("div", { class: "title", title: [header.name, facts].join("\n") }, h("h1", {}, header.name), h("p", {}, facts)),
      help,
      h(
        "div",
        { class: "controls" },
        header.atlases.length > 1 ? atlases.element : "",
        header.layers.length > 1 ? h("span", { class: "menu" }, h("span", {}, layerWord(header)), this.layer.element, this.two) : h("span", { class: "menu" }, h("span", {}, "Layer"), header.layers[0]?.name ?? "none"),
        this.cells.element,
        this.points.element,
        this.colour.element,
        this.actions.picture ? h("button", { class: "quiet-button", title: "Where does a picture of yours fall? Or drop it on the map.", click: () => this.actions.picture() }, "Your picture") : "",
        h("button", { class: "quiet-button narrow-only", title: "What is in view, and the filters", click: () => this.actions.panel() }, header.diff !== null ? "What changed" : header.suspects !== null ? "Suspects, filter" : "Filter"),
        this._saveMenu(),
        header.home === "notebook" ? "" : this._shareButton(),
      ),
    );
  }

  /** Say whether title and controls stand in one line: the help's button moves to where it is not left alone. */
  layHead() {
    const [title, ...others] = this.head.children;
    const middle = ({ offsetTop, offsetHeight }) => offsetTop + offsetHeight / 2;
    this.head.classList.toggle("flat", others.every((part) => Math.abs(middle(part) - middle(title)) < title.offsetHeight / 2));
  }

  _shareButton() {
    return h("button", { class: "quiet-button", title: "Copy a link that shows just this (U)", click: () => this.actions.share() }, "Share");
  }

  _saveMenu() {
    const items = [["png", "PNG for print"], ["svg", "SVG"]].map(([kind, words]) => {
      const click = (event) => {
        event.currentTarget.closest("details").open = false;
        this.actions.save(kind);
      };
      return h("button", { click }, words);
    });
    return h("details", { class: "save" }, h("summary", { class: "quiet-button" }, "Save"), h("div", { class: "choices" }, items));
  }

  /** Top left of the map: the level, and the tools. */
  _corner() {
    this.tools = TOOLS.map(([tool, sign, title]) => h("button", { "data-tool": tool, title, "aria-label": title, click: () => this.actions.tool(tool) }, sign));
    this.showTool("move");
    return h("div", { class: "corner" }, h("div", { class: "level-line" }, this.level.element, this.levelWords), this.slider.element, h("div", { class: "tools", role: "group", "aria-label": "Tools" }, this.tools));
  }

  showTool(tool) {
    for (const button of this.tools) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }

  /** Press what looks inside the image whose places are marked, or opens its page. */
  look() {
    if (!this.note.hidden) this.note.querySelector(".look button, .look a, a.quiet-button")?.click();
  }

  /** A shard has come, or a sheet is decoded: paint what the note waits for. */
  refresh() {}

  /** Say something for a few seconds. */
  say(words) {
    this.note.replaceChildren(words);
    this.note.hidden = false;
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => (this.note.hidden = true), 5000);
  }

  /** Say whose places are marked; null: nobody's. image: the atlas's, null for a picture of one's own. */
  showPlaces(places, id, image = null) {
    clearTimeout(this.noteTimer);
    this.note.hidden = places === null;
    this.refresh = () => {};
    if (places === null) return;
    const button = (words, fit) => h("button", { class: "quiet-button", click: () => this.actions.places(fit) }, words);
    const size = this.header.thumbnailSize;
    const thumb = image === null || !this.header.pictures ? "" : h("canvas", { class: "note-picture", width: size, height: size });
    if (thumb !== "") this.refresh = () => thumb.dataset.drawn || this.actions.thumb(image, thumb);
    this.refresh();
    const look = image === null ? "" : this.actions.look(image);
    if (places.x.length === 0) this.note.replaceChildren(thumb, h("span", {}, `${id} is not on this map`), look, button("Clear", false));
    else this.note.replaceChildren(thumb, h("span", {}, `${counted(places.x.length, "place")} of ${id}`), button("Fit", true), look, button("Clear", false));
  }

  _zoomButtons() {
    const button = (sign, title, click) => h("button", { title, "aria-label": title, click }, sign);
    return h(
      "div",
      { class: "zoom" },
      button("+", "Zoom in (+)", () => this.actions.zoom(2)),
      button("−", "Zoom out (−)", () => this.actions.zoom(0.5)),
      button("⌂", "The whole map (0)", () => this.actions.home()),
    );
  }

  _help() {
    const close = h("button", { class: "close", "aria-label": "Close the explanation", click: () => this.toggleHelp(false) }, "×");
    const keys = keysOf(this.header).map(([key, words]) => h("div", {}, h("kbd", {}, key), h("span", {}, words)));
    return h(
      "section",
      { class: "help", role: "dialog", "aria-label": "What am I looking at?", hidden: true },
      close,
      ...introduction(this.header),
      h("h3", {}, "Keys"),
      h("div", { class: "keys" }, keys),
    );
  }

  /** The explanation's first appearance: in the panel, where it hides nothing of the map, until it is closed. */
  _welcome() {
    const forget = () => {
      box.hidden = true;
      remember(HELP_SEEN, "yes");
    };
    const close = h("button", { class: "close", "aria-label": "Close the explanation", click: forget }, "×");
    const box = h("section", { class: "welcome", hidden: remembered(HELP_SEEN) !== null }, close, ...introduction(this.header));
    return box;
  }

  toggleHelp(open = this.help.hidden) {
    this.help.hidden = !open;
  }

  /** Bring all switches and the status line to a state; level is what the map shows, points what is painted. */
  show(state, level, points, loading, passing, book) {
    const layer = this.header.layers[state.layer];
    this.cells.show(state.cells);
    this.points.show(state.points);
    this.colour.offer(colourModes(this.header, layer));
    this.colour.show(state.colour);
    this.layer.show(state.layer);
    this.slider.show(state.layer);
    this.two.setAttribute("aria-pressed", String(state.beside !== null));
    this._showLevels(state, layer);
    const grid = level === null ? "No level is rendered yet" : `Level ${level.level} · ${level.side} × ${level.side} cells`;
    const held = state.locked !== null && level !== null && level.level !== state.locked;
    const real = level !== null && level.icons === 0 && state.cells !== "pictures" ? " · real pictures: no icons rendered" : "";
    const words = `${grid}${held ? ` · level ${state.locked} when you zoom in` : ""}${real}${loading ? " · loading …" : ""}`;
    if (this.levelWords.textContent !== words) this.levelWords.textContent = words;
    const line = this._counts(layer, points, state, passing, book);
    if (this.status.textContent !== line) this.status.textContent = line;
  }

  _showLevels(state, layer) {
    const names = JSON.stringify([state.layer]);
    if (this.levelsOf !== names) {
      this.levelsOf = names;
      const levels = layer.levels.map(({ level, side }) => h("option", { value: String(level) }, `${level} · ${side} × ${side}`));
      this.level.select.replaceChildren(h("option", { value: "auto" }, "Automatic"), ...levels);
    }
    this.level.show(state.locked === null ? "auto" : String(state.locked));
  }

  _counts(layer, points, state, passing, book) {
    const { header } = this;
    const parts = [counted(header.images, "image"), counted(layer.samples, "sample")];
    parts.push(`${counted(layer.outliers, "outlier")} left out`);
    if (header.skipped > 0) parts.push(`${counted(header.skipped, "unreadable picture")} skipped`);
    if (state.points !== "off" && points !== null) {
      const thinned = points.share < 1 ? `, evenly thinned to ${percent(points.share)}` : "";
      parts.push(book.whole ? `all ${count(book.total)} drawn` : `${count(points.length)} drawn here${thinned}`);
    }
    if (filtersAnything(state.filter)) {
      const left = passing === null ? "counting …" : passingWords(passing, book.total);
      parts.unshift(`${left}: ${filterWords(header, state.filter)}`);
    }
    if (!header.complete) parts.push("still being built");
    return [...parts, ...header.notes].join(" · ");
  }

  // ---- the card under the pointer ----

  /** Hide the card of a map, the first or the second. */
  hideCard(pane = this.cardPane) {
    if (pane !== this.cardPane) return;
    this.card.hidden = true;
    this.cardOf = null;
  }

  /** Show a card about `subject` (compared by identity) beside a place of a map's frame; build() makes its content. */
  showCard({ number, view: { frame } }, subject, place, build) {
    this.cardPane = number;
    if (this.cardOf !== subject) {
      this.card.replaceChildren(...build());
      this.cardOf = subject;
    }
    this.card.classList.toggle("small", frame.width < 640); // of 480: what stands beside the map stays in sight
    this.card.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.card;
    const { x, y } = cardPlace(place, frame, width, height);
    this.card.style.transform = `translate(${Math.round(frame.left + x)}px, ${Math.round(frame.top + y)}px)`;
  }
}

/** The network's accuracy, or that of a comparison's first and last: short, since the title has little room. */
function accuracyWords({ diff, layers, accuracy }) {
  if (diff === null) return accuracy === null ? "" : `accuracy ${percent(accuracy, 1)}`;
  const ends = [layers[0], layers.at(-1)].map((layer) => layer?.accuracy ?? null);
  return ends.includes(null) ? "" : `accuracy ${(100 * ends[0]).toFixed(1)} → ${percent(ends[1], 1)}`;
}

const CARD_GAP = 22; // CSS pixels from the pointer

/** Where in a frame a card stands: right of a place, else left of it, else below or above; never over what is around. */
function cardPlace({ x, y }, frame, width, height) {
  const within = (value, most) => Math.max(4, Math.min(value, most - 4));
  const beside = x + CARD_GAP + width <= frame.width ? x + CARD_GAP : x - CARD_GAP - width;
  if (beside >= 0) return { x: beside, y: within(y - height / 3, frame.height - height) };
  const below = y + CARD_GAP + height <= frame.height ? y + CARD_GAP : y - CARD_GAP - height;
  return { x: within(x - width / 2, frame.width - width), y: Math.max(4, below) };
}

/** What the maps of a comparison show, by what its layers are. */
const COMPARED = {
  Network: "Both maps show the same images at the same places. Dots: how far an image's neighbours changed. Icons: what each network sees there; where it has none, a real picture stands.",
  Dataset: "Both maps are parts of one: each shows the images of one dataset, where the same network puts them.",
};

function introduction({ diff }) {
  const lines = diff === null ? INTRODUCTION : [COMPARED[diff.layer], ...INTRODUCTION];
  return [h("h2", {}, "What am I looking at?"), h("ol", {}, lines.map((line) => h("li", {}, line)))];
}

const cellChoices = (header) => {
  const icons = ["icons", "Icons", "What the network looks for"];
  const pictures = ["pictures", "Pictures", "P: each cell's most typical real picture"];
  return header.pictures ? [icons, pictures, ["both", "Both", "P: the icon, cut by the real picture"]] : [icons];
};

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage is refused in some frames: then nothing is remembered
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // see remembered()
  }
}
