// States and outcomes as a sign and a word: colour is never the only difference.

import { h, svg } from "./dom.js";

const SIGNS = {
  check: "M3 8.5 6.5 12 13 4.5",
  cross: "M4 4 12 12M12 4 4 12",
  bolt: "M9 1.5 4 9h4l-1 5.5L12 7H8z",
  arc: "M8 2.5A5.5 5.5 0 1 1 2.5 8",
  ring: "M8 2.5a5.5 5.5 0 1 1-.01 0",
  slash: "M8 2.5a5.5 5.5 0 1 1-.01 0M4.2 11.8l7.6-7.6",
  cut: "M3 3v10M6 8h7M10 5l3 3-3 3",
  again: "M12.5 6.5A5 5 0 1 0 13 9M13 3v3.5H9.5",
  dash: "M4 8h8",
};

const STATES = {
  COMPLETE: ["good", "check"],
  RUNNING: ["busy", "arc"],
  WAITING: ["calm", "ring"],
  FAILED: ["bad", "cross"],
  CRASHED: ["crash", "bolt"],
  PRUNED: ["calm", "cut"],
  CANCELLED: ["calm", "slash"],
  ran: ["good", "check"],
  failed: ["bad", "cross"],
  pruned: ["calm", "cut"],
  reused: ["busy", "again"],
};

export function sign(name) {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: SIGNS[name] ?? SIGNS.dash }),
  );
}

export function stateSign(state) {
  return sign((STATES[state] ?? ["calm", "dash"])[1]);
}

export function tone(state) {
  return (STATES[state] ?? ["calm"])[0];
}

export function word(state) {
  return state.charAt(0).toUpperCase() + state.slice(1).toLowerCase();
}

export function badge(state) {
  return h(
    "span",
    { class: `badge ${tone(state)}`, "data-state": state },
    stateSign(state),
    word(state),
  );
}

const VERDICTS = { __proto__: null, bitwise: ["good", "check"], tolerance: ["good", "check"], different: ["bad", "cross"] };

// What came of running a trial again.
export function verdict(name) {
  const [colour, image] = VERDICTS[name] ?? ["calm", "dash"];
  return h("span", { class: `badge ${colour}`, "data-verdict": name ?? "" }, sign(image), name ?? "no verdict");
}

// Why nobody should use it any more.
export function taint(reason) {
  if (!reason) return null;
  return h("span", { class: "badge bad", title: reason, "data-tainted": reason }, sign("slash"), "Tainted");
}

export function tags(names) {
  if (!names?.length) return null;
  return h("span", { class: "tags" }, names.map((name) => h("span", { class: "tag" }, name)));
}
