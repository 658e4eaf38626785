// The table of the trials of a search.  It is sorted here, since all of it is here.

import { badge } from "../badge.js";
import { cell, missing } from "../cells.js";
import { arrange, button, fill, h, link, say } from "../dom.js";
import { count, duration, integer, number, plain, ticking } from "../format.js";
import { pages } from "../urls.js";

const STEP = 100;

// `sort(order)` is called with the name of a column, downwards with - before it.
export function rowsTable({ id, sort }) {
  const head = h("tr");
  const body = h("tbody");
  const caption = h("caption", { class: "unseen" }, "Trials of this search");
  const table = h("table", { class: "trials-table" }, caption, h("thead", {}, head), body);
  const frame = h("div", { class: "frame search-frame", tabindex: "0", role: "region", "aria-label": "Trials of this search" }, table);
  const facts = h("span", { class: "muted" });
  const more = button("Show more", () => {
    most += 5 * STEP;
    draw();
  }, { hidden: true });
  const element = h("section", { "aria-label": "Trials" }, h("h2", { class: "part-title" }, "Trials"),
    frame, h("div", { class: "pager" }, facts, more));
  const rows = new Map();
  let most = STEP;
  let shape = null;
  let shown = null;

  // Takes {columns, rows, all, order}: columns are {id, name, kind, value}, `all` is how many
  // trials there are, chosen or not.
  function show(next) {
    shown = next;
    draw();
  }

  function draw() {
    const { columns, order, all } = shown;
    const wanted = JSON.stringify(columns.map(({ id: name, right }) => [name, right]));
    if (wanted !== shape) {
      shape = wanted;
      rows.clear();
      fill(head, columns.map((column) => h("th", { scope: "col", "data-column": column.id, class: [column.kind === "trial" && "first plain", column.right && "number"].filter(Boolean).join(" ") || null },
        h("button", { type: "button", class: "sorter", title: `Sort by ${column.name}`, on: { click: () => turn(column.id) } },
          h("span", { class: "head-text" }, column.name), h("span", { class: "arrow", "aria-hidden": "true" })))));
    }
    mark(order);
    const sorted = inOrder(shown.rows, columns, order);
    arrange(body, sorted.slice(0, most).map((row) => rowOf(row, columns)));
    say(facts, shown.rows.length === all ? count(all, "trial") : `${integer(shown.rows.length)} of ${count(all, "trial")} are in the ranges`);
    more.hidden = sorted.length <= most;
  }

  function turn(name) {
    sort(shown.order === name ? `-${name}` : name);
  }

  function mark(order) {
    const down = order.startsWith("-");
    for (const one of head.children) {
      const is = one.dataset.column === (down ? order.slice(1) : order);
      if (is) one.setAttribute("aria-sort", down ? "descending" : "ascending");
      else one.removeAttribute("aria-sort");
      say(one.querySelector(".arrow"), is ? (down ? "↓" : "↑") : "");
    }
  }

  function rowOf(row, columns) {
    const text = JSON.stringify(row);
    const known = rows.get(row.place) ?? { element: h("tr"), text: null };
    rows.set(row.place, known);
    if (known.text === text) return known.element;
    known.text = text;
    known.element.dataset.trial = row.trial;
    known.element.dataset.state = row.state;
    fill(known.element, columns.map((column) => (column.kind === "trial"
      ? h("th", { scope: "row", class: "first plain" }, h("a", { href: pages.trial(id, row.trial), class: "number-link", "aria-label": `Trial ${row.trial}` }, String(row.trial)))
      : h("td", { class: column.right ? "number" : null }, content(column, row)))));
    return known.element;
  }

  return { element, show };
}

function content({ kind, value }, row) {
  if (kind === "state") return badge(row.state);
  if (kind === "seconds") return seconds(row);
  const found = value(row);
  if (kind === "metric") {
    if (found !== null) return h("span", { title: String(found) }, number(found));
    return row.reported === null ? missing("no value") : h("span", { class: "muted", title: "its last report" }, `(${number(row.reported)})`);
  }
  if (kind === "parameter" && found === undefined) return missing("not active in this trial");
  return cell({ kind: "parameter" }, found);
}

function seconds(row) {
  if (row.seconds !== null && row.seconds !== undefined) return duration(row.seconds);
  return row.state === "RUNNING" && row.started ? ticking(row.started) : missing("no duration");
}

// Numbers by size, then texts; what is missing stands at the end either way.
function inOrder(rows, columns, order) {
  const down = order.startsWith("-");
  const column = columns.find((one) => one.id === (down ? order.slice(1) : order)) ?? columns[0];
  const sign = down ? -1 : 1;
  const keyed = rows.map((row) => [column.value(row), row]);
  const missingValue = (value) => value === undefined || value === null;
  keyed.sort(([a, one], [b, other]) => {
    if (missingValue(a) || missingValue(b)) return missingValue(a) - missingValue(b) || one.place - other.place;
    const numeric = typeof a === "number" && typeof b === "number";
    const least = numeric ? a - b : typeof a === "number" ? -1 : typeof b === "number" ? 1 : compare(plain(a), plain(b));
    return sign * least || one.place - other.place;
  });
  return keyed.map(([, row]) => row);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
