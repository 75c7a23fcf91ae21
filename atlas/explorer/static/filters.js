/* Filters: which samples count. One predicate decides for points, cells and selections alike. */

const UNKNOWN_PERCENT = 255;
const NO_FILTER = Object.freeze({ classes: Object.freeze([]), low: 0, high: 100, wrong: false, images: 1, columns: Object.freeze([]), change: null });

/** Names of the classes that a filter is about: the labels', or the outputs' where nothing is labelled. */
const filteredNames = (header) => (header.labelled ? header.classes : header.outputs);

const filtersAnything = (filter) => filter.classes.length > 0 || filter.low > 0 || filter.high < 100 || filter.wrong || filter.images > 1 || asksImages(filter);

/** Whether a filter asks more of an image than its label, prediction and confidence. */
const asksImages = ({ columns, change }) => columns.length > 0 || change !== null;

/** (i) => whether sample i of some columns passes, as far as its image decides; none while a user's column that the
 * filter asks for is on its way. own: the user's Columns. */
function imagePredicate(header, { label, prediction, confidence, image }, filter, own) {
  const classes = filter.classes.length > 0 ? new Set(filter.classes) : null;
  const of = header.labelled ? label : prediction;
  const { low, high, wrong } = filter;
  const anyConfidence = low <= 0 && high >= 100;
  const tests = !asksImages(filter) ? [] : (own.tests(filter) ?? [() => false]);
  return (i) => {
    if (classes !== null && !classes.has(of[i])) return false;
    if (wrong && (label[i] < 0 || prediction[i] < 0 || label[i] === prediction[i])) return false;
    if (!tests.every((test) => test(image[i]))) return false;
    return anyConfidence || (confidence[i] !== UNKNOWN_PERCENT && confidence[i] >= low && confidence[i] <= high);
  };
}

/** For each sample of some columns, 1 where it passes; table: the shown level's cells, null where not needed. */
function liveSamples(header, columns, filter, table, own) {
  const passes = imagePredicate(header, columns, filter, own);
  const live = new Uint8Array(columns.length);
  const few = filter.images > 1 && table !== null;
  for (let i = 0; i < columns.length; i++) {
    live[i] = passes(i) && !(few && table.imagesAt(columns.x[i], columns.y[i]) < filter.images) ? 1 : 0;
  }
  return live;
}

/** How many of a layer's samples pass: {samples, exact}, or null while that is not known yet. */
function passing({ header, shards, columns: own, state: { filter } }, book, points) {
  if (!filtersAnything(filter)) return { samples: book.total, exact: true };
  if (points === null || !own.ready(filter)) return null;
  if (book.whole) return { samples: points.liveCount, exact: true };
  // Samples by label, prediction and confidence are few rows; a user's column needs a row for each image.
  const shard = shards.get(`${asksImages(filter) ? "census" : "tally"}/${book.layer}`);
  if (!shard) return null;
  const columns = { confidence: unpack(shard.confidence, Uint8Array) };
  for (const name of ["label", "prediction"]) columns[name] = unpack(shard[name], Int32Array);
  const samples = unpack(shard.samples, Uint32Array);
  columns.image = samples.map((_, i) => i);
  const passes = imagePredicate(header, columns, filter, own);
  let sum = 0;
  for (let i = 0; i < samples.length; i++) if (passes(i)) sum += samples[i];
  if (filter.images <= 1) return { samples: sum, exact: true };
  // Cells' sizes are not in these counts: the share of the drawn samples that they leave is an estimate.
  const before = liveSamples(header, points, { ...filter, images: 1 }, null, own).reduce((all, one) => all + one, 0);
  return { samples: before === 0 ? 0 : (sum * points.liveCount) / before, exact: false };
}

/** A filter as words, empty where it lets everything through. */
function filterWords(header, filter) {
  const words = [];
  const { classes, low, high, wrong, images } = filter;
  const names = filteredNames(header);
  if (classes.length > 0) words.push(classes.length <= 3 ? classes.map((index) => names[index]).join(", ") : counted(classes.length, "class", "classes"));
  if (low > 0 || high < 100) words.push(`confidence ${low} to ${high} %`);
  if (wrong) words.push("wrong only");
  if (images > 1) words.push(`cells of ${count(images)} images or more`);
  if (filter.change !== null) words.push(changeWords(header.diff.changes[filter.change]));
  for (const { column, codes, low, high } of filter.columns) {
    const { name, categories, range } = header.columns[column];
    if (codes === undefined) words.push(`${name} ${rangeWords(low, high, range)}`);
    else words.push(`${name}: ${codes.length <= 3 ? codes.map((code) => categories[code]).join(", ") : counted(codes.length, "value")}`);
  }
  return words.join("; ");
}

const changeWords = ({ kind, classes }) => (classes.length > 0 ? `${kind}: ${classes.join(", ")}` : kind);

const rangeWords = (low, high, [least, most]) => (low <= least ? `at most ${high}` : high >= most ? `at least ${low}` : `${low} to ${high}`);
