// What of a search is looked at, as it stands in the address.

export function readRanges(query) {
  const ranges = new Map();
  for (const text of query.getAll("range")) {
    const [id, range] = readRange(text) ?? [];
    if (id) ranges.set(id, range);
  }
  return ranges;
}

// A range of numbers is [axis, from, to], one of categories [axis, keys].
function readRange(text) {
  try {
    const [id, ...ends] = JSON.parse(text);
    if (typeof id !== "string") return null;
    if (ends.length === 1 && Array.isArray(ends[0]) && ends[0].every((key) => typeof key === "string")) return [id, { of: ends[0] }];
    const bound = (end) => end === null || Number.isFinite(end);
    return ends.length === 2 && ends.every(bound) ? [id, { from: ends[0], to: ends[1] }] : null;
  } catch {
    return null;
  }
}

export function viewAddress(view) {
  return {
    range: [...view.ranges].map(([id, range]) => JSON.stringify(range.of ? [id, range.of] : [id, range.from, range.to])),
    order_by: view.order, x: view.x, y: view.y, metric: view.metric, first: view.first, second: view.second,
    log: view.log ? "1" : null, time: view.time ? "1" : null,
  };
}
