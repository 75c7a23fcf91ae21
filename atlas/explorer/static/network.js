/* With the network at hand: a cell's fine icon, and where the positions of one's own picture fall on the map. */

const POLL_MS = 400;

class Network {
  /** actions: {opened(places, name), closed(), focus(index), go(place), look(file): an element that leads to its page} */
  constructor(header, actions) {
    Object.assign(this, { header, actions });
    this.fines = new Map(); // by layer/level/column/row: the answer, or a promise of it
    this.element = h("div", { class: "picture-panel" });
    this.isOpen = false;
    this.input = h("input", { type: "file", accept: "image/*", hidden: true, change: () => this._chosen(this.input.files[0]) });
  }

  /** Take pictures that are dropped anywhere on an element. layer() is the one that is shown. */
  listen(element, layer) {
    this.layer = layer;
    const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    element.addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      element.classList.add("dropping");
    });
    element.addEventListener("dragleave", () => element.classList.remove("dropping"));
    element.addEventListener("drop", (event) => {
      element.classList.remove("dropping");
      if (!carriesFiles(event)) return;
      event.preventDefault();
      this._chosen(event.dataTransfer.files[0]);
    });
  }

  choose() {
    this.input.value = "";
    this.input.click();
  }

  async _chosen(file) {
    if (!file) return;
    this._open([h("p", { class: "quiet" }, `Running ${file.name} through the network …`), this.progressElement()]);
    const asked = (this.asked = {});
    const layer = this.layer();
    try {
      const found = await this._ask(`${layer}`, file);
      if (this.asked === asked) this._show(file, layer, found);
    } catch (error) {
      if (this.asked === asked) this._open([h("p", { class: "wrong" }, error.message)]);
    }
  }

  _open(elements) {
    this.isOpen = true;
    const close = h("button", { class: "close", "aria-label": "Close the picture", click: () => this.close() }, "×");
    this.element.replaceChildren(h("div", { class: "panel-head" }, h("h2", {}, "Your picture"), close), ...elements);
    this.actions.opened(null, "");
  }

  close() {
    this.isOpen = false;
    this.asked = null;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.actions.closed();
  }

  _show(file, layer, found) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    const { places } = found;
    const ring = h("div", { class: "ring", hidden: true });
    const words = h("p", { class: "quiet" }, "Point into the picture to see where that position falls; click to go there.");
    const nearest = (event) => {
      const { left, top, width, height } = frame.getBoundingClientRect();
      const [u, v] = [(event.clientX - left) / width, (event.clientY - top) / height];
      const far = places.map((place) => (place.u - u) ** 2 + (place.v - v) ** 2);
      return far.indexOf(Math.min(...far));
    };
    const point = (event) => at(nearest(event));
    const at = (index) => {
      now = index;
      ring.hidden = false;
      ring.style.left = `${100 * places[index].u}%`;
      ring.style.top = `${100 * places[index].v}%`;
      words.textContent = `Its nearest sample there has cosine ${places[index].cosine.toFixed(2)}.`;
      this.actions.focus(index);
    };
    let now = 0;
    const key = (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (event.key === "Enter") this.actions.go(places[now]);
      else if (by !== undefined) at((now + by + places.length) % places.length);
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const leave = () => {
      ring.hidden = true;
      this.actions.focus(null);
    };
    const image = h("img", { src: this.url, alt: "your picture", draggable: "false" });
    const frame = h("div", { class: "own-picture", tabindex: "0", role: "group", "aria-label": "Your picture: arrows go from position to position, Enter to the map", keydown: key, focus: () => at(now), blur: leave, pointermove: point, pointerleave: leave, click: (event) => this.actions.go(places[nearest(event)]) }, image, ring);
    const cosines = places.map((place) => place.cosine).sort((a, b) => a - b);
    const middle = cosines[Math.floor(cosines.length / 2)];
    const bars = found.classes.map(({ name, share }) => barRow(name, share, "var(--accent)", percent(share)));
    this._open([
      h("p", { class: "id" }, file.name),
      frame,
      words,
      this.actions.look(file),
      h("p", {}, `${counted(places.length, "position")} on ${this.header.layers[layer].name}; half of them have a sample within cosine ${middle.toFixed(2)}.`),
      bars.length > 0 ? h("section", {}, h("h3", {}, "What the network says"), h("div", { class: "bars" }, bars)) : "",
    ]);
    this.actions.opened({ x: places.map((place) => place.x), y: places.map((place) => place.y) }, file.name);
  }

  /** A button that becomes the cell's fine icon. */
  fineElement({ layer, level, column, row }) {
    const key = `${layer}/${level.level}/${column}/${row}`;
    const element = h("div", { class: "fine" });
    const show = ({ picture, cut_out: cutOut }) => {
      const image = h("img", { src: cutOut, alt: "the cell, drawn finely" });
      const whole = h("button", { class: "quiet-button", "aria-pressed": "false" }, "Show all of it");
      whole.addEventListener("click", () => {
        const pressed = whole.getAttribute("aria-pressed") !== "true";
        whole.setAttribute("aria-pressed", String(pressed));
        image.src = pressed ? picture : cutOut;
      });
      const words = "Drawn with the dataset's own spectrum. What is faded away does not matter to the cell.";
      element.replaceChildren(image, h("p", { class: "quiet" }, words), whole);
    };
    const ask = () => {
      element.replaceChildren(h("p", { class: "quiet" }, "Drawing …"), this.progressElement());
      if (!this.fines.has(key)) this.fines.set(key, this._ask(key, null));
      this.fines.get(key).then(show, (error) => {
        this.fines.delete(key);
        element.replaceChildren(h("p", { class: "wrong" }, error.message), button);
      });
    };
    const button = h("button", { class: "quiet-button", title: "A larger icon, in some seconds", click: ask }, "Draw it finely");
    element.append(button);
    if (this.fines.has(key)) ask();
    return element;
  }

  _ask(path, body) {
    return this.askFor(`network/${this.header.token}/${path}`, body);
  }

  /** What the network answers to a path of the server. Throws an Error with a sentence. */
  async askFor(path, body = null) {
    const answer = await askHome(path, { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}: the atlas may have changed; load the page again.`);
    const said = await answer.json();
    if (said.error) throw new Error(said.error);
    return said;
  }

  /** A line that says how far the network is, while it is on the page; before it is known, what is asked for. */
  progressElement(asked = "") {
    const fill = h("span", { class: "fill", style: { width: "0%", background: "var(--accent)" } });
    const words = h("span", { class: "quiet" }, asked);
    const line = h("div", { class: "working", role: "status" }, h("span", { class: "track" }, fill), words);
    const poll = async () => {
      if (!line.isConnected) return;
      try {
        const { busy } = await (await askHome(`network/${this.header.token}`)).json();
        if (busy) {
          fill.style.width = `${(100 * busy.done) / busy.total}%`;
          words.textContent = busy.stage;
        }
      } catch {
        // the answer itself says what is wrong
      }
      setTimeout(poll, POLL_MS);
    };
    setTimeout(poll, POLL_MS);
    return line;
  }
}
