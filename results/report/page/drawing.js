// A network as stages from the clip to the head: a bar for each layer, its length is the number of channels.

const SVG = "http://www.w3.org/2000/svg";
const WIDE = 300; // units of a drawing
const ROW = 17;
const START = 62; // where bars begin
const MOST_FRAMES = 60; // drawn frames of the source

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function drawn(line) {
  const network = parsed(line);
  const widest = Math.max(...network.blocks.flatMap((block) => block.layers.map((layer) => Math.max(layer.expand, block.width))), network.project);
  const length = (channels) => Math.max(2, (channels / widest) * (WIDE - START - 44));
  const parts = [];
  let y = 14;
  const heading = (text, size) => {
    parts.push(shape("text", { x: 0, y, class: "heading" }, text));
    parts.push(shape("text", { x: WIDE, y, class: "small", "text-anchor": "end" }, size));
    y += 8;
  };
  heading("clip", `${network.frames} frames of ${network.resolution}², 1 in ${network.stride}`);
  parts.push(...frames(network, y));
  y += 24;
  let side = Math.ceil(network.resolution / 2);
  heading(`stem, ${network.stem}`, `${side} × ${side}`);
  y += 12;
  network.blocks.forEach((block, number) => {
    side = Math.ceil(side / block.stride);
    heading(`block ${number + 1}, ${block.width}`, `${side} × ${side}`);
    for (const layer of block.layers) {
      parts.push(...bars(layer, block, y, length));
      y += ROW;
    }
    y += 14;
  });
  heading(`head, ${network.project}`, `1 × 1, then ${network.dense}`);
  const svg = shape("svg", { viewBox: `0 0 ${WIDE} ${y}`, class: "drawing", role: "img", "aria-label": `Drawing: ${inWords(line)}` });
  svg.append(...parts);
  return svg;
}

/** The frames of the source; those that the network uses are filled. */
function frames(network, y) {
  const count = Math.min(network.frames * network.stride, MOST_FRAMES);
  const step = WIDE / count;
  return Array.from({ length: count }, (_, frame) =>
    shape("rect", { x: frame * step + 0.5, y, width: Math.max(step - 1.5, 0.8), height: 10, class: frame % network.stride ? "frame" : "taken" }));
}

function bars(layer, block, y, length) {
  const parts = [
    shape("text", { x: 0, y: y + 11 }, kernelName(layer)),
    shape("rect", { x: START, y: y + 1, width: length(layer.expand), height: 12, rx: 2, class: "edge" }),
    shape("rect", { x: START, y: y + 4, width: length(block.width), height: 6, rx: 1, class: `k${Math.min(layer.time, 7)}` }),
    shape("text", { x: START + length(Math.max(layer.expand, block.width)) + 5, y: y + 11, class: "small" }, layer.expand),
  ];
  if (layer.excite) parts.push(shape("circle", { cx: START - 9, cy: y + 7, r: 3, class: "excite" }));
  return parts;
}

const KEY = "Bars: inner channels of a layer (pale), channels of its block (strong: grey 1, blue 3, green 5, orange 7 frames in time). Dot: squeeze-excite.";

function layerTable(line) {
  const head = made("tr", {}, ...["block", "width", "inside", "kernel", "squeeze-excite"].map((name) => made("th", { scope: "col" }, name)));
  const body = parsed(line).blocks.flatMap((block, number) => block.layers.map((layer) =>
    made("tr", {}, made("th", { scope: "row" }, number + 1), ...[block.width, layer.expand, kernelName(layer), layer.excite ? "yes" : "no"].map((cell) => made("td", {}, cell)))));
  const table = made("table", {}, made("caption", {}, "Layers"), made("thead", {}, head), made("tbody", {}, ...body));
  const scroll = made("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Layers" }, table);
  return made("details", {}, made("summary", {}, "Layers as a table"), scroll);
}

/** Fill the pinned panel. `step` moves to the next network of the front, by 1 or -1. */
function showPinned(item, step) {
  const move = (by, text) => {
    const button = made("button", { type: "button" }, text);
    const next = item.place === null || item.place === undefined ? -1 : item.place + by;
    button.disabled = !(next >= 0 && next < data.front.network.length);
    button.addEventListener("click", () => step(next, by));
    return button;
  };
  const facts = item.facts.map(([name, value]) => made("div", {}, made("dt", {}, name), made("dd", {}, value)));
  const nodes = [made("dl", {}, ...facts)];
  for (const line of item.architectures) {
    nodes.push(...(data.movinets ? [drawn(line), made("p", { class: "lead" }, KEY), layerTable(line)] : [made("p", {}, line)]));
  }
  document.getElementById("pinned-title").textContent = item.title;
  const steps = data.front.network.length > 1 ? [made("div", { class: "steps" }, move(-1, "‹ cheaper on the front"), move(1, "more expensive ›"))] : [];
  document.getElementById("pinned-body").replaceChildren(...steps, ...nodes);
}
