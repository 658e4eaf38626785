// What the charts of a search show: points and lines, made of its trials.
//
// A look is {about, rows, axes, chosen, colour, time}: what the server says of the search, its
// trials, their axes, the set of those that are chosen, the colour of a trial, and whether they
// stand over time.

import { count, duration, integer, number } from "../format.js";
import { scaleOf } from "./scales.js";

const JITTER = 0.5;
const GOLDEN = 0.6180339887;

export function convergence(look) {
  const { about, rows, axes } = look;
  const y = axes.find((axis) => axis.id === `m:${about.main}`);
  const when = look.time ? (row) => sinceStart(about, row) : (row) => row.place;
  const x = look.time ? durations(rows.map(when)) : scaleOf({ kind: "number", low: 0, high: 1, integer: true }, rows.map(when));
  const valued = rows.filter((row) => y.scale.at(y.value(row)) !== null);
  return {
    x: { scale: x, name: look.time ? "Time since it began" : "Place" }, y,
    line: bestSoFar(valued.map((row) => [x.at(when(row)), y.scale.at(y.value(row))]), upwards(look, y)),
    points: rows.map((row) => ({ ...pointOf(look, row), x: x.at(when(row)) ?? 0, y: y.scale.at(y.value(row)) })),
    about: "Values of the trials, and the best one so far as a line",
    text: `Convergence of ${about.main}: ${count(valued.length, "value")}${about.best ? `, best ${number(about.best.value)} in trial ${about.best.trial}` : ""}`,
  };
}

export function front(look, x, y) {
  const { about, rows } = look;
  const marked = new Set(about.pareto ?? []);
  const points = rows.map((row) => ({ ...pointOf(look, row), x: x.scale.at(x.value(row)), y: y.scale.at(y.value(row)), front: marked.has(row.trial) }))
    .filter((point) => point.x !== null && point.y !== null);
  const without = rows.length - points.length;
  return {
    x, y, points, line: stairs(points.filter(({ row }) => row.state === "COMPLETE"), upwards(look, x), upwards(look, y)),
    about: [`${count(marked.size, "trial")} that none is better than`, without ? `${integer(without)} without both values` : ""].filter(Boolean).join("; "),
    text: `Pareto front of ${x.name} and ${y.name}: ${count(marked.size, "trial")} of ${integer(points.length)}`,
  };
}

// Those that are chosen, between any two axes.
export function pair(look, x, y, metric) {
  const points = [...look.chosen].map((row) => ({ ...pointOf(look, row), x: beside(x, row, 1), y: beside(y, row, 2) }))
    .filter((point) => point.x !== null && (point.y !== null || y.kind === "metric"));
  const without = look.chosen.size - points.length;
  return {
    x, y, points,
    about: [count(points.length, "trial"), without ? `${integer(without)} without one of both` : ""].filter(Boolean).join("; "),
    text: `${y.name} over ${x.name}: ${count(points.length, "trial")}, coloured by ${metric.name}`,
  };
}

// Axes that say much come first: of numbers, and of parameters that all trials have.
export function telling({ axes, rows }) {
  const share = (axis) => rows.filter((row) => axis.scale.at(axis.value(row)) !== null).length / rows.length;
  const worth = new Map(axes.map((axis) => [axis.id, share(axis) + (axis.scale.kind === "number" ? 0.5 : 0) - (axis.kind === "metric" ? 2 : 0)]));
  return axes.map((axis) => axis.id).sort((a, b) => worth.get(b) - worth.get(a));
}

function pointOf({ colour, chosen }, row) {
  return { row, colour: colour(row), out: !chosen.has(row) };
}

// 1 where the better values are further up on the axis of a metric, else -1.
function upwards({ about }, axis) {
  return about.metrics.find(({ name }) => name === axis.name).direction === "maximize" ? 1 : -1;
}

function bestSoFar(points, sign) {
  const line = [];
  for (const [x, y] of points.sort(([a], [b]) => a - b)) {
    if (!line.length || sign * y > sign * line.at(-1)[1]) line.push([x, y]);
  }
  return line.length ? [...line, [1, line.at(-1)[1]]] : line;
}

// From the best one of the first metric on, each that is better in the second one.
function stairs(points, signX, signY) {
  const line = [];
  for (const { x, y } of points.sort((a, b) => signX * (b.x - a.x) || signY * (b.y - a.y))) {
    if (!line.length || signY * y > signY * line.at(-1)[1]) line.push([x, y]);
  }
  return line;
}

function sinceStart(about, row) {
  const passed = (Date.parse(row.started) - Date.parse(about.started)) / 1000;
  return Math.max(0, passed + (typeof row.seconds === "number" ? row.seconds : 0));
}

function durations(values) {
  const scale = scaleOf({ kind: "number", low: 0, high: null }, values);
  return { ...scale, ticks: (most) => scale.ticks(most).map((tick) => ({ ...tick, text: duration(tick.value) })) };
}

// Within a category beside each other, each always at the same place.
function beside(axis, row, salt) {
  const at = axis.scale.at(axis.value(row));
  if (at === null || axis.scale.kind === "number") return at;
  return at + (JITTER * (((row.place * salt * GOLDEN) % 1) - 0.5)) / axis.scale.keys.length;
}
