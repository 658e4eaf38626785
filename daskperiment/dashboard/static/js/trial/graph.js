// The graph of a trial and the record of the step that is chosen.

import { get } from "../api.js";
import { badge } from "../badge.js";
import { button, fill, h, link, say, trouble } from "../dom.js";
import { bytes, count, duration, moment } from "../format.js";
import { graphView } from "../graph.js";
import { poll } from "../live.js";
import { api, pages, section } from "../urls.js";

export function graph({ id, n, root, trial, rest, go }) {
  const view = graphView((node) => go(pages.trial(id, n, section("graph", node))), legend());
  const panel = h("aside", { class: "record card", "aria-label": "Record of a step", hidden: true });
  const notice = h("p", { class: "notice", hidden: true });
  const box = h("div", { class: "graph-box" }, view.element, panel);
  fill(root, h("p", { class: "waiting" }, "Loading ..."));
  let data = null;
  let chosen = rest;
  let drawn = null;

  const polling = poll(async (signal) => {
    const next = await get(api.trial(id, n, "graph"), null, signal);
    if (next !== data) {
      data = next;
      draw();
    }
    return trial.state === "RUNNING" ? undefined : 6000;
  }, { failed });

  function failed(error) {
    data = null;
    trouble(root, error);
  }

  function draw() {
    if (!data.nodes.length) {
      fill(root, h("div", { class: "empty" }, h("h2", {}, "No steps"),
        h("p", {}, "Functions that are decorated with ", h("code", {}, "@ex"), " or ", h("code", {}, "@ex.result"), " appear here when they ran.")));
      return;
    }
    if (box.parentNode !== root) fill(root, notice, box);
    say(notice, [
      data.collapsed ? "There are too many calls to draw each of them: a node stands for all calls of a step." : "",
      data.omitted ? `${count(data.omitted, "parameter or step is", "parameters and steps are")} left out.` : "",
    ].filter(Boolean).join(" "));
    notice.hidden = !notice.textContent;
    view.show(data);
    showRecord();
  }

  function showRecord() {
    view.choose(chosen);
    const node = data?.nodes.find((one) => one.id === chosen);
    panel.hidden = !node;
    box.classList.toggle("with-record", Boolean(node));
    const text = JSON.stringify(node ?? null);
    if (text === drawn) return;
    drawn = text;
    if (node) requestAnimationFrame(() => view.reveal(node.id));
    if (node) fill(panel, h("div", { class: "dialog-head" }, h("h2", {}, node.id), button("Close", close, { class: "button quiet" })), record(node));
    else panel.replaceChildren();
  }

  function close() {
    if (!chosen) return false;
    const from = chosen;
    go(pages.trial(id, n, section("graph")));
    view.focus(from);
    return true;
  }

  function record(node) {
    if (node.kind === "parameter") {
      const found = trial.parameters.find(({ name }) => name === node.label);
      return [h("p", { class: "muted" }, "Parameter"), found ? h("pre", { class: "sample" }, found.preview) : null];
    }
    if (!node.record) {
      return h("p", { class: "muted" }, node.calls > 1
        ? `${node.calls} calls, in all ${duration(node.seconds) || "of unknown duration"}. Records of single calls are not drawn here.`
        : trial.state === "RUNNING" ? "This call has not ended yet." : "This call has no record: it did not end.");
    }
    const one = node.record;
    const threads = Object.entries(one.threads ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
    const rows = [
      ["Outcome", badge(one.outcome ?? "ran")],
      ["Duration", duration(one.seconds)],
      ["Started", one.started && moment(one.started)],
      ["Call", String(one.call)],
      ["Seed", one.seed === null || one.seed === undefined ? null : h("code", {}, String(one.seed))],
      ["Random", randomness(one)],
      ["Output", digest(one.output)],
      ["Code", digest(one.fingerprint)],
      ["Kept", one.kept && h("span", {}, h("code", { class: "value" }, one.kept.preview), h("span", { class: "muted" }, ` ${[one.kept.type, bytes(one.kept.size)].filter(Boolean).join(", ")}`))],
      ["Reused from", other(one.reused_from)],
      ["Went on from", other(one.resumed_from)],
      ["Not hashed", one.unhashed ? plainText(one.unhashed) : null],
      ["Threads", threads],
      ["Host", one.host],
      ["Process", one.pid],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    return [
      why(one),
      h("dl", { class: "details" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("h3", {}, "Inputs"),
      one.inputs?.length ? h("ul", { class: "inputs" }, one.inputs.map(input)) : h("p", { class: "muted" }, "None"),
    ];
  }

  // Asked for only when somebody looks: trials before it are read for that.
  function why({ step, call }) {
    const line = h("p", { class: "why", hidden: true });
    get(api.trial(id, n, "why"), { step, call }).then((told) => {
      fill(line, plainText(told.why));
      line.hidden = false;
    }, () => {});
    return line;
  }

  function input({ name, preview, digest: text, origins }) {
    const known = new Set(data.nodes.map((node) => node.id));
    return h("li", {}, h("b", {}, name), h("code", { class: "value" }, preview ?? ""), digest(text),
      origins?.length ? h("div", { class: "small muted" }, "from ", origins.map((origin, i) => [i ? ", " : "",
        known.has(origin) ? link(pages.trial(id, n, section("graph", origin)), origin) : origin])) : null);
  }

  return {
    update(next) {
      trial = next;
    },
    turned(next) {
      chosen = next;
      if (data) showRecord();
    },
    escape: close,
    close() {
      polling.stop();
      view.close();
    },
  };
}

function plainText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function randomness({ drew, entropy }) {
  if (entropy) return "drew numbers that the seed does not fix";
  return drew ? "drew numbers that follow the seed" : "drew none";
}

function other(trial) {
  return trial === null || trial === undefined ? null : `trial ${trial}`;
}

function digest(text) {
  return text ? h("code", { class: "digest", title: text }, text.slice(0, 12)) : null;
}

function legend() {
  return h("p", { class: "graph-legend" }, ["ran", "reused", "failed"].map((outcome) => badge(outcome)),
    h("span", { class: "muted small" }, "The bar shows the duration against the longest step. Arrow keys move between nodes, Enter opens a record."));
}
