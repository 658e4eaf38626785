// Which trial this one has run again, and which have run it again, with their verdicts.

import { get } from "../api.js";
import { verdict } from "../badge.js";
import { fill, h, link } from "../dom.js";
import { count } from "../format.js";
import { poll } from "../live.js";
import { api, pages } from "../urls.js";

const MOST = 8;
const EVERY = 6000;

export function reproductions({ id, n, uid }) {
  const element = h("div", { class: "reproductions", hidden: true });
  let shown = null;

  const polling = poll(async (signal) => {
    const found = await get(api.trial(id, n, "reproductions"), null, signal);
    if (found !== shown) draw(found);
    shown = found;
    return EVERY;
  }, { failed: () => true });

  function draw({ reproduces, reproductions: all }) {
    element.hidden = !reproduces && !all.length;
    fill(element, reproduces ? original(reproduces) : null, all.length ? again(all) : null);
  }

  function original({ trial, verdict: name }) {
    const gone = trial === null;
    return h("p", {}, h("span", {}, "Reproduces ", gone ? "a trial that is not here any more" : other(trial), ": ", verdict(name)),
      gone ? null : link(pages.compare(id, [trial, n]), "Compare"));
  }

  function again(all) {
    const newest = all.slice(-MOST);
    const rest = all.length - newest.length;
    return h("p", {}, newest.map(({ trial, verdict: name }, i) => h("span", {}, i ? "" : "Reproduced by ", other(trial), ": ", verdict(name))),
      rest ? h("span", {}, "and ", link(pages.trials(id, { where: `Reproduces == '${uid}'` }), `${count(rest, "other")} before`)) : null);
  }

  function other(trial) {
    return link(pages.trial(id, trial), `trial ${trial}`);
  }

  return { element, close: polling.stop };
}
