// Values of the table of trials as cells.

import { badge, tags, taint } from "./badge.js";
import { h, svg } from "./dom.js";
import { duration, integer, number, plain, ticking, time } from "./format.js";

// Columns which each row has anyway, with what shows them.
export const ROW = {
  __proto__: null, // a parameter may be named like what every object has
  State: (row) => (row.tainted ? h("span", { class: "line" }, badge(row.state), taint(row.tainted)) : badge(row.state)),
  Started: (row) => (row.started ? time(row.started) : missing("not started")),
  "Process Time": (row) => {
    if (row.seconds !== null) return duration(row.seconds);
    return row.state === "RUNNING" && row.started ? ticking(row.started) : missing("no duration");
  },
  Tags: (row) => tags(row.tags),
  Note: (row) => (row.note ? h("span", { class: "clip", title: row.note }, row.note) : null),
};

export function missing(why) {
  return h("span", { class: "faint", title: why }, h("span", { "aria-hidden": "true" }, "–"),
    h("span", { class: "unseen" }, why));
}

// What is in a cell, of a column {name, kind, type}.
export function cell(column, value) {
  if (value === undefined) return missing("this trial has no such column");
  if (value === null) {
    return column.kind === "parameter" ? h("span", { class: "faint" }, "None") : missing("nothing");
  }
  if (typeof value === "object" && !Array.isArray(value) && typeof value.preview === "string") {
    return h("code", { class: "clip", title: value.preview }, value.preview);
  }
  if (column.type === "time" && typeof value === "string") return time(value);
  if (column.type === "duration" && typeof value === "number") return duration(value);
  if (column.type === "tags" && Array.isArray(value)) return tags(value);
  if (typeof value === "number") return h("span", { title: String(value) }, number(value));
  const text = plain(value);
  return text.length > 24 ? h("span", { class: "clip", title: text }, text) : text;
}

export function metricCell(metric) {
  if (!metric) return missing("no such metric");
  const about = `${integer(metric.points)} points, from ${number(metric.min)} to ${number(metric.max)}`;
  return h("span", { class: "metric", title: about },
    spark(metric.spark ?? []),
    h("span", { class: "metric-last" }, number(metric.last)));
}

const WIDTH = 64;
const HEIGHT = 18;

// The line begins at the floor, if one is given, else at the lowest value.
export function spark(values, { width = WIDTH, height = HEIGHT, floor = Infinity } = {}) {
  const numbers = values.filter((value) => Number.isFinite(value));
  const low = Math.min(floor, ...numbers);
  const span = Math.max(...numbers) - low;
  const across = (i) => 1 + (i * (width - 2)) / Math.max(1, values.length - 1);
  const up = (value) => (span > 0 ? height - 2 - ((value - low) / span) * (height - 4) : height / 2);
  const runs = [[]];
  values.forEach((value, i) => {
    if (Number.isFinite(value)) runs.at(-1).push(`${across(i).toFixed(1)},${up(value).toFixed(1)}`);
    else if (runs.at(-1).length) runs.push([]);
  });
  return svg("svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "spark", "aria-hidden": "true", focusable: "false" },
    runs.filter((run) => run.length).map((run) => (run.length > 1
      ? svg("polyline", { points: run.join(" ") })
      : svg("circle", { cx: run[0].split(",")[0], cy: run[0].split(",")[1], r: 1.5 }))));
}
