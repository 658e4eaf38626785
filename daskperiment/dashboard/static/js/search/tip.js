// What is shown beside the pointer of the trial that is nearest to it.

import { badge } from "../badge.js";
import { fill, h } from "../dom.js";
import { number, plain } from "../format.js";

const MOST = 12;
const GAP = 14;

export function tip(metrics) {
  const element = h("div", { class: "tip", "aria-hidden": "true", hidden: true });
  let shown = null;

  function show(row, event) {
    if (shown !== row) {
      shown = row;
      fill(element, content(row, metrics()));
      element.hidden = false;
    }
    const { offsetWidth: width, offsetHeight: height } = element;
    const right = event.clientX + GAP + width > window.innerWidth - 8;
    const low = event.clientY + GAP + height > window.innerHeight - 8;
    element.style.left = `${Math.max(8, right ? event.clientX - GAP - width : event.clientX + GAP)}px`;
    element.style.top = `${Math.max(8, low ? event.clientY - GAP - height : event.clientY + GAP)}px`;
  }

  function hide() {
    shown = null;
    element.hidden = true;
  }

  return { element, show, hide };
}

function content(row, metrics) {
  const parameters = Object.entries(row.parameters);
  return [
    h("p", { class: "tip-head" }, h("b", {}, `Trial ${row.trial}`), badge(row.state)),
    h("dl", {},
      metrics.map(({ name }, i) => (row.values[i] === null ? null : pair(name, number(row.values[i]), "tip-value"))),
      row.reported === null ? null : pair("last report", number(row.reported)),
      parameters.slice(0, MOST).map(([name, value]) => pair(name, plain(value))),
      parameters.length > MOST ? pair("and more", String(parameters.length - MOST)) : null),
  ];
}

function pair(name, text, kind = null) {
  return h("div", { class: kind }, h("dt", {}, name), h("dd", {}, text));
}
