// Events by name over time, as stacked bars of days, weeks or months.

import { el, number, svg } from "./dom.js";

const HEIGHT = 240;
const LEFT = 48;
const BOTTOM = 22;
const OTHERS = "all others";
const MONDAY = 3; // 1970-01-01 was a Thursday
// name, longest span in days, the slot of a day, the first day of a slot, the slot's label
const UNITS = [
  ["day", 62, (day) => day, (slot) => slot, date],
  ["week", 430, (day) => Math.floor((day + MONDAY) / 7), (slot) => slot * 7 - MONDAY, date],
  ["month", Infinity, monthOf, firstDay, month],
];

export class Chart {
  constructor(frame, legend, table) {
    Object.assign(this, { frame, legend, table, hidden: new Set(), days: [] });
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  /** Takes [[day since 1970, name or null, count], …]. */
  show(days) {
    this.days = days.map(([day, name, count]) => [day, name ?? OTHERS, count]);
    const totals = sums(this.days, ([, name]) => name, ([, , count]) => count);
    this.names = [...totals.keys()].sort(
      (a, b) => (a === OTHERS) - (b === OTHERS) || totals.get(b) - totals.get(a),
    );
    this.legend.replaceChildren(...this.names.map((name, index) => this.key(name, index, totals)));
    this.draw();
  }

  key(name, index, totals) {
    const text = `${name} ${number(totals.get(name))}`;
    const toggle = () => {
      this.hidden.has(name) ? this.hidden.delete(name) : this.hidden.add(name);
      button.setAttribute("aria-pressed", String(!this.hidden.has(name)));
      this.draw();
    };
    const pressed = String(!this.hidden.has(name));
    const properties = { type: "button", class: `k${index}`, "aria-pressed": pressed, onclick: toggle };
    const button = el("button", properties, text);
    return button;
  }

  draw() {
    const days = this.days.filter(([, name]) => !this.hidden.has(name));
    if (!days.length) {
      this.frame.replaceChildren(el("p", { class: "empty" }, "No events."));
      this.table.replaceChildren();
      return;
    }
    const span = days.at(-1)[0] - days[0][0] + 1;
    const [unit, , slotOf, dayOf, label] = UNITS.find(([, longest]) => span <= longest);
    const bars = new Map();
    for (const [day, name, count] of days) {
      const slot = slotOf(day);
      if (!bars.has(slot)) bars.set(slot, new Map());
      bars.get(slot).set(name, (bars.get(slot).get(name) ?? 0) + count);
    }
    const say = (slot) => label(dayOf(slot));
    this.frame.replaceChildren(this.picture(bars, unit, say));
    this.table.replaceChildren(this.rows(bars, unit, say));
  }

  picture(bars, unit, say) {
    const width = Math.max(this.frame.clientWidth, 240);
    const first = Math.min(...bars.keys());
    const last = Math.max(...bars.keys());
    const slots = last - first + 1;
    const step = (width - LEFT) / slots;
    const highest = Math.max(...[...bars.values()].map(total));
    const scale = (HEIGHT - BOTTOM - 12) / niceTop(highest);
    const label = `${number([...bars.values()].reduce((sum, bar) => sum + total(bar), 0))} events by ${unit}, ${say(first)} to ${say(last)}`;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
    picture.append(...grid(niceTop(highest), scale, width), ...axis(first, width, slots, step, say));
    for (const [slot, bar] of bars) {
      const x = LEFT + (slot - first) * step;
      picture.append(...this.stack(bar, x, step, scale, `${unit} of ${say(slot)}`));
    }
    return picture;
  }

  stack(bar, x, step, scale, when) {
    let y = HEIGHT - BOTTOM;
    return this.names
      .map((name, index) => [name, index, bar.get(name) ?? 0])
      .filter(([, , count]) => count)
      .map(([name, index, count]) => {
        const height = Math.max(count * scale, 0.5);
        y -= height;
        const box = { x, y, width: Math.max(step * 0.86, 1), height, class: `k${index}` };
        return svg("rect", box, svg("title", {}, `${name}: ${number(count)}, ${when}`));
      });
  }

  rows(bars, unit, say) {
    const names = this.names.filter((name) => !this.hidden.has(name));
    const head = el("tr", {}, el("th", { scope: "col" }, unit), ...names.map((n) => el("th", { scope: "col", class: "number" }, n)));
    const rows = [...bars].map(([slot, bar]) =>
      el(
        "tr",
        {},
        el("th", { scope: "row", class: "nowrap" }, say(slot)),
        ...names.map((name) => el("td", { class: "number" }, number(bar.get(name) ?? 0))),
      ),
    );
    return el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
  }
}

function grid(top, scale, width) {
  return [0, 0.5, 1].flatMap((part) => {
    const y = HEIGHT - BOTTOM - top * part * scale;
    return [
      svg("line", { x1: LEFT, x2: width, y1: y, y2: y }),
      svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, short(top * part)),
    ];
  });
}

/** As many labels as there is room for, each under the middle of its own bar. */
function axis(first, width, slots, step, say) {
  const room = Math.max(1, Math.floor((width - LEFT) / 110));
  const every = Math.ceil(slots / room);
  const labels = [];
  for (let slot = 0; slot < slots; slot += every) {
    const anchor = slot === 0 ? "start" : "middle";
    const x = LEFT + slot * step + (slot === 0 ? 0 : step / 2);
    if (x > width - 40 && slot) break; // it would run off the screen
    labels.push(svg("text", { x, y: HEIGHT - 4, "text-anchor": anchor }, say(first + slot)));
  }
  return labels;
}

function monthOf(day) {
  const date = new Date(day * 86400000);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

function firstDay(month) {
  return Date.UTC(Math.floor(month / 12), month % 12, 1) / 86400000;
}

const total = (bar) => [...bar.values()].reduce((sum, count) => sum + count, 0);

/** The day as 2026-01-31; days that no calendar has, as milliseconds taken for seconds, stay numbers. */
function date(day) {
  const found = new Date(day * 86400000);
  return Number.isNaN(found.getTime()) ? `day ${day}` : found.toISOString().slice(0, 10);
}

const short = (value) => Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);

/** The next of 1, 2, 3, 4, 5, 6, 8, 10, 20, … above. */
function niceTop(highest) {
  const power = 10 ** Math.floor(Math.log10(highest));
  return Math.max([1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= highest) * power, 2);
}

function sums(rows, key, value) {
  const found = new Map();
  for (const row of rows) found.set(key(row), (found.get(key(row)) ?? 0) + value(row));
  return found;
}

/** A month in words, such as Jul 2024. */
function month(day) {
  const found = new Date(day * 864e5);
  const form = { month: "short", year: "numeric", timeZone: "UTC" };
  return Number.isNaN(found.getTime()) ? `day ${day}` : found.toLocaleDateString("en", form);
}
