/* The parts of the explorer, each with what it may ask of the whole. */

function makeParts(explorer) {
  const { header, shards, tiles } = explorer;
  const asked = !header.looks ? null : new Network(header, {
    opened: (places, name) => explorer.showPicture(places, name),
    closed: () => explorer.showPicture(null, ""),
    focus: (index) => explorer.focusPlace(index),
    go: (place) => explorer.goToPlace(place),
    look: (file) => views.ofOwn(file),
  });
  const network = header.network ? asked : null; // beside a comparison it looks inside pictures alone
  const reader = new Reader();
  const views = new Views(header, asked, kernel === null ? null : reader);
  const look = (image) => views.of(image);
  const finder = canFindImages(header) ? new ImageFinder(header, shards, (image) => explorer.findImage(image), look) : null;
  const filter = (changes) => explorer.set({ filter: { ...explorer.state.filter, ...changes } });
  return {
    network,
    reader,
    finder,
    panel: new Panel(header, shards, tiles, {
      fine: network && ((found) => network.fineElement(found)),
      look,
      close: () => explorer.select(null),
      image: (image) => explorer.goToImage(image),
      cell: (column, row) => explorer.set({ selected: { ...explorer.state.selected, column, row } }),
    }),
    overview: new Overview(header, shards, { set: (changes) => explorer.set(changes), filter, image: (image) => explorer.goToImage(image), look }, finder, makeSuspectList(explorer)),
    suspectPanel: makeSuspectPanel(explorer, look),
    selection: makeSelection(explorer, look),
    walk: new Walk(header, shards, tiles, {
      close: () => explorer.set({ walk: null }),
      point: (found) => {
        explorer.panes[explorer.walk.pane].hovered = found;
        explorer.painter.ring();
      },
      open: (found) => explorer.select(found, explorer.walk.pane),
    }),
    minimap: new Minimap((x, y) => explorer.view.show({ ...explorer.view.centre, x, y })),
    beside: new Beside(header, explorer.panes[1], { set: (changes) => explorer.set(changes) }),
    chrome: makeChrome(explorer, network, look),
  };
}

function makeSuspectList(explorer) {
  if (explorer.header.suspects === null) return null;
  return new SuspectList(explorer.header, explorer.suspectMarks, {
    open: (index) => explorer.openSuspect(index),
    csv: () => explorer.saveSuspects(explorer.header.suspects.listed.map((_, index) => index)),
  });
}

function makeSuspectPanel(explorer, look) {
  if (explorer.header.suspects === null) return null;
  return new SuspectPanel(explorer.header, explorer.shards, explorer.suspectMarks, {
    close: () => explorer.openSuspect(null),
    fit: () => explorer.fitSuspect(),
    image: (image) => explorer.goToImage(image),
    look,
    step: (by) => explorer.stepSuspect(by),
    csv: (index) => explorer.saveSuspects([index]),
    only: (index, on) => explorer.showOnlySuspect(on ? index : null),
  });
}

function makeSelection(explorer, look) {
  const { header } = explorer;
  return new SelectionPanel(header, explorer.shards, {
    close: () => explorer.set({ region: [] }),
    fit: () => explorer.fit(),
    image: (image) => explorer.goToImage(image),
    look,
    level: () => explorer.selectedPane.level ?? { level: 0, side: 8 },
    keep: (name, note) => explorer.regions.keep({ name, note, layer: explorer.selectedPane.about.name, outlines: explorer.state.region, address: explorer.addressText }),
    parquet: header.asks ? (rows) => explorer.parquet(rows) : null,
  });
}

function makeChrome(explorer, network, look) {
  return new Chrome(explorer.header, {
    set: (changes) => explorer.set(changes),
    colour: (colour) => explorer.colour(colour),
    tool: (tool) => explorer.input.take(tool),
    zoom: (factor) => explorer.view.zoomBy(factor),
    home: () => explorer.view.goHome(),
    beside: () => explorer.toggleBeside(),
    share: () => explorer.share(),
    panel: () => {
      explorer.panelWanted = !explorer.panelWanted;
      explorer.showPanel(false);
    },
    save: (kind) => explorer.painter.save(kind),
    places: (fit) => (fit ? explorer.fit() : explorer.showPlaces(null)),
    thumb: (image, canvas) => drawThumbnail(explorer.shards, image, canvas, explorer.header.thumbnailSize),
    look,
    picture: network && (() => network.choose()),
  });
}
