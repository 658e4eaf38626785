// One search: how it goes, its trials as charts and as a table.

import { get } from "../api.js";
import { badge, word } from "../badge.js";
import { button, fill, h, link, say } from "../dom.js";
import { count, duration, integer, number, plain, time } from "../format.js";
import { poll } from "../live.js";
import { metricText, progress, samplerText } from "../search/facts.js";
import { legend, shades } from "../search/marks.js";
import { parallel } from "../search/parallel.js";
import { plane } from "../search/plane.js";
import { rangeFields } from "../search/ranges.js";
import { rowsTable } from "../search/rows.js";
import { guess, scaleOf } from "../search/scales.js";
import { tip } from "../search/tip.js";
import { readRanges, viewAddress } from "../search/view.js";
import { onTheme } from "../themes.js";
import { api, pages, withQuery } from "../urls.js";

const LIVE = 1500;
const ENDED = 7000;
const JITTER = 0.5;

export function open(place) {
  const { id, name } = place.params;
  const call = (text) => {
    place.title(`Search ${text} of ${id}`);
    place.crumbs([id, pages.trials(id)], ["Searches", pages.searches(id)], [text, pages.search(id, name)]);
  };
  call(name);
  place.root.classList.add("search");
  const rows = new Map();
  let about = null;
  let cursor = null;
  let last = null;
  let view = readView();
  let axes = [];
  let metric = null;
  let scale = null;
  let chosen = new Set();
  let frame = null;

  const title = h("h1", { title: name }, name);
  const state = h("span", { class: "slot" });
  const facts = h("p", { class: "facts" });
  const note = h("p", { class: "note", hidden: true });
  const body = h("div", { class: "stack" }, h("p", { class: "waiting" }, "Loading ..."));
  fill(place.root, h("div", { class: "trial-head" }, h("div", { class: "trial-title" }, title, state), facts, note), body);

  const pointed = tip(() => about.metrics);
  const openTrial = (row) => place.go(pages.trial(id, row.trial));
  const log = toggle("Log values", "Logarithmic scale of the values", () => turn({ log: !view.log }));
  const over = toggle("Over time", "Trials by the time at which they have ended", () => turn({ time: !view.time }));
  const colourBy = choice("Colour by", (value) => turn({ metric: value }));
  const across = choice("Across", (value) => turn({ x: value }));
  const upwards = choice("Upwards", (value) => turn({ y: value }));
  const firstMetric = choice("Metric across", (value) => turn({ first: value }));
  const secondMetric = choice("Metric upwards", (value) => turn({ second: value }));
  const convergence = plane({ title: "Convergence", kind: "convergence", tools: [over], open: openTrial, pointed });
  const front = plane({ title: "Pareto front", kind: "pareto", tools: [firstMetric.element, secondMetric.element], open: openTrial, pointed });
  const scatter = plane({ title: "Two parameters", kind: "scatter", tools: [across.element, upwards.element], open: openTrial, pointed });
  const lines = parallel({ mark, clear, pointed });
  const fields = rangeFields({ mark, clear });
  const table = rowsTable({ id, sort: (order) => turn({ order }) });
  const meaning = h("div", { class: "marks" });
  const best = h("section", { class: "card best-card", "aria-label": "Best so far" });
  const tools = h("div", { class: "tools" }, meaning, h("span", { class: "gap" }), colourBy.element, log);
  lines.element.append(fields.element);
  const forget = onTheme(() => {
    if (about) draw();
  });

  // -- what is asked, and what of it is looked at

  const polling = poll(async (signal) => {
    const data = await get(api.search(id, name), { since: cursor }, signal);
    if (data !== last) take(data);
    if (data.more) return 0;
    return data.running || data.state === "RUNNING" || data.state === "WAITING" ? LIVE : ENDED;
  }, { failed: place.fail });

  function take(data) {
    const before = about?.state;
    last = data;
    cursor = data.cursor;
    if (data.whole) rows.clear();
    for (const row of data.rows) rows.set(row.place, row);
    about = data;
    if (data.more) return;
    // What is being marked is drawn when it is done.
    if (!lines.dragging) draw();
    if (before === "RUNNING" && data.state !== before) place.announce(`The search has ended: ${word(data.state)}`);
  }

  function readView() {
    const { query } = place;
    return {
      ranges: readRanges(query), order: query.get("order_by"), x: query.get("x"), y: query.get("y"), metric: query.get("metric"),
      first: query.get("first"), second: query.get("second"), log: query.has("log"), time: query.has("time"),
    };
  }

  function turn(change) {
    view = { ...view, ...change };
    place.go(withQuery(pages.search(id, name), viewAddress(view)), { replace: true });
  }

  // While a part of an axis is marked, only what is chosen by it changes.
  function mark(axis, range, done) {
    if (!range && !view.ranges.has(axis)) return;
    if (range) view.ranges.set(axis, range);
    else view.ranges.delete(axis);
    if (done) turn({});
    else frame ??= requestAnimationFrame(narrow);
  }

  function narrow() {
    frame = null;
    choose();
    lines.narrow(view.ranges);
    drawScatter();
  }

  function clear() {
    if (!view.ranges.size) return;
    view.ranges.clear();
    turn({});
    place.announce("All trials are shown.");
  }

  // Elements are made anew only where their facts changed, which keeps the focus.
  const known = new Map();
  function keep(element, facts_, make) {
    const text = JSON.stringify(facts_);
    if (known.get(element) === text) return;
    known.set(element, text);
    fill(element, make());
  }

  const inside = (row) => chosen.has(row);
  function choose() {
    const limits = axes.filter((axis) => view.ranges.has(axis.id)).map((axis) => [axis, view.ranges.get(axis.id)]);
    chosen = new Set([...rows.values()].filter((row) => limits.every(([axis, range]) => axis.scale.allows(range, axis.value(row)))));
  }
  const colour = (row) => scale.of(valueOf(row, metric.at));

  // -- drawing

  function draw() {
    const all = [...rows.values()];
    showHead();
    if (!all.length) {
      fill(body, h("div", { class: "empty" }, h("h2", {}, "No trial yet"), h("p", {}, "The trials of this search appear here by themselves.")));
      return;
    }
    prepare(all);
    const first = about.main === null ? front : convergence;
    const parts = [h("div", { class: "columns" }, first.element, best), tools, lines.element, axes.length > 1 ? scatter.element : null, table.element, pointed.element];
    if (body.firstElementChild?.firstElementChild !== first.element) fill(body, parts);
    showTools(all);
    if (about.main === null) drawFront(all);
    else drawConvergence(all);
    lines.show({
      axes, rows: all, ranges: view.ranges, inside, colour, rank,
      about: `${count(all.length, "trial")}; what a trial has not is a gap in its line`,
      text: `Parallel coordinates of ${count(all.length, "trial")} over ${axes.map((axis) => axis.name).join(", ")}; drag along an axis to choose a range, or use the fields below`,
    });
    drawScatter();
    drawChosen(all);
  }

  function prepare(all) {
    const names = about.scales.length ? about.scales : unknown(all);
    const varied = names.filter((one) => one.kind === "number" || one.choices.length !== 1);
    const parameters = (varied.length ? varied : names).map((one) => axisOf(`p:${one.name}`, "parameter", one, (row) => (Object.hasOwn(row.parameters, one.name) ? row.parameters[one.name] : undefined), all));
    const values = about.metrics.map((one, at) => axisOf(`m:${one.name}`, "metric", { name: one.name, kind: "number", low: null, high: null, log: view.log, integer: false }, (row) => valueOf(row, at), all));
    axes = [...parameters, ...values];
    // An address may have ranges that are none here.
    for (const [key, range] of view.ranges) {
      const axis = axes.find((one) => one.id === key);
      if (!axis || (axis.scale.kind === "category") !== Boolean(range.of)) view.ranges.delete(key);
    }
    choose();
    const at = [view.metric, about.main].map((one) => about.metrics.findIndex((each) => each.name === one)).find((found) => found >= 0) ?? 0;
    metric = { ...about.metrics[at], at };
    scale = shades(all.map((row) => valueOf(row, at)), metric.direction);
  }

  function axisOf(key, kind, description, value, all) {
    return { id: key, kind, name: description.name, value, scale: scaleOf(description, all.map(value)) };
  }

  const losses = (row) => {
    const value = valueOf(row, metric.at);
    return Number.isFinite(value) ? (metric.direction === "maximize" ? -value : value) : null;
  };
  const rank = (row) => {
    const loss = losses(row);
    return (inside(row) ? 0 : -1e300) + (loss === null ? -1e299 : -Math.max(-1e298, Math.min(1e298, loss)));
  };

  function showHead() {
    // The address may have its uid.
    if (title.textContent !== about.search) {
      say(title, about.search);
      call(about.search);
    }
    keep(state, about.state, () => badge(about.state));
    const main = about.metrics.filter((one) => about.main === null || one.name === about.main);
    keep(facts, [about.sampler, main, about.seed, about.started], () => [fact("Sampler", samplerText(about.sampler)),
      fact(main.length > 1 ? "Metrics" : "Metric", main.map(metricText).join(", ")), fact("Seed", plain(about.seed)), h("span", {}, "Began ", time(about.started))]);
    note.hidden = !about.description;
    say(note, about.description);
    const counts = [about.trials, about.complete, about.pruned, about.failed, about.running, about.n_trials];
    keep(best, [about.best, about.pareto, counts], () => [h("h2", {}, about.main === null ? "Best so far" : `Best ${about.main} so far`), bestParts(), progress(about)]);
  }

  function bestParts() {
    if (about.main === null) {
      const numbers = about.pareto ?? [];
      if (!numbers.length) return h("p", { class: "muted" }, "No trial with all values yet");
      return [h("p", { class: "result" }, integer(numbers.length)), h("p", { class: "muted" }, `${numbers.length === 1 ? "trial" : "trials"} that none is better than in all metrics`),
        h("p", { class: "pareto-trials" }, numbers.slice(0, 12).map((trial, i) => [i ? " " : null, link(pages.trial(id, trial), String(trial))]), numbers.length > 12 ? " ..." : null)];
    }
    const found = about.best;
    if (!found) return h("p", { class: "muted" }, "No trial with a value yet");
    return [h("p", { class: "result", "data-best": found.trial }, number(found.value)), h("p", {}, "in ", link(pages.trial(id, found.trial), `trial ${found.trial}`)),
      h("dl", { class: "details" }, Object.entries(found.parameters).map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, plain(value)))))];
  }

  function showTools(all) {
    const values = all.map((row) => valueOf(row, metric.at)).filter(Number.isFinite);
    log.disabled = !view.log && values.some((value) => value <= 0);
    press(log, view.log);
    press(over, view.time);
    const metrics = about.metrics.map((one) => [one.name, one.name]);
    colourBy.show(metrics, metric.name);
    colourBy.element.hidden = metrics.length < 2;
    const [x, y] = pairOf(metrics.map(([key]) => key), view.first, view.second);
    firstMetric.show(metrics, x);
    secondMetric.show(metrics, y);
    const all_ = axes.map((axis) => [axis.id, axis.name]);
    const [left, right] = pairOf(telling(all), view.x, view.y);
    across.show(all_, left);
    upwards.show(all_, right);
    fill(meaning, legend(all.map((row) => row.state), metric, scale)); // colours may be others
  }

  // Axes that say much come first: of numbers, and of parameters that all trials have.
  function telling(all) {
    const has = (axis) => all.filter((row) => axis.scale.at(axis.value(row)) !== null).length / all.length;
    const worth = new Map(axes.map((axis) => [axis.id, has(axis) + (axis.scale.kind === "number" ? 0.5 : 0) - (axis.kind === "metric" ? 2 : 0)]));
    return axes.map((axis) => axis.id).sort((a, b) => worth.get(b) - worth.get(a));
  }

  function drawConvergence(all) {
    const at = about.metrics.findIndex((one) => one.name === about.main);
    const y = axes.find((axis) => axis.id === `m:${about.main}`);
    const when = view.time ? (row) => sinceStart(row) : (row) => row.place;
    const plainScale = scaleOf({ kind: "number", low: 0, high: view.time ? null : 1, integer: !view.time }, all.map(when));
    const x = view.time ? { ...plainScale, ticks: (most) => plainScale.ticks(most).map((tick) => ({ ...tick, text: duration(tick.value) })) } : plainScale;
    const sign = about.metrics[at].direction === "maximize" ? -1 : 1;
    const sorted = all.filter((row) => Number.isFinite(valueOf(row, at))).sort((a, b) => when(a) - when(b));
    const line = [];
    let least = Infinity;
    for (const row of sorted) {
      const value = valueOf(row, at);
      if (sign * value >= least || y.scale.at(value) === null) continue;
      least = sign * value;
      line.push([x.at(when(row)), y.scale.at(value)]);
    }
    if (line.length) line.push([1, line.at(-1)[1]]);
    convergence.show({
      x: { scale: x, name: view.time ? "Time since it began" : "Place" }, y: { scale: y.scale, name: about.main }, line,
      points: all.map((row) => ({ row, x: x.at(when(row)) ?? 0, y: y.scale.at(valueOf(row, at)), colour: colour(row), out: !inside(row) })),
      about: "Values of the trials, and the best one so far as a line",
      text: `Convergence of ${about.main}: ${count(sorted.length, "value")}${about.best ? `, best ${number(about.best.value)} in trial ${about.best.trial}` : ""}`,
    });
  }

  function sinceStart(row) {
    return Math.max(0, (Date.parse(row.started) - Date.parse(about.started)) / 1000 + (typeof row.seconds === "number" ? row.seconds : 0));
  }

  function drawFront(all) {
    const [x, y] = [firstMetric, secondMetric].map(({ value }) => axes.find((axis) => axis.id === `m:${value()}`));
    const marked = new Set(about.pareto ?? []);
    const points = all.map((row) => ({ row, x: x.scale.at(x.value(row)), y: y.scale.at(y.value(row)), colour: colour(row), out: !inside(row), front: marked.has(row.trial) }))
      .filter((point) => point.x !== null && point.y !== null);
    const [signX, signY] = [x, y].map((axis) => (about.metrics.find((one) => one.name === axis.name).direction === "maximize" ? -1 : 1));
    const line = [];
    const sorted = points.filter(({ row }) => row.state === "COMPLETE").sort((a, b) => signX * (a.x - b.x) || signY * (a.y - b.y));
    for (const point of sorted) {
      if (!line.length || signY * point.y < signY * line.at(-1)[1]) line.push([point.x, point.y]);
    }
    const without = all.length - points.length;
    front.show({
      x: { scale: x.scale, name: x.name }, y: { scale: y.scale, name: y.name }, points, line,
      about: [`${count(marked.size, "trial")} that none is better than`, without ? `${integer(without)} without both values` : ""].filter(Boolean).join("; "),
      text: `Pareto front of ${x.name} and ${y.name}: ${count(marked.size, "trial")} of ${integer(points.length)}`,
    });
  }

  function drawScatter() {
    const [x, y] = [across, upwards].map(({ value }) => axes.find((axis) => axis.id === value()));
    if (!x || !y) return;
    const points = [...chosen].map((row) => ({ row, x: spread(x, row, 1), y: spread(y, row, 2), colour: colour(row) }))
      .filter((point) => point.x !== null && (point.y !== null || y.kind === "metric"));
    const without = chosen.size - points.length;
    scatter.title(`${y.name} over ${x.name}`);
    scatter.show({
      x: { scale: x.scale, name: x.name }, y: { scale: y.scale, name: y.name }, points,
      about: [`${count(points.length, "trial")}`, without ? `${integer(without)} without one of both` : ""].filter(Boolean).join("; "),
      text: `${y.name} over ${x.name}: ${count(points.length, "trial")}, coloured by ${metric.name}`,
    });
  }

  // Beside each other within a category, always at the same place.
  function spread(axis, row, salt) {
    const at = axis.scale.at(axis.value(row));
    if (at === null || axis.scale.kind === "number") return at;
    const chance = ((row.place * salt * 0.6180339887) % 1) - 0.5;
    return at + (JITTER * chance) / axis.scale.keys.length;
  }

  function drawChosen(all) {
    fields.show(axes, view.ranges);
    const columns = [
      { id: "place", name: "Place", kind: "place", right: true, value: (row) => row.place },
      { id: "trial", name: "Trial", kind: "trial", value: (row) => row.trial },
      { id: "state", name: "State", kind: "state", value: (row) => row.state },
      ...axes.map(({ id: key, name: text, kind, value, scale: own }) => ({ id: key, name: text, kind, value, right: own.kind === "number" })),
      { id: "seconds", name: "Duration", kind: "seconds", right: true, value: (row) => row.seconds },
    ];
    table.show({ columns, rows: [...chosen], all: all.length, order: view.order ?? standardOrder() });
  }

  function standardOrder() {
    const main = about.metrics.find((one) => one.name === about.main);
    return main ? `${main.direction === "maximize" ? "-" : ""}m:${main.name}` : "place";
  }

  function move(step) {
    const links = [...place.root.querySelectorAll("tbody th > a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
  }

  return {
    close() {
      polling.stop();
      cancelAnimationFrame(frame);
      forget();
      for (const one of [convergence, front, scatter, lines]) one.close();
    },
    turned() {
      view = readView();
      if (about) draw();
    },
    keys: [
      { key: "Escape", does: "Clear the ranges", run: clear },
      { key: "j", does: "Next trial", run: () => move(1) },
      { key: "k", does: "Previous trial", run: () => move(-1) },
      { key: "Enter", does: "Open the trial" },
    ],
  };
}

function valueOf(row, at) {
  return row.values[at] ?? null;
}

function fact(label, text) {
  return h("span", {}, `${label} `, h("b", { class: "clip", title: text }, text));
}

// Two different ones of some, as far as there are two.
function pairOf(all, first, second) {
  const left = all.includes(first) ? first : all.find((one) => one !== second) ?? all[0];
  const right = all.includes(second) ? second : all.find((one) => one !== left) ?? all[0];
  return [left, right];
}

// Of a space that the server cannot read: what the trials have.
function unknown(all) {
  const names = [...new Set(all.flatMap((row) => Object.keys(row.parameters)))];
  return names.map((name) => guess(name, all.map((row) => (Object.hasOwn(row.parameters, name) ? row.parameters[name] : undefined))));
}

function toggle(text, title, click) {
  return button(text, click, { class: "button tiny", title, "aria-pressed": "false" });
}

function press(one, on) {
  one.setAttribute("aria-pressed", String(on));
}

function choice(label, change) {
  const select = h("select", { "aria-label": label, on: { change: () => change(select.value) } });
  let known = null;
  return {
    element: h("label", { class: "line muted small choose" }, label, select),
    value: () => select.value,
    show(options, value) {
      const text = JSON.stringify(options);
      if (text !== known) fill(select, options.map(([key, name]) => h("option", { value: key }, name)));
      known = text;
      select.value = value;
    },
  };
}
