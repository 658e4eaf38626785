// What the steps printed and logged, as it comes.

import { get } from "../api.js";
import { button, fill, h, say, trouble } from "../dom.js";
import { count, integer, moment, stripAnsi } from "../format.js";
import { poll } from "../live.js";
import { api } from "../urls.js";

const FIRST = 500;
const MOST = 20000;
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function output({ id, n, root, trial, announce }) {
  let last = FIRST;
  let data = null;
  let from = 0;
  let texts = [];
  let stream = "";
  let step = "";
  let asked = "";
  const body = h("div", { class: "lines" });
  const frame = h("div", { class: "output", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Output" }, body);
  const total = h("span", { class: "muted" });
  const earlier = button("Show earlier", () => {
    last = Math.min(last * 4, MOST);
    polling.now();
  }, { hidden: true });
  const end = button("Go to the end", () => { frame.scrollTop = frame.scrollHeight; }, { class: "button jump", hidden: true });
  const streams = choice("Stream", ["", "stdout", "stderr", "logging"], ["All streams", "stdout", "stderr", "logging"], (value) => { stream = value; });
  const steps = choice("Step", [""], ["All steps"], (value) => { step = value; });
  steps.hidden = true;
  const tools = h("div", { class: "tools" }, streams, steps, total, h("span", { class: "gap" }), earlier);
  fill(root, h("p", { class: "waiting" }, "Loading ..."));
  const atEnd = () => frame.scrollHeight - frame.scrollTop - frame.clientHeight < 24;
  frame.addEventListener("scroll", () => { end.hidden = atEnd(); });

  function choice(name, values, texts, change) {
    const select = h("select", { "aria-label": name }, values.map((value, i) => h("option", { value }, texts[i])));
    select.addEventListener("change", () => {
      change(select.value);
      last = FIRST;
      polling.now();
    });
    return select;
  }

  const polling = poll(async (signal) => {
    const next = await get(api.trial(id, n, "output"), { last, stream, step }, signal);
    if (next !== data) draw(next);
    return next.ended ? 6000 : undefined;
  }, { failed: (error) => trouble(root, error) });

  function draw(next) {
    const first = Math.max(0, next.total - next.lines.length);
    if (!next.total && !stream && !step) {
      data = next;
      fill(root, h("div", { class: "empty" }, h("h2", {}, "No output"),
        h("p", {}, trial.forgotten?.includes("output") ? "The output of this trial was forgotten."
          : next.ended ? "No step of this trial printed or logged anything, or its output was not kept."
            : "What the steps print appears here while they run.")));
      return;
    }
    const begun = frame.parentNode?.parentNode === root;
    const follow = !begun || atEnd();
    if (!begun) fill(root, tools, h("div", { class: "output-box" }, frame, end));
    // Lines stay as far as they are the same: the last one may grow or be written over, and one
    // of another process may come late.
    const now = next.lines.map((one) => JSON.stringify(one));
    const ahead = first - from;
    const question = JSON.stringify([stream, step]);
    let same = 0;
    if (question === asked && ahead >= 0) while (same < now.length && now[same] === texts[ahead + same]) same += 1;
    if (same) {
      while (body.childElementCount > ahead + same) body.lastElementChild.remove();
      body.append(...next.lines.slice(same).map(line));
      texts = [...texts.slice(0, ahead), ...now];
      // Old lines leave at the top as new ones come, so that a long trial does not fill the page.
      if (follow) {
        for (; from < first; from += 1) body.firstElementChild.remove();
        texts = now;
      }
    } else {
      const below = frame.scrollHeight - frame.scrollTop;
      fill(body, next.lines.map(line));
      [from, texts] = [first, now];
      if (!follow) frame.scrollTop = frame.scrollHeight - below;
    }
    if (follow) frame.scrollTop = frame.scrollHeight;
    data = next;
    asked = question;
    end.hidden = atEnd();
    earlier.hidden = first === 0 || last >= MOST;
    say(total, first ? `the last ${integer(next.lines.length)} of ${count(next.total, "line")}` : count(next.total, "line"));
    addSteps(next.lines);
  }

  const seen = new Set();
  function addSteps(lines) {
    for (const { step: name } of lines) {
      if (!name || seen.has(name)) continue;
      seen.add(name);
      steps.append(h("option", { value: name }, name));
    }
    steps.hidden = seen.size < 2;
  }

  return {
    update(next) {
      const ended = trial.state === "RUNNING" && next.state !== "RUNNING";
      trial = next;
      if (ended) announce(`The trial ended: ${next.state.toLowerCase()}`);
    },
    close: polling.stop,
  };
}

function line({ time, step, call, stream, text, logger, level }) {
  const at = Date.parse(time ?? "");
  const where = step ? (call ? `${step}[${call}]` : step) : "";
  const kinds = { stdout: "out", stderr: "err", logging: "log", omitted: "omitted" };
  return h("div", { class: `output-line ${kinds[stream] ?? "out"}`, "data-stream": stream },
    h("span", { class: "output-time", title: time ? moment(time) : "" }, Number.isNaN(at) ? "" : clock.format(at)),
    h("span", { class: "output-step", title: where }, where),
    h("span", { class: "output-text" },
      stream === "stderr" ? h("span", { class: "output-kind" }, "err ") : null,
      stream === "logging" ? h("span", { class: `output-kind level-${/^(WARNING|ERROR|CRITICAL)$/.test(level) ? "high" : "low"}` }, `${level ?? ""} ${logger ?? ""} `) : null,
      stripAnsi(text.replace(/\n$/, ""))));
}
