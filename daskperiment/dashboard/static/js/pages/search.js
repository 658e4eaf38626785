// One search: how it goes, its trials as charts and as a table.

import { get } from "../api.js";
import { badge, word } from "../badge.js";
import { button, fill, h, say } from "../dom.js";
import { count, plain, time } from "../format.js";
import { poll } from "../live.js";
import { bestParts, metricText, progress, samplerText } from "../search/facts.js";
import { legend, shades } from "../search/marks.js";
import { parallel } from "../search/parallel.js";
import { convergence as convergenceOf, front as frontOf, pair, telling } from "../search/pictures.js";
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
  const look = () => ({ about, rows: [...rows.values()], axes, chosen, colour, time: view.time });

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
    if (about.main === null) front.show(frontOf(look(), ...[firstMetric, secondMetric].map(({ value }) => axes.find((axis) => axis.id === `m:${value()}`))));
    else convergence.show(convergenceOf(look()));
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
    const parameters = (varied.length ? varied : names).map((one) =>
      axisOf(`p:${one.name}`, "parameter", one, (row) => parameterOf(row, one.name), all));
    const values = about.metrics.map((one, at) =>
      axisOf(`m:${one.name}`, "metric", { name: one.name, kind: "number", log: view.log }, (row) => valueOf(row, at), all));
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

  // How far above the others a trial is drawn: those that are chosen, and of these the best.
  function rank(row) {
    if (!inside(row)) return -Infinity;
    const value = valueOf(row, metric.at);
    if (!Number.isFinite(value)) return -Number.MAX_VALUE;
    return metric.direction === "maximize" ? value : -value;
  }

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
    keep(best, [about.best, about.pareto, counts], () => [h("h2", {}, about.main === null ? "Best so far" : `Best ${about.main} so far`), bestParts(id, about), progress(about)]);
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
    const [left, right] = pairOf(telling(look()), view.x, view.y);
    across.show(all_, left);
    upwards.show(all_, right);
    fill(meaning, legend(all.map((row) => row.state), metric, scale)); // colours may be others
  }

  function drawScatter() {
    const [x, y] = [across, upwards].map(({ value }) => axes.find((axis) => axis.id === value()));
    if (!x || !y) return;
    scatter.title(`${y.name} over ${x.name}`);
    scatter.show(pair(look(), x, y, metric));
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

// A parameter may be named like what every object has.
function parameterOf(row, name) {
  return Object.hasOwn(row.parameters, name) ? row.parameters[name] : undefined;
}

// Of a space that the server cannot read: what the trials have.
function unknown(all) {
  const names = [...new Set(all.flatMap((row) => Object.keys(row.parameters)))];
  return names.map((name) => guess(name, all.map((row) => parameterOf(row, name))));
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
