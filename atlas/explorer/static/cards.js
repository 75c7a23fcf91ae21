/* What the card under the pointer says of a cell or of a sample's image. */

/** A hover card's content for a cell. */
function cellCard(found, header, tiles) {
  const { cell } = found;
  const rows = [];
  for (let i = 0; i < Math.min(6, cell.labels.length); i += 2) {
    rows.push([header.classes[cell.labels[i]], percent(cell.labels[i + 1] / cell.images)]);
  }
  const effects = cell.effects.filter(([, value]) => value > 0).map(([output, value]) => [header.outputs[output], signed(value)]);
  const facts = [counted(cell.images, "image"), counted(cell.samples, "sample")];
  if (cell.accuracy !== null) facts.push(`${percent(cell.accuracy)} right`);
  return [
    cellPicture(found, tiles, 8),
    h(
      "div",
      {},
      rows.length ? cardList("Labels", rows) : "",
      effects.length ? cardList("Speaks for", effects) : "",
      cell.scores === null ? (cell.bare ? h("p", { class: "quiet" }, "No icon: a real picture") : "") : h("p", { class: "facts" }, h("span", { class: `verdict ${trust(found).tone}` }, `Icon: ${trust(found).verdict.toLowerCase()}`)),
      h("p", { class: "quiet facts" }, facts.map((fact) => h("span", {}, fact))),
    ),
  ];
}

const cardList = (title, rows) => [
  h("h4", {}, title),
  h("dl", {}, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
];

/** What is known of the image at a place of an image shard, as a layer's network answers: see labelWords. */
function answersOf(shard, place, layer) {
  const { prediction, confidence } = shard.answers?.[layer] ?? shard;
  return { label: shard.label[place], prediction: prediction[place], confidence: confidence[place] };
}

/** The same in words; layer null: as the networks of all layers answer, where each has an answer of its own. */
function answerWords(shard, place, layer, header) {
  if (layer !== null || !shard.answers) return [h("p", {}, labelWords(answersOf(shard, place, layer ?? 0), header))];
  const label = shard.label[place];
  const said = header.layers.map(({ name }, i) => h("p", {}, `${name}: ${labelWords({ ...answersOf(shard, place, i), label: -1 }, header)}`));
  return label < 0 ? said : [h("p", {}, `labelled ${header.classes[label]}`), ...said];
}

/** A hover card's content for one sample's image on a layer's map (null: on all of them), or null while it is on its way. */
function pointCard(image, layer, shards, header) {
  const shard = shards.get(`image/${Math.floor(image / IMAGES_PER_SHARD)}`);
  if (!shard) return null;
  const place = image % IMAGES_PER_SHARD;
  const words = h("div", {}, h("p", { class: "id" }, shard.ids[place]), answerWords(shard, place, layer, header));
  if (shard.sheet === null) return [words];
  const size = header.thumbnailSize;
  const canvas = h("canvas", { class: "cell-picture", width: size, height: size, style: { "--side": "8em" } });
  return drawThumbnail(shards, image, canvas, size) ? [canvas, words] : null;
}
