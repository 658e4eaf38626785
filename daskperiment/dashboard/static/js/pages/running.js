// What runs now and where: batches, trials by host, and what crashed meanwhile.

import { get } from "../api.js";
import { badge } from "../badge.js";
import { metricCell, missing, spark } from "../cells.js";
import { arrange, fill, h, link, say } from "../dom.js";
import { bytes, count, integer, number, percent, ticking, ticksLeft, time } from "../format.js";
import { poll } from "../live.js";
import { api, pages } from "../urls.js";

const METRICS = 3;
const EXAMPLE = 'trials = ex.map(s, [{"a": 1}, {"a": 2}, {"a": 3}])';

export function open(place) {
  const chosen = place.query.get("experiment") ?? "";
  place.title(chosen ? `Running: ${chosen}` : "Running");
  place.crumbs(["Running", pages.running()]);
  place.root.classList.add("running");
  const summary = h("p", { class: "muted" });
  const choice = h("select", { "aria-label": "Experiment", hidden: true, on: { change: () => place.go(pages.running(choice.value)) } });
  const body = h("div", { class: "stack" }, h("p", { class: "waiting" }, "Loading ..."));
  fill(place.root, h("div", { class: "head" }, h("div", {}, h("h1", {}, "Running"), summary), choice), body);

  const known = new Map();
  let shown = null;
  let busy = false;

  // Elements are made anew only where their facts changed, which keeps the focus.
  function keep(key, facts, make, change) {
    const text = JSON.stringify(facts);
    let entry = known.get(key);
    if (!entry) {
      entry = { element: make(), text: null };
      known.set(key, entry);
    }
    entry.used = true;
    if (entry.text !== text) {
      entry.text = text;
      change(entry.element);
    }
    return entry.element;
  }

  function draw() {
    for (const entry of known.values()) entry.used = false;
    const { batches, running, crashed, more } = shown;
    showChoice();
    const going = batches.filter(({ state }) => state === "RUNNING").length;
    say(summary, [going && count(going, "batch", "batches"), running.length && count(running.length + more, "trial")].filter(Boolean).join(", ") || "Nothing runs");
    const parts = [];
    if (batches.length) parts.push(part("batches", "Batches", batches.map(batch), "cards"));
    for (const [host, trials] of byHost(running)) parts.push(hostPart(host, trials));
    if (more) parts.push(keep("more", more, () => h("p", { class: "muted" }), (element) => say(element, `${count(more, "older trial")} left out.`)));
    if (!batches.length && !running.length) parts.push(keep("empty", crashed.length, () => h("div", { class: "empty" }), (element) => fill(element, nothing())));
    if (crashed.length) parts.push(crashedPart(crashed));
    for (const [key, { used }] of known) if (!used) known.delete(key);
    arrange(body, parts);
  }

  function showChoice() {
    const names = [...new Set([...shown.experiments, ...(chosen ? [chosen] : [])])];
    choice.hidden = names.length < 2;
    keep("choice", names, () => choice, () => {
      fill(choice, h("option", { value: "" }, "All experiments"), names.map((name) => h("option", { value: name }, name)));
      choice.value = chosen;
    });
  }

  function part(key, title, children, kind) {
    const element = keep(`part ${key}`, title, () => h("section", { "aria-label": title }, h("h2", { class: "part-title" }, title), h("div", { class: kind })), () => {});
    arrange(element.lastElementChild, children);
    return element;
  }

  function batch(one) {
    return keep(`batch ${one.batch}`, one, () => h("article", { class: "card batch", "data-batch": one.batch }), (element) => fill(element, batchCard(one)));
  }

  function table(key, title, heads, rows) {
    const element = keep(`table ${key}`, [title, heads], () => h("table", { class: "plain-table stacking" }), (made) => fill(made,
      h("caption", { class: "unseen" }, title),
      h("thead", {}, h("tr", {}, heads.map(([head, right]) => h("th", { scope: "col", class: right ? "number" : null }, head)))),
      h("tbody")));
    arrange(element.querySelector("tbody"), rows);
    return keep(`panel ${key}`, title, () => h("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": title }, element), () => {});
  }

  function hostPart(host, trials) {
    const gpus = [...new Set(trials.flatMap((one) => devices(one)))].sort();
    const heads = [["Trial"], ["Process"], ["Step"], ["Runs for"], ["CPU"], ["Memory"], ...gpus.map((name) => [name.replace("gpu", "GPU ")]), ["Metrics"], ["Parameters"]];
    const rows = trials.map((one) => row("running", one, heads, () => trialCells(one, gpus)));
    const processes = new Set(trials.flatMap((one) => places(one).map(({ pid }) => pid))).size;
    const facts = `${count(trials.length, "trial")} in ${count(processes, "process", "processes")}`;
    return part(`host ${host}`, `On ${host}`, [
      keep(`host ${host} facts`, facts, () => h("p", { class: "muted small" }), (element) => say(element, facts)),
      table(`host ${host}`, `Trials on ${host}`, heads, rows),
    ], "host");
  }

  function crashedPart(trials) {
    const heads = [["Trial"], ["State"], ["Started"], ["Process"], ["Parameters"]];
    const rows = trials.map((one) => row("crashed", one, heads, () => [
      badge(one.state), time(one.started), `${one.pid ?? ""} on ${one.host ?? ""}`, parameters(one.parameters),
    ]));
    return part("crashed", "Crashed", [table("crashed", "Trials that crashed", heads, rows)], "host");
  }

  function row(kind, one, heads, cells) {
    const { experiment, trial } = one;
    return keep(`${kind} ${experiment}/${trial}`, [one, heads], () => h("tr", { "data-trial": trial, "data-experiment": experiment },
      h("th", { scope: "row" }, link(pages.trial(experiment, trial), `Trial ${trial}`), h("span", { class: "of" }, " of ", h("a", { href: pages.trials(experiment), class: "clip", title: experiment }, experiment)))),
    (element) => {
      while (element.children.length > 1) element.lastElementChild.remove();
      element.append(...cells().map((content, i) => h("td", { "data-label": heads[i + 1][0] }, content)));
    });
  }

  function nothing() {
    return [h("h2", {}, "Nothing runs"),
      h("p", {}, "A trial or a batch that begins in any process on this store appears here by itself. Start one from Python:"),
      h("pre", { class: "sample" }, EXAMPLE),
      h("p", {}, link(chosen ? pages.trials(chosen) : pages.experiments(), chosen ? `All trials of ${chosen}` : "All experiments"))];
  }

  const polling = poll(async (signal) => {
    const data = await get(api.running(), { experiment: chosen }, signal);
    if (data === shown) return;
    shown = data;
    draw();
    const now = data.running.length + data.batches.length > 0;
    if (busy && !now) place.announce("Nothing runs any more.");
    busy = now;
  }, { failed: place.fail });

  function move(step) {
    const links = [...place.root.querySelectorAll("tbody th > a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
  }

  return {
    close: polling.stop,
    keys: [
      { key: "/", does: "Choose an experiment", run: () => (choice.hidden ? false : choice.focus()) },
      { key: "j", does: "Next trial", run: () => move(1) },
      { key: "k", does: "Previous trial", run: () => move(-1) },
      { key: "Enter", does: "Open it" },
    ],
  };
}

// The processes that run steps of a trial now; where that is not known yet, the one that began it.
function busyOf(one) {
  const busy = one.usage.filter(({ calls }) => calls.length);
  return busy.length ? busy : one.usage.slice(-1);
}

function places(one) {
  const busy = busyOf(one);
  return busy.length ? busy : [one];
}

function byHost(trials) {
  const hosts = new Map();
  for (const one of trials) {
    const host = places(one)[0].host ?? "unknown host";
    hosts.set(host, [...(hosts.get(host) ?? []), one]);
  }
  const sorted = [...hosts].sort(([one], [other]) => (one < other ? -1 : 1));
  const at = (one) => Number(places(one)[0].pid) || 0;
  return sorted.map(([host, all]) => [host, all.sort((one, other) => at(one) - at(other) || one.trial - other.trial)]);
}

function devices(one) {
  return busyOf(one).flatMap((use) => Object.keys(use).filter((name) => /^gpu\d+$/.test(name)));
}

function trialCells(one, gpus) {
  const all = places(one);
  const host = all[0].host;
  const processes = all.map((place) => (place.host === host ? String(place.pid ?? "") : `${place.pid} on ${place.host}`));
  const steps = one.calls.map(({ step, call }) => (call ? `${step}[${call}]` : step));
  return [
    h("span", { class: "clip" }, processes.join(", ")),
    steps.length ? h("span", { class: "clip", title: steps.join(", ") }, steps.join(", ")) : missing("not known yet"),
    ticking(one.started),
    used(one, "cpu", percent),
    used(one, "memory", bytes),
    ...gpus.map((name) => used(one, name, percent)),
    metrics(one.metrics),
    parameters(one.parameters),
  ];
}

// The sum over the processes, and how that of the first one went.
function used(one, name, show) {
  const known = busyOf(one).filter((use) => typeof use[name] === "number");
  if (!known.length) return missing("not sampled yet");
  const sum = known.reduce((total, use) => total + use[name], 0);
  return h("span", { class: "use" }, spark(known[0].spark?.[name] ?? [], { width: 48, floor: 0 }), h("span", {}, show(sum)));
}

function metrics(all) {
  const names = Object.keys(all);
  if (!names.length) return missing("no metrics yet");
  return h("span", { class: "pairs" }, names.slice(0, METRICS).map((name) => [
    h("span", { class: "muted clip", title: name }, name), metricCell(all[name])]),
  names.length > METRICS ? h("span", { class: "muted small" }, "and more") : null);
}

function parameters(all) {
  const text = Object.entries(all).map(([name, value]) => `${name}=${value}`).join(" ");
  return h("code", { class: "clip wide", title: text }, text);
}

function batchCard(one) {
  const ended = one.done + one.failed + one.skipped;
  const share = (number_) => ({ width: `${one.total ? (100 * number_) / one.total : 0}%` });
  const runs = one.state === "RUNNING";
  const text = `${integer(ended)} of ${count(one.total, "trial")} ended`;
  const pieces = [
    ["good", one.done - one.pruned, "done"], ["calm", one.pruned, "pruned"], ["bad", one.failed, "failed"], ["calm", one.skipped, "skipped"], ["busy", one.running, "running"],
  ];
  const taken = one.done + one.failed;
  return [
    h("div", { class: "batch-head" }, h("h3", {}, `Batch ${String(one.batch).slice(0, 8)}`), h("span", { class: "muted" }, "of ", one.search ? [link(pages.search(one.experiment, one.search), one.search), " of "] : null, link(pages.trials(one.experiment), one.experiment)),
      h("span", { class: "gap" }), badge(one.state)),
    h("div", { class: "bar", role: "progressbar", "aria-label": `Batch ${String(one.batch).slice(0, 8)} of ${one.experiment}`,
      "aria-valuemin": "0", "aria-valuemax": String(one.total), "aria-valuenow": String(ended), "aria-valuetext": text },
    pieces.map(([tone, size]) => (size ? h("span", { class: `bar-part ${tone}`, style: share(size) }) : null))),
    h("ul", { class: "bar-legend" },
      pieces.filter(([, size]) => size).map(([tone, size, word]) => h("li", { class: tone }, h("span", { class: "dot", "aria-hidden": "true" }), `${integer(size)} ${word}`)),
      h("li", {}, `${integer(one.left)} left`), h("li", { class: "muted" }, `of ${integer(one.total)}`)),
    h("p", { class: "facts" },
      runs ? h("span", {}, "Runs for ", ticking(one.started)) : h("span", {}, "Began ", time(one.started)),
      runs && taken ? h("span", {}, "About ", ticksLeft(one.started, (one.left + one.running) / taken), " left") : null,
      best(one)),
    runs ? null : h("p", { class: "dirty" }, "Its process is gone. ", h("code", {}, "daskperiment resume"), " goes on with it."),
    h("p", { class: "muted small" }, [one.script, one.executor, `process ${one.pid} on ${one.host}`].filter(Boolean).join(", ")),
  ];
}

function best({ best: found, experiment }) {
  if (!found || typeof found !== "object" || found.value === undefined) return null;
  const trial = Number.isInteger(found.trial) ? link(pages.trial(experiment, found.trial), `trial ${found.trial}`) : null;
  return h("span", {}, "Best ", h("b", {}, number(found.value)), trial ? [" in ", trial] : null);
}
