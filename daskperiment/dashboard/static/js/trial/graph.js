// The graph of a trial and the record of the step that is chosen.

import { get } from "../api.js";
import { badge } from "../badge.js";
import { button, fill, h, link, say, trouble } from "../dom.js";
import { bytes, count, duration, moment } from "../format.js";
import { graphView } from "../graph.js";
import { poll } from "../live.js";
import { api, pages, section } from "../urls.js";
import { lineage } from "./lineage.js";
import { reasons } from "./taints.js";

const MOST_ORIGINS = 20;

export function graph({ id, n, root, trial, rest, go }) {
  const view = graphView((node) => go(pages.trial(id, n, section("graph", node))), legend());
  const panel = h("aside", { class: "record card", "aria-label": "Record of a step", hidden: true });
  const notice = h("p", { class: "notice", hidden: true });
  const box = h("div", { class: "graph-box" }, view.element, panel);
  fill(root, h("p", { class: "waiting" }, "Loading ..."));
  let fetched = null;
  let data = null;
  let chosen = rest;
  let written = null;
  let kin = null;

  const polling = poll(async (signal) => {
    const next = await get(api.trial(id, n, "graph"), null, signal);
    if (next !== fetched) {
      fetched = next;
      mark();
    }
    return trial.state === "RUNNING" ? undefined : 6000;
  }, { failed });

  function failed(error) {
    fetched = data = null;
    trouble(root, error);
  }

  // Taints are of the trial's row, which may change after its graph.
  function mark() {
    const why = reasons(trial.taints);
    data = { ...fetched, nodes: fetched.nodes.map((node) => (node.kind === "step" && why.has(node.id) ? { ...node, tainted: why.get(node.id) } : node)) };
    draw();
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
    const node = named();
    view.choose(node?.id);
    panel.hidden = !node;
    box.classList.toggle("with-record", Boolean(node));
    const text = JSON.stringify(node ? [chosen, node] : null);
    if (text === written) {
      kin?.again();
      return;
    }
    written = text;
    kin = null;
    if (node) requestAnimationFrame(() => view.reveal(node.id));
    if (node) fill(panel, h("div", { class: "dialog-head" }, h("h2", {}, chosen), button("Close", close, { class: "button quiet" })), record(node));
    else panel.replaceChildren();
  }

  // A call that is not drawn by itself is shown by the node of all calls of its step.
  function named() {
    const drawn = data?.nodes.find((one) => one.id === chosen);
    if (drawn || !data || !chosen) return drawn;
    const [, name, call] = /^(.*)\[(\d+)\]$/s.exec(chosen) ?? [];
    const all = data.nodes.find((one) => one.calls > 1 && one.name === name);
    return all && { ...all, call: Number(call) };
  }

  function close() {
    if (!chosen) return false;
    const from = named()?.id;
    go(pages.trial(id, n, section("graph")));
    view.focus(from);
    return true;
  }

  function record(node) {
    kin = lineage({ id, n, node, drawn });
    if (node.kind === "parameter") {
      const found = trial.parameters.find(({ name }) => name === node.name);
      return [h("p", { class: "muted" }, "Parameter"), found ? h("pre", { class: "sample" }, found.preview) : null, kin.element];
    }
    const tainted = node.tainted ? h("p", { class: "taints" }, `Tainted: ${node.tainted}`) : null;
    if (!node.record) {
      if (node.calls > 1) return [tainted, calls(node), node.call === null ? null : why({ step: node.name, call: node.call }), kin.element];
      return [tainted, h("p", { class: "muted" }, trial.state === "RUNNING" ? "This call has not ended yet." : "This call has no record: it did not end."), kin.element];
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
      ["Reused from", other(one.reused_from, node.id)],
      ["Went on from", other(one.resumed_from, node.id)],
      ["Not hashed", one.unhashed ? plainText(one.unhashed) : null],
      ["Threads", threads],
      ["Host", one.host],
      ["Process", one.pid],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    return [
      tainted,
      why(one),
      kin.element,
      h("dl", { class: "details" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      h("h3", {}, "Inputs"),
      one.inputs?.length ? h("ul", { class: "inputs" }, one.inputs.map(input)) : h("p", { class: "muted" }, "None"),
    ];
  }

  function calls(node) {
    const which = h("input", { type: "text", inputmode: "numeric", class: "short-input", "aria-label": `Which call of ${node.name}`, value: node.call ?? "" });
    return [
      h("p", { class: "muted" }, `${node.calls} calls, in all ${duration(node.seconds) || "of unknown duration"}. Records of single calls are not drawn here.`),
      h("form", { class: "line which-call", on: { submit: (event) => {
        event.preventDefault();
        const call = which.value.trim();
        if (/^\d*$/.test(call)) go(pages.trial(id, n, section("graph", call ? `${node.name}[${Number(call)}]` : node.id)));
      } } }, h("label", { class: "line muted" }, "Lineage of call", which), h("button", { type: "submit", class: "button tiny" }, "Show")),
    ];
  }

  // What leads to an entry of the lineage, if it is in the graph.
  function drawn({ kind, name, call }) {
    const same = data.nodes.find((node) => node.kind === kind && node.name === name);
    return same && kind === "step" && call !== null ? `${name}[${call}]` : same?.id;
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

  function other(number, node) {
    if (number === null || number === undefined) return null;
    const here = /^[1-9]\d{0,15}$/.test(number);
    return here ? link(pages.trial(id, number, section("graph", node)), `trial ${number}`) : `trial ${number}`;
  }

  function input({ name, preview, digest: text, origins }) {
    const known = new Set(data.nodes.map((node) => node.id));
    return h("li", {}, h("b", {}, name), h("code", { class: "value" }, preview ?? ""), digest(text),
      origins?.length ? h("div", { class: "small muted" }, "from ", origins.slice(0, MOST_ORIGINS).map((origin, i) => [i ? ", " : "",
        known.has(origin) ? link(pages.trial(id, n, section("graph", origin)), origin) : origin]),
      origins.length > MOST_ORIGINS ? ` and ${count(origins.length - MOST_ORIGINS, "other")}` : null) : null);
  }

  return {
    update(next) {
      const changed = JSON.stringify(next.taints) !== JSON.stringify(trial.taints);
      trial = next;
      if (changed && fetched) mark();
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

function digest(text) {
  return text ? h("code", { class: "digest", title: text }, text.slice(0, 12)) : null;
}

function legend() {
  return h("p", { class: "graph-legend" }, ["ran", "reused", "failed", "pruned"].map((outcome) => badge(outcome)),
    h("span", { class: "muted small" }, "The bar shows the duration against the longest step. Arrow keys move between nodes, Enter opens a record, with what the step descends from (blue, to the left) and its descendants (orange, to the right)."));
}
