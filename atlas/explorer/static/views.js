/* What the network makes of one image: a page of its own, made on request, or put into the site at export. */

const hasView = ({ views }, image) => (views ?? []).includes(image);

/** The pages of images: whichever picture leads to one, what was asked for once is not asked for again. */
class Views {
  /** network: null where there is none; reader: opens a page inside this one, null: a page opens in a tab of its own. */
  constructor(header, network, reader) {
    Object.assign(this, { header, network, reader });
    this.asked = new Map(); // an image or a file -> {page, trouble: why there is none; both null while it is made}
    this.elements = new Map(); // an image or a file -> what shows how far it is: a picture may stand in several places
  }

  /** An element that leads to an image's page; "" where there is none and no network to make it. */
  of(image) {
    if (hasView(this.header, image)) return this._link(`views/${image}.html`);
    return this.network === null ? "" : this._element(image, `view/${this.header.token}/${image}`, null);
  }

  /** The same for a picture of one's own, a File. */
  ofOwn(file) {
    return this._element(file, `view/${this.header.token}/own?name=${encodeURIComponent(file.name)}`, file);
  }

  _link(page) {
    if (this.reader === null) return h("a", { class: "quiet-button", href: page, target: "_blank", rel: "noopener" }, "Open its page ↗");
    const said = h("span", { role: "status" });
    const open = () => this.reader.open(page).catch((error) => said.replaceChildren(`${error.message}.`));
    return h("span", {}, h("button", { class: "quiet-button", click: open }, "Open its page"), said);
  }

  /** A button that asks for a page, then how far that is, then the link to it. */
  _element(name, path, body) {
    const element = h("div", { class: "look" });
    const title = "Activation maps and grids, attributions, its places on the maps; in half a minute or so";
    const button = h("button", { class: "quiet-button", title, click: () => this._ask(name, path, body) }, "Look inside");
    const show = () => {
      const asked = this.asked.get(name);
      if (asked === undefined) element.replaceChildren(button);
      else if (asked.page !== null) element.replaceChildren(this._link(asked.page));
      else if (asked.trouble !== null) element.replaceChildren(h("p", { class: "wrong" }, asked.trouble), button);
      else element.replaceChildren(this.network.progressElement("Looking inside …"));
    };
    const others = (this.elements.get(name) ?? []).filter((one) => one.element.isConnected);
    this.elements.set(name, [...others, { element, show }]);
    show();
    return element;
  }

  _ask(name, path, body) {
    const asked = { page: null, trouble: null };
    const show = () => this.elements.get(name).forEach((one) => one.show());
    this.asked.set(name, asked);
    show();
    this.network
      .askFor(path, body)
      .then(({ page }) => (asked.page = page), (error) => (asked.trouble = error.message))
      .then(show);
  }
}

/** Shows a page over the map: in a notebook's frame, which may open no tabs. */
class Reader {
  constructor() {
    this.element = h("section", { class: "reader", role: "dialog", "aria-label": "Inside a picture", hidden: true });
  }

  get isOpen() {
    return !this.element.hidden;
  }

  async open(page) {
    const answer = await askHome(page);
    if (!answer.ok) throw new Error("It is no longer kept: look inside again");
    const text = await answer.text();
    const close = h("button", { class: "close", "aria-label": "Close the page", title: "Close (Esc)", click: () => this.close() }, "×");
    const save = h("button", { class: "quiet-button", click: () => saveFile(page.replaceAll("/", "-"), "text/html", text) }, "Save it");
    const keys = ({ key }) => key === "Escape" && this.close();
    // Without any right: the page holds no script, whatever a picture is called.
    this.element.replaceChildren(h("div", { class: "panel-head" }, save, close), h("iframe", { title: "Inside a picture", sandbox: "", srcdoc: text }));
    this.element.onkeydown = keys;
    this.element.hidden = false;
    close.focus();
  }

  close() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }
}
