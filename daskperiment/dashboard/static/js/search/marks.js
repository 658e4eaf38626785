// Marks of trials: a shape by the state, a colour by the value of a metric.

import { word } from "../badge.js";
import { h, svg } from "../dom.js";
import { number } from "../format.js";
import { colour } from "../themes.js";

// Up to so many are elements, which can be looked at one by one; more are painted.
export const MOST_ELEMENTS = 2000;
const STOPS = 5;
const SHADES = 32;
const SHAPES = {
  __proto__: null,
  COMPLETE: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  PRUNED: (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`,
  RUNNING: (x, y, r) => `M${x - r} ${y - r}H${x + r}V${y + r}H${x - r}Z`,
};
const CROSS = (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x + r} ${y - r}L${x - r} ${y + r}`;

function kind(state) {
  return state === "WAITING" ? "RUNNING" : SHAPES[state] ? state : "FAILED";
}

export function shape(state, x, y, r) {
  return (SHAPES[kind(state)] ?? CROSS)(x.toFixed(1) * 1, y.toFixed(1) * 1, r);
}

// Colours of what has no value.
export function stateColours() {
  return { PRUNED: colour("calm"), RUNNING: colour("accent"), FAILED: colour("bad"), COMPLETE: colour("calm") };
}

export function markOf(state) {
  return kind(state);
}

// The best value has the strongest colour.  Values far behind all others share the faintest, so
// that the good ones can be told apart.
export function shades(values, direction) {
  const stops = Array.from({ length: STOPS }, (_, i) => parts(colour(`ramp-${i}`)));
  const table = Array.from({ length: SHADES }, (_, i) => blend(stops, i / (SHADES - 1)));
  const sign = direction === "maximize" ? -1 : 1;
  const losses = values.filter(Number.isFinite).map((value) => sign * value).sort((a, b) => a - b);
  const best = losses[0] ?? 0;
  const worst = losses[Math.ceil(0.95 * losses.length) - 1] ?? 1;
  return {
    best: losses.length ? sign * best : null,
    worst: losses.length ? sign * worst : null,
    cut: losses.length > 0 && losses.at(-1) > worst,
    of(value) {
      if (!Number.isFinite(value)) return null;
      const share = worst > best ? Math.min(1, Math.max(0, (sign * value - best) / (worst - best))) : 0;
      return table[Math.round(share * (SHADES - 1))];
    },
    table,
  };
}

function parts(text) {
  const found = text.match(/[\d.]+/g)?.slice(0, 3).map(Number) ?? [128, 128, 128];
  return text.startsWith("color(") ? found.map((value) => value * 255) : found;
}

function blend(stops, share) {
  const at = share * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const mixed = stops[i].map((value, part) => Math.round(value + (stops[i + 1][part] - value) * (at - i)));
  return `rgb(${mixed.join(", ")})`;
}

// What shapes and colours mean; `metric` is {name, direction}.
export function legend(states, metric, scale) {
  const kinds = [...new Set(states.map(kind))].filter((one) => one !== "COMPLETE");
  const colours = stateColours();
  const ramp = scale.best === null ? null : h("span", { class: "ramp" },
    h("span", { class: "muted clip", title: metric.name }, metric.name),
    h("span", {}, number(scale.best)),
    svg("svg", { class: "ramp-bar", viewBox: `0 0 ${SHADES} 1`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
      scale.table.map((fill, i) => svg("rect", { x: i, y: 0, width: 1.1, height: 1, fill }))),
    h("span", {}, number(scale.worst), scale.cut ? " and beyond" : ""));
  return [ramp, kinds.map((one) => h("span", { class: "mark-word" },
    svg("svg", { viewBox: "0 0 12 12", class: "mark-sign", "aria-hidden": "true", focusable: "false" },
      svg("path", { d: shape(one, 6, 6, 3.5), class: "mark", fill: "none", stroke: colours[one] })),
    one === "FAILED" ? "Failed, crashed or cancelled" : word(one)))];
}
