// Parallel coordinates: an axis for each parameter and metric, and a line for each trial.  A part
// of an axis is marked by dragging along it.

import { arrange, fill, h, newId, say, svg } from "../dom.js";
import { onTheme } from "../themes.js";
import { MOST_ELEMENTS, markOf, stateColours } from "./marks.js";
import { cut, label } from "./plane.js";

const HEIGHT = 340;
const TOP = 34;
const BOTTOM = 16;
const LEFT = 36;
const RIGHT = 76;
const LEAST = 104;
const LETTER = 6.4;
const NEAR = 8;
const CLICK = 4;
const TWICE = 400;
const GRIP = 13;

// `mark(id, range, last)` is called while a part of an axis is marked; null is no part.
export function parallel({ mark, clear, pointed }) {
  const drawing = svg("svg", { class: "drawing", "aria-hidden": "true", focusable: "false" });
  const canvas = h("canvas", { class: "painting", "aria-hidden": "true", hidden: true });
  const box = h("div", { class: "plane-box" }, canvas, drawing);
  const frame = h("div", { class: "scroll parallel-frame" }, box);
  const id = newId("parallel");
  const facts = h("p", { class: "muted small plane-facts" });
  const element = h("figure", { class: "chart search-chart", "data-chart": "parallel", "aria-labelledby": id },
    h("figcaption", { id }, h("span", { class: "chart-name" }, "Parameters and values")), facts, frame);
  const lines = svg("g");
  const marked = svg("g");
  let room = 0;
  let shown = null;
  let places = [];
  let drawn = [];
  let drag = null;
  let clicked = -Infinity;
  const watch = new ResizeObserver(() => {
    const now = Math.floor(frame.clientWidth);
    if (now > 0 && now !== room) {
      room = now;
      draw();
    }
  });
  watch.observe(frame);
  const forget = onTheme(() => draw());
  const high = HEIGHT - TOP - BOTTOM;
  const up = (share) => TOP + (1 - share) * high;

  // Takes {axes, rows, ranges, inside, colour, about, text}: axes are {id, name, scale, value},
  // ranges a map by id, `inside` tells whether a row is within all of them.
  function show(next) {
    shown = next;
    draw();
  }

  function draw() {
    if (!shown || !room) return;
    const { axes, about, text } = shown;
    const width = Math.max(room, LEFT + RIGHT + LEAST * (axes.length - 1));
    const apart = (width - LEFT - RIGHT) / Math.max(1, axes.length - 1);
    places = axes.map((axis, i) => ({ ...axis, left: LEFT + i * apart }));
    box.style.width = `${width}px`;
    for (const [name, value] of [["viewBox", `0 0 ${width} ${HEIGHT}`], ["width", width], ["height", HEIGHT]]) drawing.setAttribute(name, value);
    drawLines(width);
    const letters = Math.floor(apart / LETTER) - 1;
    fill(drawing, lines, places.map((axis, i) => axisOf(axis, i === 0 ? letters - 3 : letters, i === 0)), marked);
    showRanges();
    say(facts, about);
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", text);
    frame.tabIndex = width > room ? 0 : -1;
  }

  function axisOf({ id: name, name: title, scale, left }, letters, first) {
    const most = Math.max(2, Math.floor(high / 44));
    return svg("g", { "data-axis": name },
      svg("path", { class: "axis-line", d: `M${left} ${TOP}V${TOP + high}` }),
      label(cut(title, letters), first ? 2 : left, TOP - 14, `axis-name ${first ? "" : "middle"}`),
      scale.ticks(scale.kind === "category" ? 2 * most : most).map((tick) => [
        svg("path", { class: "axis-line", d: `M${left} ${up(tick.at).toFixed(1)}h4` }),
        label(cut(tick.text, Math.min(letters - 1, 11)), left + 7, up(tick.at) + 4, "tick halo")]),
      svg("rect", { class: "axis-hit", "data-hit": name, x: left - GRIP, y: TOP - 6, width: 2 * GRIP, height: high + 12, fill: "transparent" },
        svg("title", {}, title)));
  }

  // The points of each trial, in pieces: where it has no value there is a gap.
  function drawLines(width) {
    const colours = stateColours();
    drawn = shown.rows.map((row) => {
      const pieces = [[]];
      for (const { scale, value, left } of places) {
        const at = scale.at(value(row));
        if (at !== null) pieces.at(-1).push([left, up(at)]);
        else if (pieces.at(-1).length) pieces.push([]);
      }
      const kind = markOf(row.state);
      return { row, kind, pieces: pieces.filter((piece) => piece.length), ink: shown.colour(row) ?? colours[kind] };
    });
    const painted = drawn.length > MOST_ELEMENTS;
    canvas.hidden = !painted;
    if (painted) {
      lines.replaceChildren();
      paint(width);
      return;
    }
    fill(lines, ordered().map((one) => {
      one.element = svg("path", { class: "trial-line", "data-trial": one.row.trial, "data-state": one.kind, d: path(one.pieces), fill: "none", stroke: one.ink });
      one.element.classList.toggle("out", !shown.inside(one.row));
      return one.element;
    }));
  }

  // The better a trial, the later it is drawn; those outside the ranges come first.
  function ordered() {
    return drawn.map((one) => [shown.rank(one.row), one]).sort(([a], [b]) => a - b).map(([, one]) => one);
  }

  function paint(width = places.at(-1).left + RIGHT) {
    const density = window.devicePixelRatio || 1;
    canvas.width = width * density;
    canvas.height = HEIGHT * density;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${HEIGHT}px`;
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    for (const one of ordered()) {
      one.path ??= new Path2D(path(one.pieces));
      pen.globalAlpha = shown.inside(one.row) ? 0.5 : 0.04;
      pen.strokeStyle = one.ink;
      pen.setLineDash(one.kind === "COMPLETE" ? [] : [4, 3]);
      pen.stroke(one.path);
    }
  }

  // Only what is inside changes, while a part is marked.
  function narrow(ranges) {
    shown = { ...shown, ranges };
    if (!canvas.hidden) paint();
    else for (const one of drawn) one.element.classList.toggle("out", !shown.inside(one.row));
    showRanges();
  }

  function showRanges() {
    const rects = places.map(({ id: name, scale, left }) => {
      const range = shown.ranges.get(name);
      const share = range ? scale.share(range) : null;
      if (!share) return null;
      const [low, top] = share.map((at) => Math.min(1, Math.max(0, at)));
      return svg("rect", { class: "range", "data-range": name, x: left - 8, y: up(top).toFixed(1), width: 16, height: Math.max(3, up(low) - up(top)).toFixed(1) });
    });
    arrange(marked, rects.filter(Boolean));
  }

  // -- the pointer

  const shareAt = (event) => Math.min(1, Math.max(0, 1 - (event.clientY - box.getBoundingClientRect().top - TOP) / high));

  drawing.addEventListener("pointerdown", (event) => {
    const name = event.target.dataset?.hit;
    const axis = places.find((one) => one.id === name);
    if (!axis || event.button !== 0) return;
    event.preventDefault();
    drawing.setPointerCapture(event.pointerId);
    const start = shareAt(event);
    const range = shown.ranges.get(name);
    const share = range && axis.scale.kind === "number" ? axis.scale.share(range) : null;
    const moved = share && start > share[0] && start < share[1] && share[1] - share[0] < 0.99 ? share : null;
    drag = { axis, start, y: event.clientY, moved, far: false };
    pointed.hide();
  });
  drawing.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.far ||= Math.abs(event.clientY - drag.y) >= CLICK;
    if (drag.far) mark(drag.axis.id, rangeOf(event), false);
  });
  drawing.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { axis, far, start } = drag;
    // A click takes the mark away; on a category it chooses that one.
    const one = axis.scale.kind === "category" ? axis.scale.between(start, start) : null;
    const same = one && JSON.stringify(shown.ranges.get(axis.id)) === JSON.stringify(one);
    const range = far ? rangeOf(event) : same ? null : one;
    drag = null;
    // The browser tells of no double click where the first one has changed what is there.
    const twice = !far && event.timeStamp - clicked < TWICE;
    clicked = far ? -Infinity : event.timeStamp;
    if (twice) clear();
    else mark(axis.id, range, true);
  });
  drawing.addEventListener("pointercancel", () => {
    if (!drag) return;
    const { id: name } = drag.axis;
    drag = null;
    mark(name, shown.ranges.get(name) ?? null, true);
  });
  drawing.addEventListener("dblclick", () => clear());

  function rangeOf(event) {
    const { axis, start, moved } = drag;
    const now = shareAt(event);
    if (!moved) return axis.scale.between(Math.min(start, now), Math.max(start, now));
    const size = moved[1] - moved[0];
    const low = Math.min(1 - size, Math.max(0, moved[0] + now - start));
    return axis.scale.between(low, low + size);
  }

  let over = null;
  function point(one) {
    if (over === one) return;
    over = one;
    drawing.querySelector(".pointed")?.remove();
    if (one) lines.after(svg("path", { class: "pointed trial-pointed", d: path(one.pieces), fill: "none" }));
  }

  drawing.addEventListener("pointermove", (event) => {
    if (drag) return;
    const one = event.target.dataset?.hit ? null : nearest(event);
    point(one);
    if (one) pointed.show(one.row, event);
    else pointed.hide();
  });
  drawing.addEventListener("pointerleave", () => {
    point(null);
    pointed.hide();
  });

  function nearest(event) {
    const { left, top } = box.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    let found = null;
    let least = NEAR;
    for (const one of drawn) {
      if (!shown.inside(one.row)) continue;
      for (const piece of one.pieces) {
        const i = piece.findIndex(([at]) => at >= x);
        if (i < 1) continue;
        const [[x1, y1], [x2, y2]] = [piece[i - 1], piece[i]];
        const far = Math.abs(y1 + ((y2 - y1) * (x - x1)) / (x2 - x1) - y);
        if (far < least) [found, least] = [one, far];
      }
    }
    return found;
  }

  return {
    element,
    show,
    narrow,
    get dragging() {
      return drag !== null;
    },
    close() {
      watch.disconnect();
      forget();
    },
  };
}

function path(pieces) {
  return pieces.map((piece) => (piece.length > 1
    ? `M${piece.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`
    : `M${(piece[0][0] - 5).toFixed(1)} ${piece[0][1].toFixed(1)}h10`)).join("");
}
