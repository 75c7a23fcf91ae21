/* What the panel on the right shows, by what is selected, and how it is kept up to date. */

Object.assign(Explorer.prototype, {
  showPanel(changed) {
    const { state, panel } = this;
    const open = state.selected !== null || state.region.length > 0 || state.suspect !== null || Boolean(this.network?.isOpen);
    this.over.classList.toggle("open", open || Boolean(this.panelWanted)); // it says so only in a narrow window
    if (state.region.length > 0) this._showSelection();
    else if (state.selected !== null) {
      const found = this.selectedCell();
      if (found && (changed || panel.content !== "cell")) panel.showCell(found);
      else if (found === undefined && (changed || panel.content === "")) panel.showWaiting("Loading the cell …");
      else if (found === null && (changed || panel.content === "waiting")) panel.showWaiting("No sample of this layer falls here.");
    } else if (this.network?.isOpen) {
      if (panel.content !== "picture") panel.showOnly("picture", [this.network.element]);
    } else if (state.suspect !== null) {
      this._showSuspect();
    } else if (panel.content !== "overview") panel.showOnly("overview", [this.chrome.welcome, ...this.overview.body]);
    this.painter.ring();
    tellKernel(this);
  },

  _showSuspect() {
    const { panel, suspectPanel, state } = this;
    const again = suspectPanel.index === state.suspect && suspectPanel.detail !== undefined;
    if (!again) suspectPanel.show(state.suspect);
    if (panel.content !== "suspect" || !again) panel.showOnly("suspect", [suspectPanel.element]);
    suspectPanel.filtered(this.isOnlySuspect(state.suspect));
  },

  /** The user has said something of a suspect. */
  _suspectsTold() {
    this.suspectPanel?.told();
    this.repaint();
  },

  _showSelection() {
    const { state, panel } = this;
    if (panel.content !== "selection") panel.showOnly("selection", [this.selection.element]);
    if (this.selectedSamples === null) {
      this.selectedSamples = this._samplesIn(state.region);
      this.selection.show(this.selectedSamples, this.selectedPane.layer, state);
    }
  },

  /** Columns of the samples inside outlines that pass the filter, or null while some are on their way. */
  _samplesIn(outlines) {
    const { book, layer, level } = this.selectedPane;
    const all = book.within(boxAround(outlines));
    if (all === null || !this.columns.ready(this.state.filter)) return null;
    const table = this.state.filter.images > 1 && level ? this.tables.get(layer, level) : null;
    const live = liveSamples(this.header, all, this.state.filter, table, this.columns);
    return pickColumns(all, (i) => live[i] === 1 && outlines.some((outline) => isInside(all.x[i], all.y[i], outline)));
  },

  /** What the overview says, a moment after view or filter have changed. */
  overviewLater() {
    clearTimeout(this.overviewTimer);
    this.overviewTimer = setTimeout(() => {
      if (this.panel.content === "cell") this.panel.showLeft(this._leftOfCell(this.panel.shown));
      if (this.panel.content !== "overview" || this.view.size === null) return;
      const [{ points, passing, cells, awaited }] = this.panes;
      const census = points?.census(this.view) ?? null;
      this.overview.show({ census, points, book: this.book, state: this.state, passing, cells, awaited, pale: this.painter.theme.pale });
    }, 60);
  },

  /** What the filter leaves of a cell, in words. */
  _leftOfCell({ cell, column, row, level }) {
    const { points, book } = this.selectedPane;
    if (!filtersAnything(this.state.filter) || points === null) return "";
    const left = points.inCell(column, row, level.side).length;
    return book.whole ? `The filter leaves ${count(left)} of its ${counted(cell.samples, "sample")}.` : `The filter leaves ${count(left)} of its samples that are drawn.`;
  },

  _showRegions() {
    const open = (region) => this.goTo(readAddress(region.address, this.header, this.first));
    const drop = (region) => this.regions.drop(region).catch(() => {});
    this.overview.regions.show(this.regions.all, open, drop, this.regions.where);
  },
});
