// Asks again and again: at rest while the page is hidden, at once when it is seen again, and
// ever more slowly while the store is away.

const SLOWEST = 20000;
const active = new Set();
const away = new Map();
const watchers = new Set();

export function onHealth(watcher) {
  watchers.add(watcher);
}

function tell() {
  const [problem] = away.values();
  for (const watcher of watchers) watcher(problem ?? null);
}

// `work(signal)` may return the milliseconds to wait instead of `every`.  Errors that will not
// pass go to `failed`; if it returns true, nothing is asked until `now()`.
export function poll(work, { every = 1500, failed } = {}) {
  const control = {};
  let timer = null;
  let running = null;
  let wait = every;
  let stopped = false;
  let resting = false;

  async function turn() {
    timer = null;
    if (stopped || document.hidden) return;
    const abort = new AbortController();
    running = abort;
    try {
      const asked = await work(abort.signal);
      if (abort.signal.aborted) return;
      wait = typeof asked === "number" ? asked : every;
      if (away.delete(control)) tell();
    } catch (error) {
      if (abort.signal.aborted || error.name === "AbortError") return;
      wait = Math.min(Math.max(wait, every) * 2, SLOWEST);
      if (error.passing) {
        away.set(control, error);
        tell();
      } else {
        if (away.delete(control)) tell();
        if (!failed) console.error(error);
        resting = failed?.(error) === true;
      }
    } finally {
      if (running === abort) running = null;
    }
    if (!stopped && !resting) timer = setTimeout(turn, wait);
  }

  // Asks at once; what is on the way is given up, for it may be the answer to another question.
  control.now = () => {
    if (stopped) return;
    clearTimeout(timer);
    running?.abort();
    wait = every;
    resting = false;
    turn();
  };
  control.stop = () => {
    stopped = true;
    clearTimeout(timer);
    running?.abort();
    active.delete(control);
    if (away.delete(control)) tell();
  };
  active.add(control);
  turn();
  return control;
}

export function retry() {
  for (const control of active) control.now();
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) retry();
});
window.addEventListener("online", retry);
