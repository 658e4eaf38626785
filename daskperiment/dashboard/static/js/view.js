// What of the trials is looked at: conditions, order, columns, part and selection.  All of it
// stands in the address; the columns are remembered for each experiment too.

export const SIZES = [25, 50, 100, 250];
export const MOST_PICKED = 10;
const SIZE = 50;

export function readView(query) {
  const limit = Number(query.get("limit"));
  return {
    where: query.get("where") ?? "",
    states: query.getAll("state"),
    tainted: query.has("tainted"),
    order: query.get("order_by") ?? "",
    columns: list(query, "columns"),
    metrics: list(query, "metrics"),
    limit: limit >= 1 && limit <= 500 ? Math.floor(limit) : SIZE,
    offset: Math.max(0, Math.floor(Number(query.get("offset"))) || 0),
    picked: query.getAll("pick").slice(0, MOST_PICKED),
  };
}

// None is the default, and an empty list is written as one empty name.
function list(query, name) {
  return query.has(name) ? query.getAll(name).filter(Boolean) : null;
}

export function viewQuery(view) {
  const query = new URLSearchParams();
  if (view.where) query.set("where", view.where);
  for (const state of view.states) query.append("state", state);
  if (view.tainted) query.set("tainted", "1");
  if (view.order) query.set("order_by", view.order);
  for (const name of ["columns", "metrics"]) {
    if (!view[name]) continue;
    for (const one of view[name].length ? view[name] : [""]) query.append(name, one);
  }
  if (view.limit !== SIZE) query.set("limit", view.limit);
  if (view.offset) query.set("offset", view.offset);
  for (const trial of view.picked) query.append("pick", trial);
  return query.toString();
}

// What to ask the server for.
export function question(view) {
  return {
    where: condition(view),
    order_by: view.order || "-Trial ID",
    columns: view.columns ?? [],
    metrics: view.metrics ?? [],
    limit: view.limit,
    offset: view.offset,
  };
}

function condition({ where, states, tainted }) {
  const parts = [];
  if (where.trim()) parts.push(states.length || tainted ? `(${where})` : where);
  if (states.length === 1) parts.push(`State == '${states[0]}'`);
  else if (states.length) parts.push(`State in [${states.map((state) => `'${state}'`).join(", ")}]`);
  if (tainted) parts.push("Tainted != none");
  return parts.join(" and ");
}

const place = (id) => `daskperiment.columns.${id}`;

export function remembered(id) {
  try {
    const { columns, metrics } = JSON.parse(localStorage.getItem(place(id))) ?? {};
    const names = (value) => (Array.isArray(value) ? value.filter((one) => typeof one === "string") : null);
    return { columns: names(columns), metrics: names(metrics) };
  } catch {
    return { columns: null, metrics: null };
  }
}

export function remember(id, { columns, metrics }) {
  try {
    if (columns || metrics) localStorage.setItem(place(id), JSON.stringify({ columns, metrics }));
    else localStorage.removeItem(place(id));
  } catch {
    // Without storage the address alone holds them.
  }
}
