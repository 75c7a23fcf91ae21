/* Which layer a map shows: a menu, steps, and a slider where there are many. */

/** What a layer of this page is called: a comparison's are networks, or datasets. */
const layerWord = ({ diff }) => diff?.layer ?? "Layer";

/** A menu of layers with steps to the one before and after. */
class LayerPicker {
  constructor(words, header, choose) {
    const { layers } = header;
    this.menu = new Menu(words, layers.map(({ name }, i) => [i, name]), (layer) => choose(Number(layer)));
    const step = (by, sign, title) => h("button", { class: "step-button", title, "aria-label": `${words}: ${title}`, click: () => choose(Math.min(layers.length - 1, Math.max(0, this.now + by))) }, sign);
    this.back = step(-1, "‹", "the one before (,)");
    this.on = step(1, "›", "the next one (.)");
    this.element = h("span", { class: "menu layers" }, this.back, this.menu.select, this.on);
  }

  show(layer) {
    this.now = layer;
    this.menu.show(String(layer));
    this.back.disabled = layer === 0;
    this.on.disabled = layer === this.menu.select.options.length - 1;
  }
}

const MANY_LAYERS = 4;

/** A slider over many layers: to run through checkpoints or depths with the view kept. Null where a menu is enough. */
class LayerSlider {
  constructor(header, choose) {
    const { layers } = header;
    this.layers = layers;
    this.input = h("input", { type: "range", min: 0, max: layers.length - 1, step: 1, "aria-label": `${layerWord(header)}, in order`, input: (event) => choose(Number(event.target.value)) });
    this.words = h("span", { class: "quiet" });
    this.element = h("div", { class: "level-line", hidden: layers.length < MANY_LAYERS }, this.input, this.words);
  }

  show(layer) {
    this.input.value = layer;
    const words = `${this.layers[layer].name}, ${layer + 1} of ${this.layers.length}`;
    if (this.words.textContent !== words) this.words.textContent = words;
  }
}
