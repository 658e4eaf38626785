// Why calls of a trial should not be used any more, which ones, and who has said so.

import { h, link } from "../dom.js";
import { count, time } from "../format.js";
import { section } from "../urls.js";

const MOST = 8;

export function taints(all) {
  if (!all.length) return null;
  return h("ul", { class: "taints", "aria-label": "Taints" }, all.map(taint));
}

function taint({ reason, calls, by, time: said }) {
  const rest = calls.length - MOST;
  return h("li", {}, h("p", {}, `Tainted: ${reason}`),
    h("p", { class: "small" }, `${count(calls.length, "call")}: `,
      calls.slice(0, MOST).map((call, i) => [i ? ", " : "", link(section("graph", call), call)]),
      rest > 0 ? ` and ${count(rest, "other")}` : "", by ? ` · by ${by}` : "", " · ", time(said)));
}

// The reasons by the ids of nodes in the graph; a node may stand for all calls of a step.
export function reasons(all) {
  const found = new Map();
  for (const { reason, calls } of all) {
    const ids = new Set(calls.flatMap((call) => [call, call.replace(/\[-?\d+\]$/, "[*]")]));
    for (const id of ids) found.set(id, found.has(id) ? `${found.get(id)}; ${reason}` : reason);
  }
  return found;
}
