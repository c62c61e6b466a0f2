"use strict";
// The run's data, in the columns of results/report/data.py, and the texts about a trial or a network.

const data = JSON.parse(document.getElementById("data").textContent);
const { trials, networks } = data;
const parentOf = new Map(data.parents.network.map((network, place) => [network, data.parents.label[place]]));
const rows = trials.index.map((_, row) => row);

const kindOf = (row) => trials.kind.levels[trials.kind.codes[row]];
const stateOf = (row) => trials.state.levels[trials.state.codes[row]];
const costOf = (row) => networkCost(trials.network[row]);
const networkCost = (network) => networks.costs[data.cost][network]; // the first cost objective
const costName = data.costs[data.cost];
const measureOf = (measure, network) => measure.levels[measure.codes[network]] ?? null;

function parsed(line) {
  const parts = line.split("|");
  const [frames, resolution, stride] = parts[0].split(".").map(Number);
  const [project, dense] = parts.at(-1).split(".").map(Number);
  const blocks = parts.slice(2, -1).map((block) => {
    const [outline, ...layers] = block.split(" ");
    const [width, blockStride] = outline.split(".").map(Number);
    return { width, stride: blockStride, layers: layers.map(parsedLayer) };
  });
  return { frames, resolution, stride, stem: Number(parts[1]), blocks, project, dense };
}

function parsedLayer(line) {
  const [expand, time, space, excite] = line.split(".").map(Number);
  return { expand, time, space, excite: excite === 1 };
}

const kernelName = (layer) => `${layer.time}×${layer.space}²`;

/** One line: the clip, then of each block its width and the kernels of its layers. */
function inWords(line) {
  if (!data.movinets) return line; // of another network family: its choices
  const network = parsed(line);
  const blocks = network.blocks.map((block) => `${block.width}: ${block.layers.map(kernelName).join(" ")}`);
  return `${network.frames} frames of ${network.resolution}², 1 in ${network.stride}; ${blocks.join("; ")}`;
}

const UNITS = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]];

function quantity(value) {
  if (value === null || value === undefined) return "–";
  const [size, unit] = UNITS.find(([least]) => value >= least) ?? [1, ""];
  return `${Number((value / size).toPrecision(4))}${unit}`;
}

const share = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

function withInterval(value, low, high) {
  return low === null ? share(value) : `${share(value)} [${share(low)}, ${share(high)}]`;
}

function costFacts(costs) {
  const unit = (name) => (name.endsWith("_bytes") ? "B" : "");
  return Object.entries(data.costs).map(([name, words]) => [words, `${quantity(costs(name))}${unit(name)}`]);
}

const networkCosts = (network) => costFacts((name) => networks.costs[name][network]);

/** Details of a trial: title, values by name, and architectures; network and accuracy set its position. */
function trialItem(row) {
  const label = trials.label[row] ? ` (${trials.label[row]})` : "";
  const facts = [["kind", kindOf(row)], ["state", stateOf(row)]];
  const partial = stateOf(row) === "stopped" ? " (when stopped)" : "";
  if (trials.accuracy[row] !== null) facts.push(["accuracy", share(trials.accuracy[row]) + partial]);
  if (trials.steps[row] !== null) facts.push(["training", `${trials.steps[row]} steps, ${Math.round(trials.seconds[row])} s`]);
  if (trials.reason[row]) facts.push(["reason of the failure", trials.reason[row]]);
  return { ...described(`Trial ${trials.index[row]}${label}`, facts, trials.network[row]), accuracy: trials.accuracy[row] };
}

/** Details of a network of the front, of a parent near it, or of a published network. */
function pointItem(points, place, kind) {
  const network = points.network[place];
  const accuracy = withInterval(points.accuracy[place], points.low[place], points.high[place]);
  const facts = [["kind", kind], ["accuracy", accuracy], ["trainings", points.n[place]]];
  const item = described(pointName(points, place, kind), facts, network);
  return { ...item, accuracy: points.accuracy[place], place: kind === "front" ? place : null };
}

function pointName(points, place, kind) {
  if (kind === "published" && !data.movinets) return `Reference ${points.label[place]}`;
  if (kind === "published") return `Published ${points.label[place].toUpperCase()}`;
  const row = trials.network.findIndex((network, at) => network === points.network[place] && kindOf(at) === "search");
  const where = kind === "front" ? "on the front" : "a parent near the front";
  return row < 0 ? networks.fingerprint[points.network[place]] : `Trial ${trials.index[row]}, ${where}`;
}

function described(title, facts, network) {
  if (parentOf.has(network)) facts.push(["became", parentOf.get(network)]);
  const all = [...facts, ...networkCosts(network), ["fingerprint", networks.fingerprint[network]]];
  return { title, facts: all, network, architectures: [networks.architecture[network]] };
}

function memberItem(member) {
  const facts = [["kind", "model of the family"], ...costFacts((name) => member.costs[name])];
  return { title: `Model ${member.name.toUpperCase()}`, facts, network: null, accuracy: null, architectures: member.architectures };
}

/** An element with attributes and children; a child that is not a node becomes text. */
function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}
