// Where a value stands on an axis: a share from 0 to 1, or null where it has no place there.

import { number, plain } from "../format.js";

const OPEN = 0.004;

// Of a description such as the API has it; the values are those that are drawn.
export function scaleOf(about, values) {
  return about.kind === "category" ? categories(about, values) : numbers(about, values);
}

// A description of values of which none is given.
export function guess(name, values) {
  const known = values.filter((value) => value !== undefined);
  const all = known.length > 0 && known.every((value) => typeof value === "number");
  return all ? { name, kind: "number", low: null, high: null, log: false, integer: known.every(Number.isInteger) }
    : { name, kind: "category", choices: [] };
}

export function keyOf(value) {
  return JSON.stringify(value);
}

function categories({ choices = [] }, values) {
  const known = new Map();
  for (const value of [...choices, ...values]) {
    if (value !== undefined && !known.has(keyOf(value))) known.set(keyOf(value), value);
  }
  const keys = [...known.keys()];
  const places = new Map(keys.map((key, i) => [key, (i + 0.5) / keys.length]));
  const texts = keys.map((key) => plain(known.get(key)));
  return {
    kind: "category",
    keys,
    texts,
    at: (value) => (value === undefined ? null : places.get(keyOf(value)) ?? null),
    ticks(most) {
      const every = Math.ceil(keys.length / Math.max(1, most));
      return keys.map((key, i) => ({ at: places.get(key), text: texts[i] })).filter((_, i) => i % every === 0);
    },
    // What is chosen by marking the part between two shares; of one place the nearest.
    between(low, high) {
      const inside = keys.filter((key) => places.get(key) >= low && places.get(key) <= high);
      const near = (key) => Math.abs(places.get(key) - (low + high) / 2);
      if (!inside.length && keys.length) inside.push(keys.reduce((a, b) => (near(b) < near(a) ? b : a)));
      return { of: inside };
    },
    share({ of }) {
      const half = 0.5 / keys.length;
      const marked = of.map((key) => places.get(key)).filter((at) => at !== undefined);
      return marked.length ? [Math.min(...marked) - half, Math.max(...marked) + half] : null;
    },
    allows: ({ of }, value) => value !== undefined && of.includes(keyOf(value)),
    tell: ({ of }) => of.map((key) => texts[keys.indexOf(key)] ?? key).join(", "),
  };
}

function numbers({ low, high, log = false, integer = false }, values) {
  const finite = values.filter(Number.isFinite);
  let first = finite.reduce((a, b) => Math.min(a, b), low ?? Infinity);
  let last = finite.reduce((a, b) => Math.max(a, b), high ?? -Infinity);
  if (first > last) [first, last] = [0, 1];
  if (first === last) [first, last] = log && first > 0 ? [first / 2, first * 2] : [first - 1, last + 1];
  const logarithmic = log && first > 0;
  const turn = logarithmic ? Math.log10 : (value) => value;
  const back = logarithmic ? (value) => 10 ** value : (value) => value;
  const [from, size] = [turn(first), turn(last) - turn(first)];
  const at = (value) => (Number.isFinite(value) && (!logarithmic || value > 0) ? (turn(value) - from) / size : null);
  const valueAt = (share) => back(from + share * size);
  const near = (share, up) => {
    const value = valueAt(share);
    return integer ? (up ? Math.ceil(value) : Math.floor(value)) : Number(value.toPrecision(4));
  };
  return {
    kind: "number",
    log: logarithmic,
    low: first,
    high: last,
    at,
    ticks: (most) => (logarithmic ? decades(first, last, most) : steps(first, last, most, integer))
      .map((value) => ({ at: at(value), value, text: number(value) }))
      .filter((tick) => tick.at > -1e-9 && tick.at < 1 + 1e-9),
    // Up to an end of the axis there is no bound: what comes later may lie beyond it.
    between: (start, end) => ({
      from: start <= OPEN ? null : near(start, true),
      to: end >= 1 - OPEN ? null : near(end, false),
    }),
    share: ({ from: start, to: end }) => [start === null ? 0 : at(start) ?? 0, end === null ? 1 : at(end) ?? 1],
    allows: ({ from: start, to: end }, value) =>
      Number.isFinite(value) && (start === null || value >= start) && (end === null || value <= end),
    tell: ({ from: start, to: end }) => {
      if (start === null) return `up to ${number(end)}`;
      return end === null ? `from ${number(start)}` : `${number(start)} to ${number(end)}`;
    },
  };
}

function steps(low, high, most, integer) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough) ?? rough;
  if (integer) step = Math.max(1, Math.round(step));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9 && found.length < 50; at += 1) {
    found.push(Number((at * step).toPrecision(12)));
  }
  return found;
}

function decades(low, high, most) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(1, most)));
  const within = last - first < 2 ? [1, 2, 5] : [1];
  const found = [];
  for (let power = first - 1; power <= last; power += every) {
    for (const times of within) {
      const value = Number((times * 10 ** power).toPrecision(6));
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
    }
  }
  return found.length > 1 ? found : [low, high];
}
