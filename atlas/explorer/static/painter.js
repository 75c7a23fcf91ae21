/* What is seen of the state: both maps, Bokeh's own marks on the first, and what stands around them. */

class Painter {
  constructor(explorer) {
    this.explorer = explorer;
  }

  /** Read the theme's colours and pass on how tiles look. */
  takeLook() {
    const { explorer } = this;
    const style = getComputedStyle(explorer.over);
    const colour = (name, other) => style.getPropertyValue(name).trim() || other;
    this.theme = {
      ground: colour("--ground", "#ffffff"), dot: colour("--dot", "#d3d7de"), ink: colour("--ink", "#1b2230"),
      accent: colour("--accent", "#2f5fd0"), quiet: colour("--quiet", "#667085"),
    };
    this.theme.tones = { good: colour("--good", "#1f7a4d"), fair: colour("--fair", "#9a6700"), poor: colour("--poor", "#b3402a") };
    this.theme.dim = channelsOf(this.theme.dot);
    this.theme.em = parseFloat(style.fontSize); // 13 to 20 CSS pixels: larger on a large screen
    this.theme.pale = channelsOf(colour("--pale", "#eeeeee"));
    const { cells, density } = explorer.state;
    explorer.tiles.setLook({ cells, density, ground: this.theme.ground, dot: this.theme.dot });
  }

  paint(now) {
    const { explorer } = this;
    const { state, panes, beside } = explorer;
    const shown = panes.filter(({ view, layer }) => view && layer !== null && view.size !== null);
    if (shown[0] !== panes[0]) return;
    const unfinished = shown.map((pane) => pane.paint(now, this.theme));
    // What one map shows of the other needs both to be up to date.
    if (shown.length > 1 && panes[1].version !== this.pairedWith) {
      this.pairedWith = panes[1].version;
      explorer.repaint();
    }
    const [{ view, book, level, points, passing }] = panes;
    explorer.minimap.show(view, book.density(), channelsOf(this.theme.quiet), this.theme.accent);
    const { loading } = explorer.shards;
    explorer.chrome.show(state, level, points, loading, passing, book);
    if (shown.length > 1) beside.show(panes[1], explorer.links);
    this._publish(level, loading || unfinished.some(({ fading, decoding }) => fading || decoding));
    explorer.overviewLater();
    if (unfinished.some(({ fading }) => fading)) explorer.repaint();
  }

  /** Bokeh draws the marks of its own map: the selected cell's frame and the one under the pointer. */
  ring() {
    const { explorer } = this;
    const cells = explorer.panes[0].marks;
    if (explorer.state.beside !== null) explorer.repaint(); // the other map draws its own
    const marked = {
      x: cells.map(({ column, side }) => (column + 0.5) / side),
      y: cells.map(({ row, side }) => (row + 0.5) / side),
      side: cells.map(({ side }) => 1 / side),
      line: cells.map(({ line }) => line),
      ground: cells.map(({ ground }) => ground),
    };
    const stamp = JSON.stringify(marked);
    if (stamp === this.marked) return;
    this.marked = stamp;
    explorer.mark.data = marked;
  }

  /** What tests and other pages may read off the figure's element. */
  _publish(level, loading) {
    const { explorer } = this;
    const { dataset } = explorer.plot.el;
    dataset.level = level === null ? "" : String(level.level);
    dataset.cellPx = level === null ? "" : String(explorer.view.scale / level.side);
    dataset.loading = String(loading);
    dataset.layer = String(explorer.state.layer);
    dataset.beside = String(explorer.state.beside ?? "");
  }

  /** Hand the user the view, of both maps where there are two, as a picture: "png" or "svg". */
  async save(kind) {
    const { explorer, theme } = this;
    const { state, header, panes } = explorer;
    const shown = panes.filter(({ layer }) => layer !== null);
    const sheets = shown.map((pane) => this._sheet(pane));
    const name = [header.name, ...shown.map(({ about }) => about.name)].join("-");
    try {
      if (kind === "svg") {
        const title = `${header.name}, ${shown.map(({ about }) => about.name).join(" beside ")}`;
        saveFile(`${name}.svg`, "image/svg+xml", mapSvg(sheets, { title, ink: theme.ink, paper: theme.ground, dim: theme.dim }));
      } else saveFile(`${name}.png`, "image/png", await mapPng(sheets, theme.ground, ["over", "under"].includes(state.points)));
    } catch (error) {
      explorer.chrome.say(`No picture was made: ${error.message}.`);
    }
  }

  /** A map as picture.js needs it. */
  _sheet(pane) {
    const { state } = this.explorer;
    return {
      view: pane.view,
      points: state.points === "off" ? null : pane.points,
      names: pane.namesNow(),
      outlines: pane.outlines,
      covered: pane.covered,
      shapes: () => this.explorer.suspectMap.shapes(pane, this.theme),
      paint: (context, ratio) => pane.paintMap(context, ratio, performance.now(), pane.level),
      paintOver: (context, ratio) => {
        for (const outline of pane.outlines) pane.stroke(context, outline, ratio, true);
        this.explorer.suspectMap.paint(pane, context, ratio, this.theme);
        paintNames(context, pane.namesNow(), ratio, pane.inks);
      },
    };
  }
}
