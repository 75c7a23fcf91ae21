/* The filter's fields for the user's own columns: values to choose among, or a range of numbers. */

class ColumnFilters {
  /** change(columns): the filter's new list of columns. */
  constructor(header, change) {
    Object.assign(this, { header, change });
    this.wanted = [];
    this.fields = header.columns.map((about, column) => (about.scale === null ? new ColumnChoice(about, (codes) => this.set(column, codes.length > 0 ? { codes } : null)) : new ColumnRange(about, (range) => this.set(column, range))));
    this.element = h("div", { class: "column-filters" }, this.fields.map(({ element }) => element));
  }

  /** Ask something of one column, or with null nothing. */
  set(column, wanted) {
    const others = this.wanted.filter((one) => one.column !== column);
    this.change(wanted === null ? others : [...others, { column, ...wanted }].sort((a, b) => a.column - b.column));
  }

  show({ columns }) {
    this.wanted = columns;
    this.fields.forEach((field, column) => field.show(columns.find((one) => one.column === column) ?? null));
  }

  /** Choose one value of a column more, or one less. */
  toggle(column, code) {
    const codes = toggled(this.codes(column), code);
    this.set(column, codes.length > 0 ? { codes } : null);
  }

  codes(column) {
    return this.wanted.find((one) => one.column === column)?.codes ?? [];
  }
}

const toggled = (codes, code) => (codes.includes(code) ? codes.filter((one) => one !== code) : [...codes, code].sort((a, b) => a - b));

class ColumnChoice {
  constructor({ name, categories }, choose) {
    this.codes = [];
    this.buttons = categories.map((category, code) => h("button", { class: "chip", "aria-pressed": "false", click: () => choose(toggled(this.codes, code)) }, classSwatch(code), category));
    this.element = h("details", { class: "column" }, h("summary", {}, name), h("div", { class: "chips", role: "group", "aria-label": name }, this.buttons));
  }

  show(wanted) {
    this.codes = wanted?.codes ?? [];
    if (wanted !== null && !this.opened) this.element.open = true;
    this.opened = wanted !== null;
    this.buttons.forEach((button, code) => button.setAttribute("aria-pressed", String(this.codes.includes(code))));
  }
}

class ColumnRange {
  constructor({ name, range }, choose) {
    this.range = range;
    const change = () => {
      const ends = this.inputs.map((input, i) => (input.value === "" || !Number.isFinite(Number(input.value)) ? range[i] : Number(input.value)));
      const [low, high] = ends.sort((a, b) => a - b);
      choose(low <= range[0] && high >= range[1] ? null : { low, high });
    };
    this.inputs = ["least", "most"].map((words, i) => h("input", { type: "number", step: "any", placeholder: range[i], "aria-label": `${name}, ${words}`, change }));
    this.element = h("details", { class: "column" }, h("summary", {}, name), h("div", { class: "ends" }, this.inputs[0], "to", this.inputs[1]));
  }

  show(wanted) {
    if (wanted !== null && !this.opened) this.element.open = true;
    this.opened = wanted !== null;
    const values = wanted === null ? ["", ""] : [wanted.low <= this.range[0] ? "" : wanted.low, wanted.high >= this.range[1] ? "" : wanted.high];
    this.inputs.forEach((input, i) => {
      if (!isFocused(input)) input.value = values[i];
    });
  }
}
