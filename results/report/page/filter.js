// Filter of the shown trials: by kind, by state, by cost and by text.

const form = document.getElementById("filter");
let shown = rows;
let haystack = null; // created for the first text search

function checkboxes(place, levels, name) {
  for (const level of levels) {
    const box = made("input", { type: "checkbox", name, value: level, checked: "" });
    document.getElementById(place).append(made("label", {}, box, ` ${level}`));
  }
}

function chosen(name, levels) {
  const values = new Set([...form.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value));
  return levels.map((level) => values.has(level));
}

function searchable(row) {
  const network = trials.network[row];
  const words = [`trial ${trials.index[row]}`, kindOf(row), stateOf(row), trials.label[row], trials.reason[row]];
  return [...words, networks.fingerprint[network], inWords(networks.architecture[network])].join(" ").toLowerCase();
}

function limit(place, otherwise) {
  const value = document.getElementById(place).valueAsNumber;
  return Number.isFinite(value) ? value * data.size : otherwise;
}

function filtered() {
  const kinds = chosen("kind", trials.kind.levels);
  const states = chosen("state", trials.state.levels);
  const [least, most] = [limit("least", 0), limit("most", Infinity)];
  const text = document.getElementById("words").value.trim().toLowerCase();
  if (text) haystack ??= rows.map(searchable);
  return rows.filter((row) => {
    const cost = costOf(row);
    return kinds[trials.kind.codes[row]] && states[trials.state.codes[row]] && cost >= least && cost <= most
      && (!text || haystack[row].includes(text));
  });
}

/** Call `changed` when the selection of trials changes. */
function startFilter(changed) {
  checkboxes("kinds", trials.kind.levels, "kind");
  checkboxes("states", trials.state.levels, "state");
  let waiting = 0;
  const apply = () => {
    shown = filtered();
    tellCount();
    changed();
  };
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 150);
  };
  form.addEventListener("input", soon);
  form.addEventListener("reset", soon); // its fields are empty only after this event
  form.addEventListener("submit", (event) => event.preventDefault());
  tellCount();
}

function tellCount() {
  document.getElementById("count").textContent = `${shown.length} of ${rows.length} trials shown`;
}
