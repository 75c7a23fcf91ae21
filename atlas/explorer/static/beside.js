/* The second map: its place beside or below the first, and what stands on it. */

class Beside {
  /** actions: {set(changes)} */
  constructor(header, pane, actions) {
    Object.assign(this, { header, pane, actions });
    this.box = { left: 0, top: 0, width: 0, height: 0 };
    this.layers = new LayerPicker(`${layerWord(header)} of the second map`, header, (beside) => actions.set({ beside }));
    this.words = h("span", { class: "quiet" });
    this.twins = h("p", { class: "twins", hidden: true });
    this.together = h("button", { class: "quiet-button", "aria-pressed": "false", click: () => actions.set({ together: this.together.getAttribute("aria-pressed") !== "true" }) }, "Move together");
    const close = h("button", { class: "close", "aria-label": "Close the second map", title: "One map (T)", click: () => actions.set({ beside: null }) }, "×");
    this.caption = h("div", { class: "corner" }, h("div", { class: "level-line" }, this.layers.element, this.words, this.together, close), this.twins);
    this.element = h("section", { class: "beside", "aria-label": "Second map", hidden: true }, pane.under, this.caption);
  }

  /** Share an area of the figure with the first map, the longer way; returns what is taken of it at the right and below. */
  place(open, { left, top, width, height }) {
    this.element.hidden = !open;
    if (!open) return { right: 0, below: 0 };
    const wide = width >= height;
    const [first, below] = [Math.floor(width / 2), Math.floor(height / 2)];
    this.box = wide ? { left: left + first + 1, top, width: width - first - 1, height } : { left, top: top + below + 1, width, height: height - below - 1 };
    this.element.classList.toggle("below", !wide);
    for (const [name, value] of Object.entries(this.box)) this.element.style.setProperty(`--${name}`, `${value}px`);
    return wide ? { right: width - first, below: 0 } : { right: 0, below: height - below };
  }

  show({ layer, level, view, twins }, links) {
    this.layers.show(layer);
    this.together.setAttribute("aria-pressed", String(links.together));
    this.together.title = links.oneLayout ? "Both maps have one layout: a move of one moves the other (G)" : "These maps have layouts of their own: the same place means something else on each. Move them together all the same? (G)";
    const words = level === null ? "No level is rendered yet" : `Level ${level.level}`;
    if (this.words.textContent !== words) this.words.textContent = words;
    const said = twins?.selected.length > 0 ? `${counted(twins.selected.length, "sample")} of the selection here${links.sameSamples ? "" : ", by image"}` : "";
    this.twins.hidden = said === "";
    if (this.twins.textContent !== said) this.twins.textContent = said;
  }
}
