// The table of trials.  Rows and cells that are there already are changed in place: scrolling,
// focus and a selection of text outlive an update.

import { arrange, fill, h, link, say } from "./dom.js";
import { ROW, cell, metricCell } from "./cells.js";
import { pages } from "./urls.js";

const LABELS = { __proto__: null, "Process Time": "Duration" };
const UNSORTED = new Set(["Tags"]);
// Columns that the table shows anyway, or that say the same as another one.
const SAID = new Set(["Trial ID", "State", "Success", "Started", "Finished", "Process Time", "Tags", "Note"]);

export function label(name) {
  return LABELS[name] ?? name;
}

export function trialsTable({ id, sort, pick }) {
  const head = h("tr");
  const body = h("tbody");
  const caption = h("caption", { class: "unseen" }, `Trials of ${id}`);
  const table = h("table", { class: "trials-table" }, caption, h("thead", {}, head), body);
  const rows = new Map();
  let shape = null;

  body.addEventListener("click", (event) => {
    if (event.target.closest("a, button, input, label") || String(getSelection())) return;
    event.target.closest("tr")?.querySelector("a")?.click();
  });

  function show(data, view, { fresh }) {
    const columns = layout(data, view);
    const wanted = JSON.stringify(columns.map(({ name, kind }) => [name, kind]));
    if (wanted !== shape) {
      shape = wanted;
      rows.clear();
      fill(head, heads(columns, sort));
      body.replaceChildren();
    }
    mark(head, view.order || "-Trial ID");
    columns.forEach((column, i) => {
      column.right = numeric(column, data.rows);
      head.children[i + 1].classList.toggle("number", column.right);
    });
    const known = new Set(rows.keys());
    const shown = data.rows.map((row) => {
      const key = String(row.trial);
      if (!known.has(key)) rows.set(key, makeRow(id, row, columns.length, pick));
      known.delete(key);
      const entry = rows.get(key);
      if (fresh && entry.made) entry.element.classList.add("fresh");
      entry.made = false;
      update(entry, row, columns);
      return entry.element;
    });
    for (const key of known) rows.delete(key);
    arrange(body, shown);
    showPicked(view.picked);
  }

  function showPicked(picked) {
    for (const [key, { element, box }] of rows) {
      box.checked = picked.includes(key);
      element.classList.toggle("picked", box.checked);
    }
  }

  const links = () => [...body.querySelectorAll("th a")];
  const here = () => document.activeElement?.closest?.("tr[data-trial]");

  function move(step) {
    const all = links();
    const at = all.indexOf(here()?.querySelector("th a"));
    const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
    if (!all[next]) return false;
    all[next].focus({ preventScroll: true });
    all[next].closest("tr").scrollIntoView({ block: "nearest" });
    return true;
  }

  return { element: table, show, showPicked, move, current: () => here()?.dataset.trial };
}

// The columns in the order in which they are shown: {name, kind, type, at}.
function layout(data, view) {
  const known = new Map(data.known.map((column) => [column.name, column]));
  const described = data.columns.map((name, at) => ({
    kind: "standard", type: "value", ...known.get(name), name, at,
  }));
  const metrics = view.metrics && !view.metrics.length ? [] : data.metrics;
  const graphs = metrics.map((name) => ({ name, kind: "metric" }));
  const own = (name) => ({ name, kind: "row" });
  if (view.columns) {
    const chosen = described.filter(({ name }) => name !== "State" && name !== "Trial ID");
    return [own("State"), ...chosen.map((column) => (ROW[column.name] ? own(column.name) : column)), ...graphs];
  }
  const free = described.filter(({ name }) => !SAID.has(name));
  const words = data.rows.some((row) => row.tags.length) ? [own("Tags")] : [];
  const notes = data.rows.some((row) => row.note) ? [own("Note")] : [];
  const late = free.filter(({ name }) => name === "Description");
  const early = free.filter(({ name }) => name !== "Description");
  return [own("State"), own("Started"), own("Process Time"), ...early, ...graphs, ...words, ...notes, ...late];
}

function heads(columns, sort) {
  const trial = h("th", { scope: "col", class: "first", "data-column": "Trial ID" }, sorter("Trial ID", "Trial", sort));
  return [trial, ...columns.map(({ name, kind }) => {
    if (kind === "metric" || UNSORTED.has(name)) {
      return h("th", { scope: "col", [kind === "metric" ? "data-metric" : "data-unsorted"]: name },
        h("span", { class: "head-text", title: name }, label(name)));
    }
    return h("th", { scope: "col", "data-column": name }, sorter(name, label(name), sort));
  })];
}

// Whether the cells of a column hold numbers: its head then stands at the right as they do.
function numeric({ name, kind, type, at }, rows) {
  if (kind === "row") return name === "Process Time";
  if (kind === "metric") return true;
  if (type === "duration") return true;
  const values = rows.map(({ values: all }) => all[at]).filter((value) => value !== null);
  return values.filter((value) => typeof value === "number").length > values.length / 2;
}

function sorter(name, text, sort) {
  return h("button", { type: "button", class: "sorter", title: `Sort by ${text}`, on: { click: () => sort(name) } },
    h("span", { class: "head-text" }, text), h("span", { class: "arrow", "aria-hidden": "true" }));
}

function mark(head, order) {
  const down = order.startsWith("-");
  for (const one of head.querySelectorAll("[data-column]")) {
    const sorted = one.dataset.column === (down ? order.slice(1) : order);
    if (sorted) one.setAttribute("aria-sort", down ? "descending" : "ascending");
    else one.removeAttribute("aria-sort");
    say(one.querySelector(".arrow"), sorted ? (down ? "↓" : "↑") : "");
  }
}

function makeRow(id, row, size, pick) {
  const name = String(row.trial);
  const box = h("input", {
    type: "checkbox", "aria-label": `Select trial ${name}`,
    on: { change: () => pick(name, box.checked) },
  });
  const first = h("th", { scope: "row", class: "first" },
    h("span", { class: "line" }, h("label", { class: "box" }, box),
      h("a", { href: pages.trial(id, row.trial), class: "number-link", "aria-label": `Trial ${name}` }, name)));
  const cells = Array.from({ length: size }, () => h("td"));
  const element = h("tr", { "data-trial": name }, first, cells);
  return { element, box, cells, texts: [], made: true };
}

function update(entry, row, columns) {
  entry.element.dataset.state = row.state;
  const absent = new Set(row.absent);
  columns.forEach((column, i) => {
    const [text, make] = content(column, row, absent);
    entry.cells[i].classList.toggle("number", column.right);
    if (entry.texts[i] === text) return;
    entry.texts[i] = text;
    fill(entry.cells[i], make());
  });
}

// A text that tells whether the cell changed, and what makes its content.
function content(column, row, absent) {
  const { name, kind, at } = column;
  if (kind === "row") {
    const facts = [row.state, row.started, row.seconds, row.tags, row.note, row.tainted];
    return [JSON.stringify(facts), () => ROW[name](row)];
  }
  if (kind === "metric") {
    const metric = Object.hasOwn(row.metrics, name) ? row.metrics[name] : null;
    return [JSON.stringify(metric), () => metricCell(metric)];
  }
  const value = absent.has(at) ? undefined : row.values[at];
  return [JSON.stringify(value) ?? "", () => cell(column, value)];
}
