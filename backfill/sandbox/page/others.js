// Objects, merges, forms and messages: what else arrived, each as the latest rows of a table.

import { ask, byId, el, moment } from "./dom.js";

const SHOWN = 50;
const LISTS = [
  ["objects", ["Object", "Attributes", "People"], (row) => [row.object, fields(row.attributes), Object.entries(row.relationships).map(related).join(", ")]],
  ["merges", ["When", "Stays", "Merged away", "Outcome"], (row) => [moment(row.received_s), row.primary, row.secondary, row.outcome]],
  ["forms", ["When", "Form", "Person", "Fields"], (row) => [moment(row.received_s), row.form, row.person, fields(row.data)]],
  ["messages", ["When", "What", "Delivery", "Fields"], (row) => [moment(row.received_s), row.kind.replaceAll("_", " "), row.delivery, fields(row.data)]],
];

export class Others {
  async refresh() {
    const found = await Promise.all(LISTS.map(([name]) => ask(`/sandbox/${name}?limit=${SHOWN}`)));
    LISTS.forEach(([name, titles, cells], index) => {
      const rows = found[index][name];
      byId(`${name}-table`).hidden = rows.length === 0;
      byId(`${name}-rows`).replaceChildren(table(titles, rows.map(cells)));
    });
    byId("others-none").hidden = found.some((list, index) => list[LISTS[index][0]].length);
  }
}

function table(titles, rows) {
  const head = el("tr", {}, ...titles.map((title) => el("th", { scope: "col" }, title)));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell ?? ""))));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...body));
}

const related = ([who, attributes]) => (fields(attributes) ? `${who} (${fields(attributes)})` : who);

const fields = (value) =>
  Object.entries(value ?? {})
    .map(([name, each]) => `${name}: ${typeof each === "string" ? each : JSON.stringify(each)}`)
    .join(", ");
