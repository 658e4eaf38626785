// The graph of a trial: nodes are buttons in layers from left to right, above curved edges.

import { sign, stateSign, tone, word } from "./badge.js";
import { arrange, button, fill, h, svg } from "./dom.js";
import { duration } from "./format.js";

const WIDTH = 168;
const HEIGHT = 52;
const ACROSS = 228;
const DOWN = 70;
const EDGE = 20;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function graphView(open, legend) {
  const lines = svg("svg", { class: "edges", "aria-hidden": "true", focusable: "false" });
  const holder = h("div", { class: "nodes" });
  const plane = h("div", { class: "plane" }, lines, holder);
  const frame = h("div", { class: "graph-frame", role: "group", "aria-label": "Graph of steps" }, plane);
  const tools = h("div", { class: "graph-tools" },
    button("−", () => byHand(size / 1.25), { class: "button tiny", "aria-label": "Smaller" }),
    button("Fit", () => { manual = false; fit(0.3); }, { class: "button tiny" }),
    button("+", () => byHand(size * 1.25), { class: "button tiny", "aria-label": "Larger" }));
  const element = h("div", { class: "graph" }, tools, frame, legend);
  const nodes = new Map();
  let graph = null;
  let edges = [];
  let size = 1;
  let chosen = null;
  let manual = false;
  const watch = new ResizeObserver(() => {
    if (graph && !manual) fit();
  });
  watch.observe(frame);

  holder.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    const from = nodes.get(event.target.dataset.node);
    if (!step || !from) return;
    event.preventDefault();
    nearest(from.node, step)?.focus();
  });
  for (const [event, on] of [["mouseover", true], ["mouseout", false], ["focusin", true], ["focusout", false]]) {
    holder.addEventListener(event, ({ target }) => {
      const button = target.closest("button");
      if (button) trace(on ? button.dataset.node : chosen);
    });
  }

  function show(next) {
    const first = graph === null;
    graph = next;
    const wide = Math.max(1, graph.layers) * ACROSS - (ACROSS - WIDTH) + 2 * EDGE;
    const high = Math.max(1, graph.slots) * DOWN - (DOWN - HEIGHT) + 2 * EDGE;
    plane.style.width = `${wide}px`;
    plane.style.height = `${high}px`;
    lines.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    const longest = Math.max(0, ...graph.nodes.map(({ seconds }) => seconds ?? 0));
    const wanted = graph.nodes.map((node) => draw(node, longest));
    const there = new Set(graph.nodes.map(({ id }) => id));
    for (const id of nodes.keys()) if (!there.has(id)) nodes.delete(id);
    arrange(holder, wanted);
    drawEdges();
    if (first) fit();
    trace(chosen);
  }

  function draw(node, longest) {
    const text = JSON.stringify([node, longest]);
    let known = nodes.get(node.id);
    if (!known) {
      const one = h("button", { type: "button", "data-node": node.id, on: { click: () => open(node.id) } });
      known = { element: one, text: null };
      nodes.set(node.id, known);
    }
    known.node = node;
    if (known.text === text) return known.element;
    known.text = text;
    const one = known.element;
    const at = place(node);
    one.style.left = `${at.x}px`;
    one.style.top = `${at.y}px`;
    const step = node.kind === "step";
    one.className = `node ${node.kind} ${step ? tone(node.outcome ?? "") : ""}`;
    const share = longest > 0 && node.seconds ? node.seconds / longest : 0;
    const longestOne = share === 1 && graph.nodes.length > 1;
    one.title = describe(node, longestOne);
    one.setAttribute("aria-label", one.title);
    one.classList.toggle("longest", longestOne);
    fill(one,
      step ? (node.outcome ? stateSign(node.outcome) : sign("ring")) : null,
      h("span", { class: "node-text" },
        h("span", { class: "node-label" }, node.label,
          node.calls > 1 ? h("span", { class: "node-call" }, ` × ${node.calls}`) : null),
        h("span", { class: "node-note" }, step ? note(node) : "parameter")),
      node.tainted ? h("span", { class: "node-taint", title: `Tainted: ${node.tainted}` }, sign("slash")) : null,
      share ? h("span", { class: "node-bar", style: { width: `${Math.max(2, share * 100)}%` } }) : null);
    return one;
  }

  function drawEdges() {
    const text = JSON.stringify([graph.edges, graph.nodes.map(({ id, layer, slot }) => [id, layer, slot])]);
    if (edges.text === text) return;
    const found = [];
    for (const { from, to, bends } of graph.edges) {
      const [start, end] = [nodes.get(from), nodes.get(to)];
      if (!start || !end) continue;
      const passed = bends.map(([layer, slot]) => place({ layer, slot }));
      found.push({ from, to, path: svg("path", { class: "edge", d: curve(place(start.node), passed, place(end.node)) }) });
    }
    found.text = text;
    edges = found;
    fill(lines, edges.map(({ path }) => path));
  }

  // From the right of one place through the others to the left of the last one.
  function curve(first, passed, last) {
    const middle = ({ y }) => y + HEIGHT / 2;
    let [x, y] = [first.x + WIDTH, middle(first)];
    let line = `M${x} ${y}`;
    for (const stop of [...passed, last]) {
      const bend = Math.max(24, (stop.x - x) / 2);
      line += `C${x + bend} ${y} ${stop.x - bend} ${middle(stop)} ${stop.x} ${middle(stop)}`;
      [x, y] = [stop.x + WIDTH, middle(stop)];
      if (stop !== last) line += `H${x}`;
    }
    return line;
  }

  // Marks what a node came from and what came from it.
  function trace(id) {
    const none = { edges: new Set(), nodes: new Set() };
    const there = id && nodes.has(id);
    const above = there ? walk(id, "from", "to") : none;
    const below = there ? walk(id, "to", "from") : none;
    element.classList.toggle("tracing", above.edges.size + below.edges.size > 0);
    element.classList.toggle("chosen", Boolean(there) && id === chosen);
    for (const one of edges) {
      one.path.classList.toggle("above", above.edges.has(one));
      one.path.classList.toggle("below", below.edges.has(one));
    }
    for (const [name, { element: one }] of nodes) {
      one.classList.toggle("self", there && name === id);
      one.classList.toggle("above", name !== id && above.nodes.has(name));
      one.classList.toggle("below", name !== id && below.nodes.has(name));
    }
  }

  function walk(id, toward, back) {
    const by = Map.groupBy(edges, (edge) => edge[back]);
    const seen = new Set([id]);
    const marked = new Set();
    for (const at of seen) { // a set that grows meanwhile
      for (const edge of by.get(at) ?? []) {
        marked.add(edge);
        seen.add(edge[toward]);
      }
    }
    return { edges: marked, nodes: seen };
  }

  function choose(id) {
    chosen = id ?? null;
    for (const [name, { element: one }] of nodes) {
      if (name === chosen) one.setAttribute("aria-current", "true");
      else one.removeAttribute("aria-current");
    }
    trace(chosen);
  }

  // Brings a node to where it is seen, by moving only what is in the frame.
  function reveal(id) {
    nodes.get(id)?.element.scrollIntoView({ block: "nearest", inline: "center" });
  }

  function scale(to) {
    size = Math.min(1.5, Math.max(0.3, to));
    plane.style.zoom = String(size);
  }

  function byHand(to) {
    manual = true;
    scale(to);
  }

  // Makes it as wide as the frame, unless it could not be read then.
  function fit(least = 0.8) {
    const room = frame.clientWidth - 2;
    const needed = parseFloat(plane.style.width);
    if (room > 0) scale(Math.min(1, Math.max(least, room / needed)));
  }

  function nearest(node, [right, down]) {
    let best = null;
    for (const { node: other, element: one } of nodes.values()) {
      const x = (other.layer - node.layer) * 2;
      const y = other.slot - node.slot;
      const ahead = x * right + y * down;
      if (ahead <= 0) continue;
      const cost = ahead + 3 * Math.abs(x * down + y * right);
      if (!best || cost < best.cost) best = { cost, one };
    }
    return best?.one;
  }

  return { element, show, choose, reveal, focus: (id) => nodes.get(id)?.element.focus(), close: () => watch.disconnect() };
}

function place({ layer, slot }) {
  return { x: EDGE + layer * ACROSS, y: EDGE + slot * DOWN };
}

function note(node) {
  const parts = [node.outcome ? word(node.outcome) : "Not recorded yet", duration(node.seconds)];
  return parts.filter(Boolean).join(" · ");
}

function describe(node, longest) {
  if (node.kind === "parameter") return `Parameter ${node.label}`;
  const calls = node.calls > 1 ? `, ${node.calls} calls` : node.call ? `, call ${node.call}` : "";
  return `Step ${node.label}${calls}, ${node.outcome ?? "not recorded yet"}${node.seconds === null ? "" : `, ${duration(node.seconds)}`}${longest ? ", the longest" : ""}${node.tainted ? `, tainted: ${node.tainted}` : ""}`;
}
