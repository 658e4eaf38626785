// The trials of an experiment.

import { get } from "../api.js";
import { sign, stateSign, tone, word } from "../badge.js";
import { chooseColumns } from "../chooser.js";
import { arrange, button, fill, h, say } from "../dom.js";
import { count, integer } from "../format.js";
import { poll } from "../live.js";
import { trialsTable } from "../table.js";
import { api, pages } from "../urls.js";
import { MOST_PICKED, SIZES, question, readView, remember, remembered, viewQuery } from "../view.js";

const STATES = ["RUNNING", "WAITING", "COMPLETE", "FAILED", "CRASHED", "PRUNED", "CANCELLED"];

export function open(place) {
  const { id } = place.params;
  place.title(`Experiment: ${id}`);
  place.crumbs([id, pages.trials(id)]);
  place.root.classList.add("trials");

  let view = readView(place.query);
  let shown = null;
  let asked = null;
  const stored = remembered(id);
  let restored = false;
  if (!place.query.has("columns") && !place.query.has("metrics") && (stored.columns || stored.metrics)) {
    view = { ...view, ...stored };
    restored = true;
    history.replaceState(null, "", address());
  }

  const summary = h("p", { class: "muted", id: "found" });
  const where = h("input", {
    type: "search", class: "where", placeholder: "a > 1 and Success", "aria-label": "Condition on trials",
    autocomplete: "off", spellcheck: "false", enterkeyhint: "search", "aria-describedby": "trouble",
  });
  where.value = view.where;
  const form = h("form", { class: "filter", role: "search", on: { submit: (event) => {
    event.preventDefault();
    turn({ where: where.value.trim(), offset: 0 }, { tell: true });
  } } }, where, h("button", { type: "submit", class: "button" }, "Filter"));
  where.addEventListener("search", () => {
    if (!where.value && view.where) turn({ where: "", offset: 0 }, { tell: true });
  });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "States and taints" });
  const taints = chip(sign("slash"), "bad", "Tainted", () => turn({ tainted: !view.tainted, offset: 0 }, { tell: true }));
  const trouble = h("pre", { class: "trouble", id: "trouble", role: "alert", hidden: true });
  const table = trialsTable({ id, sort, pick });
  const frame = h("div", { class: "frame", tabindex: "0", role: "region", "aria-label": "Trials" },
    h("p", { class: "waiting" }, "Loading ..."));
  const pager = h("div", { class: "pager", hidden: true });
  const bar = h("div", { class: "compare-bar", role: "region", "aria-label": "Selection", hidden: true });
  const chooserButton = button("Columns", choose, { "aria-haspopup": "dialog", "aria-label": "Choose columns" });
  fill(
    place.root,
    h("div", { class: "head" }, h("div", {}, h("h1", { title: id }, id), summary), h("a", { href: pages.searches(id), class: "button" }, "Searches")),
    h("div", { class: "tools" }, form, chips, chooserButton),
    trouble, frame, pager, bar,
  );
  showBar();

  function address() {
    const query = viewQuery(view);
    return pages.trials(id) + (query ? `?${query}` : "");
  }

  // Changes the view, and the address with it.
  function turn(change, { replace = false, tell = false } = {}) {
    view = { ...view, ...change };
    announceNext = tell;
    place.go(address(), { replace });
  }
  let announceNext = false;

  const polling = poll(ask, { failed: refused });

  async function ask(signal) {
    const query = question(view);
    const text = JSON.stringify(query);
    frame.classList.toggle("old", asked !== text);
    const data = await get(api.trials(id), query, signal);
    const same = asked === text;
    frame.classList.remove("old");
    trouble.hidden = true;
    where.removeAttribute("aria-invalid");
    if (data === shown && same) return;
    shown = data;
    asked = text;
    draw(same);
    if (announceNext) place.announce(`${count(data.found, "trial")} found`);
    announceNext = false;
  }

  function refused(error) {
    if (error.status === 400 && restored && !shown) {
      // They were chosen for other trials, perhaps of another store at this address.
      restored = false;
      // Behind this, since what has failed rests until it is asked again.
      queueMicrotask(() => turn({ columns: null, metrics: null }, { replace: true }));
      return true;
    }
    if (error.status === 400 || error.status === 422) explain(error);
    else place.fail(error);
    return true;
  }

  async function explain(error) {
    const asking = view;
    frame.classList.add("old");
    let { message } = error;
    if ((view.states.length || view.tainted) && view.where) {
      // The message points into the whole condition; of the part that was typed it is clearer.
      const alone = question({ ...view, states: [], tainted: false, limit: 1, offset: 0 });
      message = await get(api.trials(id), alone).then(() => message, (other) => other.message);
    }
    if (asking !== view) return;
    showChips();
    where.setAttribute("aria-invalid", "true");
    trouble.hidden = false;
    say(trouble, message);
    if (!shown) frame.classList.remove("old");
    if (!shown) {
      fill(frame, h("div", { class: "empty" }, h("p", {}, "The condition or the columns cannot be read."),
        button("Show all trials", () => {
          where.value = "";
          turn({ where: "", states: [], tainted: false, order: "", columns: null, metrics: null, offset: 0 }, { tell: true });
        })));
    }
  }

  function draw(same) {
    showSummary();
    showChips();
    showPager();
    if (!shown.rows.length) {
      fill(frame, nothing());
      return;
    }
    table.show(shown, view, { fresh: same });
    if (table.element.parentNode !== frame) fill(frame, table.element);
    if (!same) frame.scrollTop = 0;
  }

  function showSummary() {
    const { found, trials } = shown;
    const filtered = view.where || view.states.length || view.tainted;
    say(summary, filtered ? `${integer(found)} of ${count(trials, "trial")}` : count(trials, "trial"));
  }

  function showChips() {
    const states = STATES.filter((state) => shown?.states[state] || view.states.includes(state));
    const known = new Map([...chips.children].map((chip) => [chip.dataset.state, chip]));
    const all = states.map((state) => {
      const one = known.get(state) ?? chip(stateSign(state), tone(state), word(state), () => toggle(state));
      one.dataset.state = state;
      press(one, view.states.includes(state), shown?.states[state]);
      return one;
    });
    press(taints, view.tainted, shown?.tainted);
    arrange(chips, shown?.tainted || view.tainted ? [...all, taints] : all);
  }

  function press(one, on, number) {
    one.setAttribute("aria-pressed", String(on));
    say(one.lastElementChild, shown ? integer(number ?? 0) : "");
  }

  function chip(image, colour, text, click) {
    return h("button", { type: "button", class: `chip ${colour}`, on: { click } },
      image, h("span", {}, text), h("span", { class: "chip-count" }));
  }

  function toggle(state) {
    const states = view.states.includes(state)
      ? view.states.filter((one) => one !== state)
      : [...view.states, state];
    turn({ states, offset: 0 }, { tell: true });
  }

  const first = button("First", () => turn({ offset: 0 }), { class: "button quiet" });
  const before = button("Previous", () => turn({ offset: Math.max(0, view.offset - view.limit) }));
  const after = button("Next", () => turn({ offset: view.offset + view.limit }));
  const range = h("span", { class: "muted range" });
  const sizes = h("select", { "aria-label": "Trials on a page", on: { change: () =>
    turn({ limit: Number(sizes.value), offset: Math.floor(view.offset / sizes.value) * sizes.value }) } });
  fill(pager, range, h("label", { class: "line muted sizes" }, sizes, "on a page"), h("span", { class: "gap" }), first, before, after);

  function showPager() {
    const { found, offset, rows } = shown;
    const all = SIZES.includes(view.limit) ? SIZES : [...SIZES, view.limit].sort((a, b) => a - b);
    if (sizes.options.length !== all.length) {
      fill(sizes, all.map((size) => h("option", { value: size }, String(size))));
    }
    sizes.value = String(view.limit);
    say(range, rows.length ? `${integer(offset + 1)}–${integer(offset + rows.length)} of ${integer(found)}` : "");
    before.disabled = first.disabled = offset === 0;
    after.disabled = offset + rows.length >= found;
    pager.hidden = found === 0;
  }

  function nothing() {
    if (!shown.trials) {
      return h("div", { class: "empty" }, h("h2", {}, "No trial yet"),
        h("p", {}, "Compute a result of this experiment, and its trial appears here by itself:"),
        h("pre", { class: "sample" }, "score(a).compute()"));
    }
    if (view.offset) {
      return h("div", { class: "empty" }, h("p", {}, "There are no trials on this page."),
        button("Go to the first page", () => turn({ offset: 0 })));
    }
    return h("div", { class: "empty" }, h("p", {}, "No trial fits the condition."),
      button("Show all trials", () => {
        where.value = "";
        turn({ where: "", states: [], tainted: false, offset: 0 }, { tell: true });
      }));
  }

  function sort(name) {
    const now = view.order || "-Trial ID";
    const order = now === name ? `-${name}` : now === `-${name}` && name !== "Trial ID" ? "" : name;
    turn({ order: order === "-Trial ID" ? "" : order, offset: 0 });
  }

  function pick(trial, chosen) {
    const others = view.picked.filter((one) => one !== trial);
    if (chosen && others.length >= MOST_PICKED) {
      place.announce(`At most ${MOST_PICKED} trials can be compared.`);
      table.showPicked(view.picked);
      return;
    }
    turn({ picked: chosen ? [...others, trial] : others }, { replace: true });
  }

  function showBar() {
    const { picked } = view;
    bar.hidden = picked.length === 0;
    const address = picked.length > 1 ? pages.compare(id, picked) : null;
    const text = `Compare ${count(picked.length, "trial")}`;
    const go = address
      ? h("a", { href: address, class: "button strong" }, text)
      : h("span", { class: "muted" }, "Select another one to compare");
    fill(bar,
      h("span", { class: "picked-list" }, picked.map((trial) =>
        button([h("span", {}, trial), h("span", { "aria-hidden": "true", class: "faint" }, "×")],
          () => pick(trial, false), { class: "tag", "aria-label": `Remove trial ${trial} from the selection` }))),
      h("span", { class: "gap" }),
      button("Clear", () => turn({ picked: [] }, { replace: true }), { class: "button quiet" }), go);
  }

  function choose() {
    if (!shown) return;
    let timer;
    const change = (what) => {
      clearTimeout(timer);
      view = { ...view, ...what };
      remember(id, view);
      timer = setTimeout(() => turn({}, { replace: true }), 200);
    };
    const names = shown.known.map(({ name }) => name).filter((name) => name !== "Trial ID" && name !== "State");
    const visible = [...table.element.querySelectorAll("thead [data-column], thead [data-unsorted]")]
      .map((th) => th.dataset.column ?? th.dataset.unsorted)
      .filter((name) => name !== "Trial ID" && name !== "State");
    chooseColumns([
      { title: "Columns", names, chosen: view.columns ?? visible,
        // An empty list would mean the default to the server.
        change: (columns) => change({ columns: columns.length ? columns : ["State"] }) },
      { title: "Metrics", names: shown.known_metrics, chosen: view.metrics ?? shown.metrics, change: (metrics) => change({ metrics }) },
    ], () => change({ columns: null, metrics: null }));
  }

  function compare() {
    if (view.picked.length > 1) place.go(pages.compare(id, view.picked));
    else place.announce("Select at least two trials to compare them.");
  }

  function flip() {
    const trial = table.current();
    if (trial) pick(trial, !view.picked.includes(trial));
  }

  return {
    close: polling.stop,
    turned() {
      view = readView(place.query);
      if (document.activeElement !== where) where.value = view.where;
      table.showPicked(view.picked);
      showBar();
      if (JSON.stringify(question(view)) !== asked) polling.now();
      else if (shown) draw(true);
    },
    keys: [
      { key: "/", does: "Write a condition", run: () => where.select() },
      { key: "j", does: "Next trial", run: () => table.move(1) },
      { key: "k", does: "Previous trial", run: () => table.move(-1) },
      { key: "x", does: "Select the trial, or not", run: flip },
      { key: "Enter", does: "Open the trial" },
      { key: "s", does: "Show the searches", run: () => place.go(pages.searches(id)) },
      { key: "c", does: "Compare the selected trials", run: compare },
      { key: "[", does: "Page before", run: () => before.click() },
      { key: "]", does: "Page after", run: () => after.click() },
    ],
  };
}
