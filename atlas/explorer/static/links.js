/* What two maps side by side know of one another: which samples belong together, and whether they share one layout. */

class Links {
  constructor(explorer) {
    this.explorer = explorer;
    this.kept = new WeakMap(); // of a pane: its last answers
  }

  get _layers() {
    const { header, state } = this.explorer;
    return [header.layers[state.layer], header.layers[state.beside]];
  }

  get isOpen() {
    return this.explorer.state.beside !== null;
  }

  /** Whether a place means the same on both maps. */
  get oneLayout() {
    return this.isOpen && this.alike(...this._layers);
  }

  /** Whether a place means the same in two layers: both put every sample at the same place, or share a comparison's map. */
  alike(one, other) {
    return this.explorer.header.diff !== null || one.layout === other.layout;
  }

  /** Whether row r of one layer and row r of the other are the same position of the same image. */
  get sameSamples() {
    const [left, right] = this._layers;
    return left.rows === right.rows;
  }

  /** Whether a move of one map moves the other: as the user said, else where they share a layout. */
  get together() {
    return this.isOpen && (this.explorer.state.together ?? this.oneLayout);
  }

  /** What a map shows of the other: indices into its points of the samples that are selected there and pointed at
   * there, and the cursor's place where it means the same here. */
  seenFrom(pane) {
    const nothing = { selected: [], pointed: [], cursor: null };
    const { panes, pointers } = this.explorer;
    if (!this.isOpen || pane.points === null) return nothing;
    const other = panes[1 - pane.number];
    if (!other.points) return nothing;
    if (this.oneLayout) { // a sample is at one place: the frame, the outline and the cursor say it all
      const here = pointers?.[other.number].pointer;
      return { ...nothing, cursor: here ? { x: other.view.worldX(here.x), y: other.view.worldY(here.y) } : null };
    }
    return { ...nothing, selected: this._kept(pane, "selected", this._selectedIn(other)), pointed: this._kept(pane, "pointed", this._pointedIn(other)) };
  }

  /** {key, columns, of()}: which samples of a map are selected; of() are indices into the columns. */
  _selectedIn(pane) {
    const { state, selectedSamples } = this.explorer;
    const { points } = pane;
    if (!pane.holdsSelection) return { key: "", columns: points, of: () => [] };
    if (state.region.length > 0) return { key: JSON.stringify(state.region), columns: selectedSamples ?? points, of: () => (selectedSamples?.row ?? []).map((_, i) => i) };
    return this._cellsSamples(pane, state.selected);
  }

  _pointedIn(pane) {
    const { points, pointed, hovered } = pane;
    if (pointed >= 0) return { key: `sample ${pointed}`, columns: points, of: () => [pointed] };
    return this._cellsSamples(pane, hovered && { ...hovered, level: hovered.level.level });
  }

  _cellsSamples({ points, about }, cell) {
    const side = cell && about.levels.find(({ level }) => level === cell.level)?.side;
    if (!side) return { key: "", columns: points, of: () => [] };
    const { column, row } = cell;
    return { key: `${cell.level}/${column}/${row}`, columns: points, of: () => points.inCell(column, row, side) };
  }

  /** The answer to a question, as long as it and the points on both sides stay the same. */
  _kept(pane, name, { key, columns, of }) {
    const known = this.kept.get(pane) ?? {};
    const stamp = `${key}|${this.sameSamples}|${this.explorer.panes[0].version}|${this.explorer.panes[1].version}`;
    if (known[name]?.stamp !== stamp || known[name].columns !== columns || known[name].points !== pane.points) {
      known[name] = { stamp, columns, points: pane.points, twins: twinsOf(columns, [...of()], pane.points, this.sameSamples ? "row" : "image") };
      this.kept.set(pane, known);
    }
    return known[name].twins;
  }
}

/** Indices into `points` of the samples that some samples of other columns are the same as, by "row", or else share
 * their image with, by "image". Of those that pass the filter. */
function twinsOf(columns, samples, points, by) {
  if (samples.length === 0) return []; // the index of 50,000 points takes a frame
  const found = [];
  const index = points.index(by);
  for (const value of new Set(samples.map((i) => columns[by][i]))) {
    for (const i of index.get(value) ?? []) if (points.live[i]) found.push(i);
  }
  return found;
}
