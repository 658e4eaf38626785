// Trials as points between two axes, with a line if wanted.  What has no value stands below.

import { fill, h, newId, say, svg } from "../dom.js";
import { onTheme } from "../themes.js";
import { MOST_ELEMENTS, markOf, shape, stateColours } from "./marks.js";

const HEIGHT = 260;
const TOP = 12;
const RIGHT = 16;
const BOTTOM = 42;
const BELOW = 20;
const LETTER = 6.4;
const NEAR = 14;
const PAD = 0.03;

// `open(row)` is called where a point is clicked, and `pointed` is a tip.
export function plane({ title, tools = [], open, pointed, kind }) {
  const axes = svg("svg", { class: "drawing", "aria-hidden": "true", focusable: "false" });
  const canvas = h("canvas", { class: "painting", "aria-hidden": "true", hidden: true });
  const box = h("div", { class: "plane-box" }, axes, canvas);
  const heading = h("span", { class: "chart-name" }, title);
  const id = newId("plane");
  const facts = h("p", { class: "muted small plane-facts" });
  const element = h("figure", { class: "chart search-chart", "data-chart": kind, "aria-labelledby": id },
    h("figcaption", { id }, heading), h("div", { class: "chart-tools" }, tools), facts, box);
  let width = 0;
  let shown = null;
  let places = [];
  const watch = new ResizeObserver(() => {
    const now = Math.floor(box.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      draw();
    }
  });
  watch.observe(box);
  const forget = onTheme(() => draw());

  // Takes {x, y, points, line, about}: x and y are {scale, name}, points {row, x, y, colour,
  // out, front}, where y is null of what has no value, and the line [x, y] from left to right.
  function show(next) {
    shown = next;
    draw();
  }

  function draw() {
    if (!shown || !width) return;
    const { x, y, points, line = [], about, text } = shown;
    const below = points.some((point) => point.y === null) ? BELOW : 0;
    const yTicks = y.scale.ticks(5);
    const longest = Math.min(12, Math.max(3, ...yTicks.map((tick) => tick.text.length)));
    const left = 26 + longest * LETTER;
    const [wide, high] = [Math.max(40, width - left - RIGHT), HEIGHT - TOP - BOTTOM - below];
    const padded = (share) => PAD + share * (1 - 2 * PAD);
    const across = (share) => left + padded(share) * wide;
    const up = (share) => (share === null ? HEIGHT - BOTTOM - BELOW / 2 : TOP + (1 - padded(share)) * high);
    const end = HEIGHT - BOTTOM;
    const xTicks = spread(x.scale.ticks(Math.max(2, Math.floor(wide / 80))), across, width);
    axes.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    axes.setAttribute("width", width);
    axes.setAttribute("height", HEIGHT);
    places = points.map((point) => ({ ...point, left: across(point.x), top: up(point.y) }));
    const painted = places.length > MOST_ELEMENTS;
    fill(axes,
      yTicks.map((tick) => [svg("path", { class: "grid-line", d: `M${left} ${up(tick.at).toFixed(1)}H${left + wide}` }),
        label(cut(tick.text, longest), left - 6, up(tick.at) + 4, "tick end")]),
      xTicks.map((tick) => label(tick.text, tick.left, end + 16, "tick middle")),
      svg("path", { class: "axis-line", d: `M${left} ${TOP}V${end}H${left + wide}` }),
      below ? label("none", left - 6, up(null) + 4, "tick end") : null,
      below ? svg("path", { class: "grid-line", d: `M${left} ${end - BELOW}H${left + wide}` }) : null,
      label(cut(x.name, Math.floor(wide / LETTER)), left + wide / 2, HEIGHT - 8, "axis-name middle"),
      svg("text", { class: "axis-name middle", transform: `translate(11 ${TOP + high / 2}) rotate(-90)` }, cut(y.name, Math.floor(high / LETTER))),
      line.length ? svg("path", { class: "best-line", d: path(line, across, up) }) : null,
      painted ? null : elements());
    canvas.hidden = !painted;
    if (painted) paint();
    say(facts, about);
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", text);
  }

  function elements() {
    const colours = stateColours();
    return svg("g", {}, sorted(places).map((point) => svg("path", {
      class: `mark${point.out ? " out" : ""}${point.front ? " front" : ""}`, "data-trial": point.row.trial, "data-state": point.row.state,
      d: shape(point.row.state, point.left, point.top, point.front ? 5 : 3.6), ...inks(point, colours),
    })));
  }

  function inks(point, colours) {
    const mark = markOf(point.row.state);
    const ink = point.colour ?? colours[mark];
    return { fill: mark === "COMPLETE" ? ink : "none", stroke: ink };
  }

  function paint() {
    const density = window.devicePixelRatio || 1;
    canvas.width = width * density;
    canvas.height = HEIGHT * density;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${HEIGHT}px`;
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    const colours = stateColours();
    pen.lineWidth = 1.2;
    for (const point of sorted(places)) {
      const { fill: inside, stroke } = inks(point, colours);
      const drawn = new Path2D(shape(point.row.state, point.left, point.top, point.front ? 5 : 2.6));
      pen.globalAlpha = point.out ? 0.12 : 0.85;
      if (inside !== "none") {
        pen.fillStyle = inside;
        pen.fill(drawn);
      }
      pen.strokeStyle = stroke;
      pen.stroke(drawn);
    }
  }

  function nearest(event) {
    const { left, top } = box.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    let found = null;
    let least = NEAR;
    for (const place of places) {
      const far = Math.hypot(place.left - x, place.top - y);
      if (!place.out && far < least) [found, least] = [place, far];
    }
    return found;
  }

  let over = null;
  function mark(place) {
    if (over === place?.row) return;
    over = place?.row ?? null;
    axes.querySelector(".pointed")?.remove();
    box.classList.toggle("over", over !== null);
    if (place) axes.append(svg("circle", { class: "pointed", cx: place.left, cy: place.top, r: 7, fill: "none" }));
  }

  box.addEventListener("pointermove", (event) => {
    const place = nearest(event);
    mark(place);
    if (place) pointed.show(place.row, event);
    else pointed.hide();
  });
  box.addEventListener("pointerleave", () => {
    mark(null);
    pointed.hide();
  });
  box.addEventListener("click", (event) => {
    const place = nearest(event);
    if (place) open(place.row);
  });

  return {
    element,
    show,
    title: (text) => say(heading, text),
    close() {
      watch.disconnect();
      forget();
    },
  };
}

// The good ones above the others, and those that are marked above all.
function sorted(places) {
  const rank = ({ out, front, y }) => (out ? 0 : front ? 3 : y === null ? 1 : 2);
  return [...places].sort((a, b) => rank(a) - rank(b));
}

function path(line, across, up) {
  return line.map(([x, y], i) => `${i ? `H${across(x).toFixed(1)}V` : `M${across(x).toFixed(1)} `}${up(y).toFixed(1)}`).join("");
}

export function label(text, x, y, kind) {
  return svg("text", { class: kind, x: x.toFixed(1), y: y.toFixed(1) }, text);
}

export function cut(text, most) {
  const signs = [...text];
  return signs.length > Math.max(2, most) ? `${signs.slice(0, Math.max(1, most - 1)).join("")}…` : text;
}

// Ticks of which no label touches the one before it.
function spread(ticks, across, width) {
  let free = -Infinity;
  const room = ticks.length > 1 ? Math.abs(across(ticks[1].at) - across(ticks[0].at)) : width;
  return ticks.map((tick) => {
    const text = cut(tick.text, Math.max(4, Math.floor(room / LETTER) - 1));
    const half = (text.length * LETTER) / 2;
    const left = Math.min(width - half - 1, Math.max(half, across(tick.at)));
    if (left - half < free) return null;
    free = left + half + 4;
    return { text, left };
  }).filter(Boolean);
}
