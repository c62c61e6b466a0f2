// The shown trials as a table, a page at a time, and the steps of the hypervolume as one.

const PAGE = 25;
const wholeMeasures = data.measures.filter((measure) => measure.part === "whole network");
const COLUMNS = [
  ["trial", (row) => trials.index[row]],
  ["kind", kindOf],
  ["state", stateOf],
  ["accuracy", (row) => trials.accuracy[row], share],
  [costName, costOf, quantity],
  ...wholeMeasures.map((measure) => [measure.name, (row) => measureOf(measure, trials.network[row])]),
  ["reason of the failure", (row) => trials.reason[row] ?? ""],
];
const sorted = { column: 0, down: false };
let page = 0;

function inOrder() {
  const value = COLUMNS[sorted.column][1];
  const sign = sorted.down ? -1 : 1;
  const compare = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : sign * (a < b ? -1 : 1));
  return [...shown].sort((a, b) => compare(value(a), value(b)));
}

function headCell([name], column) {
  const button = made("button", { type: "button" }, name, column === sorted.column ? (sorted.down ? " ↓" : " ↑") : "");
  button.addEventListener("click", () => {
    sorted.down = column === sorted.column && !sorted.down;
    sorted.column = column;
    page = 0;
    drawTable();
    document.querySelectorAll("#trials-table thead button")[column].focus();
  });
  const order = column === sorted.column ? { "aria-sort": sorted.down ? "descending" : "ascending" } : {};
  return made("th", { scope: "col", ...order }, button);
}

function bodyRow(row) {
  const pin = made("button", { type: "button", class: "pin", "data-row": row }, `trial ${trials.index[row]}`);
  const cells = COLUMNS.slice(1).map(([, value, form]) => made("td", {}, (form ?? ((each) => each ?? "–"))(value(row))));
  return made("tr", {}, made("th", { scope: "row" }, pin), ...cells);
}

function drawTable() {
  const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
  page = Math.min(page, last);
  const some = inOrder().slice(page * PAGE, (page + 1) * PAGE);
  const table = made("table", {}, made("caption", {}, made("span", {}, "Trials; a name pins its network, a heading sorts")),
    made("thead", {}, made("tr", {}, ...COLUMNS.map(headCell))), made("tbody", {}, ...some.map(bodyRow)));
  const turn = (by, text) => {
    const button = made("button", { type: "button" }, text);
    button.disabled = page + by < 0 || page + by > last;
    button.addEventListener("click", () => {
      page += by;
      drawTable();
      document.querySelector(`#trials-table .pages button:${by < 0 ? "first" : "last"}-of-type`).focus();
    });
    return button;
  };
  const pages = made("div", { class: "pages" }, turn(-1, "‹ before"), made("span", { role: "status" }, `page ${page + 1} of ${last + 1}`), turn(1, "after ›"));
  const scroll = made("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Trials" }, table);
  document.getElementById("trials-table").replaceChildren(scroll, pages);
}

function drawVolumeTable() {
  const { minutes, finished, value } = data.volume;
  const head = made("tr", {}, ...["minutes", "trials finished", "hypervolume"].map((name) => made("th", { scope: "col" }, name)));
  const body = minutes.map((minute, i) => {
    const [first, ...others] = [minute.toFixed(1), finished[i], share(value[i])];
    return made("tr", {}, made("th", { scope: "row" }, first), ...others.map((cell) => made("td", {}, cell)));
  });
  const table = made("table", {}, made("caption", {}, "Hypervolume where it changed"), made("thead", {}, head), made("tbody", {}, ...body));
  document.getElementById("volume-table").replaceChildren(made("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Steps of the hypervolume" }, table));
}
