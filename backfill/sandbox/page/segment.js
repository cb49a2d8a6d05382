// The segment builder: rows become a condition, the condition a count.

import { ask, byId, calmly, el, number } from "./dom.js";

const TIMES = [
  ["at_least", "at least"],
  ["at_most", "at most"],
  ["exactly", "exactly"],
];
const COMPARISONS = [
  ["eq", "is"],
  ["ne", "is not"],
  ["gt", "is more than"],
  ["lt", "is less than"],
  ["contains", "contains"],
  ["exists", "is there"],
  ["missing", "is not there"],
];

export class SegmentForm {
  /** `choose` is called with the name of a person who was clicked. */
  constructor(choose) {
    this.choose = choose;
    this.rows = [];
    this.count = calmly(() => this.ask());
    byId("add-event").addEventListener("click", () => this.add(eventRow()));
    byId("add-attribute").addEventListener("click", () => this.add(attributeRow()));
    byId("segment-form").addEventListener("input", this.count);
    byId("segment-form").addEventListener("submit", (event) => event.preventDefault());
    this.add(eventRow(), false);
  }

  add(row, focus = true) {
    const remove = el("button", { type: "button", "aria-label": "Remove this condition" }, "✕");
    const item = el("li", {}, ...row.fields, remove);
    remove.addEventListener("click", () => {
      this.rows = this.rows.filter((other) => other !== row);
      item.remove();
      byId("add-event").focus();
      this.count();
    });
    this.rows.push(row);
    byId("conditions").append(item);
    if (focus) item.querySelector("input").focus();
    this.count();
  }

  async ask() {
    const conditions = this.rows.map((row) => row.condition()).filter((condition) => condition !== null);
    const condition = conditions.length === 1 ? conditions[0] : { [byId("joint").value]: conditions };
    byId("segment-json").textContent = JSON.stringify(condition, null, 2);
    const count = byId("segment-count");
    if (!conditions.length) {
      count.className = "hint";
      count.textContent = "Name an event or an attribute to see who it is.";
      byId("segment-people").replaceChildren();
      return;
    }
    try {
      const found = await ask("/sandbox/segments", condition);
      count.className = "";
      count.textContent = found.count === 1 ? "1 person" : `${number(found.count)} people`;
      const names = found.people.slice(0, 30).map((name) =>
        el("button", { type: "button", onclick: () => this.choose(name) }, name),
      );
      const rest = found.count - names.length;
      byId("segment-people").replaceChildren(...names, rest > 0 ? ` and ${number(rest)} more` : "");
    } catch (error) {
      count.className = "bad";
      count.textContent = error.message;
    }
  }
}

function eventRow() {
  const performed = select("Performed or not", [["true", "did"], ["false", "did not"]]);
  const name = input("Name of the event", "event name");
  const times = select("How often", TIMES);
  const often = input("Times", "", { type: "number", min: 0, value: 1 });
  const days = input("Within how many days", "any time", { type: "number", min: 1 });
  const key = input("Data to look at", "field of its data");
  const comparison = select("Comparison", COMPARISONS);
  const value = input("Value", "value");
  const condition = () => {
    if (!name.value.trim()) return null;
    const event = { name: name.value, performed: performed.value === "true", [times.value]: Number(often.value) };
    if (days.value) event.within_days = Number(days.value);
    if (key.value) event.where = { [key.value]: compared(comparison, value) };
    return { event };
  };
  const fields = [
    group(performed, name),
    group(times, often, el("span", {}, "times")),
    group(el("span", {}, "in the last"), days, el("span", {}, "days")),
    group(el("span", {}, "where"), key, comparison, value),
  ];
  return { fields, condition };
}

function attributeRow() {
  const name = input("Name of the attribute", "attribute name");
  const comparison = select("Comparison", COMPARISONS);
  const value = input("Value", "value");
  const condition = () => (name.value ? { attribute: { name: name.value, ...compared(comparison, value) } } : null);
  return { fields: [group(name, comparison, value)], condition };
}

function compared(comparison, value) {
  if (comparison.value === "exists") return { exists: true };
  if (comparison.value === "missing") return { exists: false };
  return { [comparison.value]: typed(value.value) };
}

/** A text that is a number or a truth value is meant as one. */
function typed(text) {
  if (text === "true" || text === "false") return text === "true";
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Fields that belong together stay in one line as long as that fits. */
const group = (...fields) => el("div", { class: "group" }, ...fields);

function input(label, placeholder, more = {}) {
  return el("input", { "aria-label": label, placeholder, autocomplete: "off", spellcheck: "false", ...more });
}

function select(label, choices) {
  return el("select", { "aria-label": label }, ...choices.map(([value, text]) => el("option", { value }, text)));
}
