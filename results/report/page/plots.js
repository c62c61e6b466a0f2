// Figures drawn by Plotly. It never gets texts of the run, except names of networks without markup.

const CROWD = 1000; // above this number of marks, draw them as dots of one path, because elements are slow
const REACH = 7; // pixels from the middle of a mark
const MOST_LINES = { others: 400, best: 150 };
const BUTTONLESS = { responsive: true, displayModeBar: false, doubleClick: "reset", showTips: false };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const narrow = () => innerWidth < 620;
const plain = (text) => text.replace(/[<>&]/g, " ");

function layout(more) {
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
    margin: { l: 56, r: 16, t: 8, b: 48 },
    hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    ...more,
    xaxis: { ...axis, ...more.xaxis },
    yaxis: { ...axis, ...more.yaxis },
  };
}

function trialTrace(name, chosenRows, marker) {
  return {
    type: "scatter", // not scattergl, to be independent of WebGL
    mode: "markers",
    name: `${name} (${chosenRows.length})`,
    x: chosenRows.map(costOf),
    y: chosenRows.map((row) => trials.accuracy[row]),
    marker,
    hoverinfo: "none",
    meta: { item: (place) => trialItem(chosenRows[place]) },
  };
}

/** A mark for each trial; for many trials only invisible targets and a legend mark, as `crowds` draws them. */
function marks(name, chosenRows, marker) {
  const trace = trialTrace(name, chosenRows, marker);
  if (chosenRows.length <= CROWD) return [trace];
  return [{ ...trace, mode: "none", showlegend: false }, { ...trace, x: [null], y: [null] }];
}

/** Dots of many trials as one shape below all others: lines of zero length with round ends by the style sheet. */
function crowd(chosenRows, dotColour) {
  if (chosenRows.length <= CROWD) return [];
  const dot = (row) => `M${costOf(row)},${trials.accuracy[row]}L${costOf(row)},${trials.accuracy[row]}`;
  const line = { color: dotColour, width: 4 };
  return [{ type: "path", layer: "below", path: chosenRows.map(dot).join(""), line }];
}

function pointTrace(points, kind, name, style) {
  const reach = (high) => points.accuracy.map((value, i) => (points.low[i] === null ? 0 : high ? points.high[i] - value : value - points.low[i]));
  return {
    type: "scatter",
    mode: "lines+markers",
    name,
    x: points.network.map(networkCost),
    y: points.accuracy,
    error_y: { type: "data", symmetric: false, array: reach(true), arrayminus: reach(false), thickness: 1.2, width: 3, color: style.line.color },
    hoverinfo: "none",
    meta: { item: (place) => pointItem(points, place, kind), first: true },
    ...style,
  };
}

/** Rings around the parents of the family, on the front or near it, with the models' names. */
function parentTrace() {
  const { network, accuracy, label } = data.parents;
  const onFront = (place) => data.front.network.indexOf(network[place]);
  const item = (place) => (onFront(place) < 0 ? pointItem(data.parents, place, "parent") : pointItem(data.front, onFront(place), "front"));
  return {
    type: "scatter",
    mode: "markers+text",
    name: "parents",
    x: network.map(networkCost),
    y: accuracy.map((value, place) => (onFront(place) < 0 ? value : data.front.accuracy[onFront(place)])),
    text: label.map((names) => plain(names.replaceAll(",", ""))),
    textposition: "top left",
    textfont: { color: colour("parents"), size: 13, weight: 700 },
    marker: { symbol: "circle-open", size: 17, color: colour("parents"), line: { width: 2.2 } },
    hoverinfo: "none",
    meta: { item },
  };
}

/** An arrow to the pinned network: an annotation, which does not redraw all points. */
function pinnedArrow(item) {
  if (item.network === null || item.accuracy === null) return [];
  const at = { x: Math.log10(networkCost(item.network)), y: item.accuracy, standoff: 8 };
  const arrow = { arrowcolor: colour("ink"), arrowwidth: 1.6, arrowhead: 2, ax: 34, ay: 34 };
  return [{ ...at, ...arrow, text: "pinned", font: { color: colour("ink"), size: 12 }, bgcolor: colour("paper") }];
}

const visibleRows = () => shown.filter((row) => trials.accuracy[row] !== null);
const searched = (state) => visibleRows().filter((row) => kindOf(row) === "search" && stateOf(row) === state);
const trainedAgain = () => visibleRows().filter((row) => kindOf(row) !== "search");

function frontierTraces() {
  const ring = { color: "rgba(0,0,0,0)", size: 7, line: { color: colour("stopped"), width: 1.2 } };
  const cross = { size: 6, symbol: "cross-thin", line: { color: colour("stopped"), width: 1.2 } };
  return [
    ...marks("stopped early", searched("stopped"), ring),
    ...marks("tried", searched("completed"), { color: colour("tried"), size: 7, opacity: 0.75 }),
    ...marks("re-evaluated", trainedAgain(), cross).map((trace) => ({ ...trace, hoverinfo: "skip" })), // their means have the texts
    pointTrace(data.references, "published", "published", {
      mode: "lines+markers+text",
      text: data.references.label.map((label) => plain(label.toUpperCase())),
      textposition: "bottom right",
      textfont: { color: colour("published"), size: 13 },
      line: { color: colour("published"), width: 1, dash: "dot" },
      marker: { color: colour("published"), size: 9, symbol: "diamond" },
    }),
    pointTrace(data.front, "front", "front", {
      line: { color: colour("front"), width: 2.2, shape: "hv" },
      marker: { color: colour("front"), size: 9 },
    }),
    parentTrace(),
  ];
}

/** Limits of the means: a wide interval may leave the figure, but does not flatten it. */
function frontierRanges() {
  const visible = visibleRows();
  const points = [data.front, data.references];
  const x = [...visible.map(costOf), ...points.flatMap((each) => each.network.map(networkCost))];
  const y = [...visible.map((row) => trials.accuracy[row]), ...points.flatMap((each) => each.accuracy)];
  if (!x.length) return [[5, 7], [0, 1]];
  const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [left, right] = ends(x).map(Math.log10);
  const [low, high] = ends(y);
  const [side, room] = [Math.max((narrow() ? 0.15 : 0.07) * (right - left), 0.05), Math.max(0.08 * (high - low), 0.02)];
  return [[left - side, right + side], [low - room, high + 1.5 * room]];
}

/** The mark under the pointer: of overlapping ones first the front, then a published network, then a trial. */
function itemAt(plot, event) {
  const { data: trace, pointIndex, xaxis, yaxis } = event.points[0];
  const box = plot.getBoundingClientRect();
  const [x, y] = [event.event.clientX - box.x - xaxis._offset, event.event.clientY - box.y - yaxis._offset];
  for (const { meta, x: xs, y: ys } of plot.data.filter((each) => each.meta?.first).reverse()) {
    const place = xs.findIndex((value, i) => Math.hypot(xaxis.d2p(value) - x, yaxis.d2p(ys[i]) - y) < REACH);
    if (place >= 0) return meta.item(place);
  }
  return trace.meta?.item(pointIndex);
}

function drawFrontier(item) {
  const [x, y] = frontierRanges();
  return Plotly.react("frontier-plot", frontierTraces(), layout({
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 }, ...(narrow() ? { entrywidthmode: "fraction", entrywidth: 0.5, font: { size: 11 } } : {}) },
    xaxis: { type: "log", range: x, title: { text: costName }, tickformat: "~s", dtick: x[1] - x[0] > 0.7 ? "D2" : undefined, minor: { showgrid: false } },
    yaxis: { range: y, title: { text: "accuracy" }, tickformat: ".0%" },
    uirevision: "frontier",
    shapes: [
      ...crowd(searched("stopped"), colour("stopped")),
      ...crowd(trainedAgain(), colour("stopped")),
      ...crowd(searched("completed"), colour("tried")),
    ],
    annotations: pinnedArrow(item),
  }), BUTTONLESS);
}

/** Fully trained candidates, as lines over an axis per choice, from its least to its greatest value. */
function drawChoices(item) {
  const done = shown.filter((row) => kindOf(row) === "search" && stateOf(row) === "completed" && trials.accuracy[row] !== null);
  const axes = choiceAxes(done);
  const best = bestOf(done);
  const others = done.filter((row) => !best.has(row));
  const own = done.filter((row) => trials.network[row] === item.network).slice(0, 1);
  const traces = [
    linesTrace(...thinned("others", others, MOST_LINES.others), axes, { color: colour("low"), width: 1 }),
    linesTrace(...thinned("the best", [...best], MOST_LINES.best), axes, { color: colour("front"), width: 1.4 }),
    linesTrace("pinned", own, axes, { color: colour("published"), width: 3 }),
    valuesTrace(axes),
  ];
  Plotly.react("choices-plot", traces, layout({
    margin: { l: 32, r: 48, t: 8, b: 16 },
    legend: { orientation: "h", y: -0.02, yanchor: "top", x: 0, font: { size: 12 } },
    xaxis: { range: [-0.3, axes.length - 0.5], side: "top", showgrid: false, fixedrange: true, tickvals: axes.map((_, i) => i), ticktext: axes.map((axis) => axis.name.replace(" ", "<br>")), tickangle: 0 },
    yaxis: { range: [-0.08, 1.06], visible: false, fixedrange: true },
    shapes: axes.map((_, i) => ({ type: "line", x0: i, x1: i, y0: 0, y1: 1, line: { color: colour("quiet"), width: 1 } })),
  }), BUTTONLESS);
}

function choiceAxes(done) {
  const part = document.getElementById("part").value;
  const measures = data.measures.filter((measure) => measure.part === part);
  const axes = measures.map((measure) => ({ name: measure.name, value: (row) => measureOf(measure, trials.network[row]) ?? 0, form: (value) => Number(value.toFixed(2)) }));
  axes.push({ name: costName, value: (row) => Math.log10(costOf(row)), form: (value) => quantity(10 ** value) });
  axes.push({ name: "accuracy", value: (row) => trials.accuracy[row], form: share });
  return axes.map((axis) => ({ ...axis, levels: [...new Set(done.map(axis.value))].sort((a, b) => a - b) })).filter((axis) => axis.levels.length > 1);
}

/** Rows with the best accuracy: a fraction of all, or of each quarter of the candidates by cost. */
function bestOf(done) {
  const share = Number(document.getElementById("best").value);
  const groups = document.getElementById("among").value === "all" ? 1 : 4;
  const byCost = [...done].sort((a, b) => costOf(a) - costOf(b));
  const best = new Set();
  for (let group = 0; group < groups; group++) {
    const some = byCost.slice(Math.floor((group * byCost.length) / groups), Math.floor(((group + 1) * byCost.length) / groups));
    some.sort((a, b) => trials.accuracy[b] - trials.accuracy[a]);
    for (const row of some.slice(0, Math.ceil(share * some.length))) best.add(row);
  }
  return best;
}

/** A name and at most `most` rows, evenly spaced: more lines are unreadable. */
function thinned(name, chosenRows, most) {
  const count = chosenRows.length;
  if (count <= most) return [`${name} (${count})`, chosenRows];
  const some = Array.from({ length: most }, (_, place) => chosenRows[Math.floor((place * count) / most)]);
  return [`${name} (${count}, of which ${most} drawn)`, some];
}

/** All lines as one path: a break after each. Lines through one value are spread a little, each by a fixed offset. */
function linesTrace(name, chosenRows, axes, line) {
  const x = [];
  const y = [];
  for (const row of chosenRows) {
    const spread = (((row * 0.618034) % 1) - 0.5) * 0.025;
    axes.forEach((axis, i) => {
      x.push(i);
      y.push(height(axis, axis.value(row)) + (axis.levels.length <= 12 ? spread : 0));
    });
    x.push(null);
    y.push(null);
  }
  const item = (place) => trialItem(chosenRows[Math.floor(place / (axes.length + 1))]);
  return { type: "scatter", mode: "lines", name, x, y, line: { ...line, simplify: false }, connectgaps: false, hoverinfo: "none", meta: { item } };
}

const height = (axis, value) => (value - axis.levels[0]) / (axis.levels.at(-1) - axis.levels[0]);

/** Labels of an axis: its values if they are few, else its ends. */
function valuesTrace(axes) {
  const marks = axes.flatMap((axis, i) => {
    const values = axis.levels.length <= 7 ? axis.levels : [axis.levels[0], axis.levels.at(-1)];
    return values.map((value) => [i, height(axis, value), `\u2002${axis.form(value)}`]);
  });
  const [x, y, text] = [0, 1, 2].map((part) => marks.map((mark) => mark[part]));
  return { type: "scatter", mode: "text", x, y, text, textposition: "middle right", textfont: { size: 11, color: colour("quiet") }, hoverinfo: "skip", showlegend: false };
}

function drawVolume() {
  const { minutes, value } = data.volume;
  const trace = { type: "scatter", mode: "lines", x: [0, ...minutes], y: [0, ...value], line: { shape: "hv", color: colour("front"), width: 2.2 }, fill: "tozeroy", fillcolor: `${colour("front")}22`, hovertemplate: "%{x:.1f} min: %{y:.3f}<extra></extra>" };
  Plotly.react("volume-plot", [trace], layout({
    xaxis: { title: { text: "running time, minutes" }, rangemode: "tozero" },
    yaxis: { title: { text: "hypervolume" }, rangemode: "tozero" },
  }), BUTTONLESS);
}
