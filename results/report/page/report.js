// Interaction of the page: pinning, colours, and figures that are drawn when they come into view.

let pinned = null;
const lazy = new Map([
  ["frontier-plot", drawFrontier],
  ["choices-plot", drawChoices],
  ["volume-plot", drawVolume],
]);
const drawnNow = new Set();

function pin(item) {
  pinned = item;
  showPinned(item, stepAlongFront);
  if (drawnNow.has("frontier-plot")) Plotly.relayout("frontier-plot", { annotations: pinnedArrow(item) });
  if (drawnNow.has("choices-plot")) drawChoices(item);
}

function stepAlongFront(place, by) {
  pin(pointItem(data.front, place, "front"));
  const buttons = document.querySelectorAll("#pinned .steps button");
  const wanted = buttons[by < 0 ? 0 : 1];
  (wanted.disabled ? buttons[by < 0 ? 1 : 0] : wanted).focus();
}

function show(item) {
  pin(item);
  document.getElementById("pinned").focus();
}

function startPointing(plot) {
  const tip = document.getElementById("tip");
  plot.on("plotly_hover", (event) => {
    const item = itemAt(plot, event);
    if (!item) return; // a point of the hypervolume, which has its own label
    const fact = (name) => item.facts.find(([each]) => each === name)?.[1] ?? "–";
    tip.replaceChildren(made("strong", {}, item.title), `accuracy ${fact("accuracy")}, ${fact(costName)} ${costName}`,
      made("br"), ...item.architectures.map(inWords));
    tip.hidden = false;
    const { clientX, clientY } = event.event;
    tip.style.left = `${Math.max(8, Math.min(clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(clientY + 14, innerHeight - tip.offsetHeight - 8))}px`;
  });
  plot.on("plotly_unhover", () => (tip.hidden = true));
  plot.on("plotly_click", (event) => {
    const item = itemAt(plot, event);
    if (item) pin(item);
  });
}

function startPins() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.pin");
    if (!button) return;
    const member = data.members.find((each) => each.name === button.dataset.member);
    show(member ? memberItem(member) : trialItem(Number(button.dataset.row)));
  });
}

function redraw() {
  for (const name of drawnNow) lazy.get(name)(pinned);
  if (document.getElementById("trials").open) drawTable();
}

function drawOnce(name) {
  if (drawnNow.has(name)) return;
  drawnNow.add(name);
  lazy.get(name)(pinned);
  startPointing(document.getElementById(name));
}

function startLazy() {
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawOnce(entry.target.id);
  }, { rootMargin: "200px" });
  for (const name of lazy.keys()) seen.observe(document.getElementById(name));
  document.getElementById("trials").addEventListener("toggle", (event) => event.target.open && drawTable());
}

function startTheme() {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (preferred.matches ? "dark" : "light")) === "dark";
  const told = () => button.setAttribute("aria-pressed", isDark());
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    told();
    redraw();
  });
  preferred.addEventListener("change", () => {
    told();
    redraw();
  });
  told();
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    for (const name of lazy.keys()) drawOnce(name);
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    redraw();
  });
}

function startParts() {
  const select = document.getElementById("part");
  const parts = new Set(data.measures.map((measure) => measure.part));
  select.append(...[...parts].map((part) => made("option", { value: part }, part)));
  for (const place of ["part", "best", "among"]) {
    document.getElementById(place).addEventListener("change", () => drawnNow.has("choices-plot") && drawChoices(pinned));
  }
}

/** The most accurate network of the front, or the first trial. */
function firstPinned() {
  const { accuracy } = data.front;
  return accuracy.length ? pointItem(data.front, accuracy.indexOf(Math.max(...accuracy)), "front") : trialItem(0);
}

startFilter(redraw);
startParts();
startPins();
pin(firstPinned());
drawOnce("frontier-plot");
startTheme();
startLazy();
drawVolumeTable();
document.getElementById("zoom-out").addEventListener("click", () => {
  const [x, y] = frontierRanges();
  Plotly.relayout("frontier-plot", { "xaxis.range": x, "yaxis.range": y });
});
performance.mark("interactive");
