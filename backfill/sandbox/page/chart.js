// Events by name over time, as stacked bars of days, weeks or months.

import { el, number, svg } from "./dom.js";

const HEIGHT = 240;
const LEFT = 48;
const BOTTOM = 22;
const OTHERS = "all others";
const UNITS = [
  ["day", 62, (day) => day],
  ["week", 430, (day) => day - ((((day + 3) % 7) + 7) % 7)],
  ["month", Infinity, firstOfMonth],
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
    const [unit, , start] = UNITS.find(([, longest]) => span <= longest);
    const bars = new Map();
    for (const [day, name, count] of days) {
      const at = start(day);
      if (!bars.has(at)) bars.set(at, new Map());
      bars.get(at).set(name, (bars.get(at).get(name) ?? 0) + count);
    }
    this.frame.replaceChildren(this.picture(bars, unit));
    this.table.replaceChildren(this.rows(bars, unit));
  }

  picture(bars, unit) {
    const width = Math.max(this.frame.clientWidth, 240);
    const first = Math.min(...bars.keys());
    const last = Math.max(...bars.keys());
    const length = { day: 1, week: 7, month: 30.4 }[unit];
    const slots = Math.round((last - first) / length) + 1;
    const step = (width - LEFT) / slots;
    const highest = Math.max(...[...bars.values()].map(total));
    const scale = (HEIGHT - BOTTOM - 12) / niceTop(highest);
    const label = `${number([...bars.values()].reduce((sum, bar) => sum + total(bar), 0))} events by ${unit}, ${date(first)} to ${date(last)}`;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
    picture.append(...grid(niceTop(highest), scale, width), ...axis(first, last, width, slots, step));
    for (const [day, bar] of bars) {
      const x = LEFT + Math.round((day - first) / length) * step;
      picture.append(...this.stack(bar, x, step, scale, `${unit} of ${date(day)}`));
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

  rows(bars, unit) {
    const names = this.names.filter((name) => !this.hidden.has(name));
    const head = el("tr", {}, el("th", { scope: "col" }, unit), ...names.map((n) => el("th", { scope: "col", class: "number" }, n)));
    const rows = [...bars].map(([day, bar]) =>
      el(
        "tr",
        {},
        el("th", { scope: "row", class: "nowrap" }, date(day)),
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

function axis(first, last, width, slots, step) {
  const labels = Math.max(1, Math.min(slots, Math.floor((width - LEFT) / 110)));
  return Array.from({ length: labels }, (_, index) => {
    const slot = labels === 1 ? 0 : Math.round((index * (slots - 1)) / (labels - 1));
    const day = slots === 1 ? first : first + Math.round(((last - first) * slot) / (slots - 1));
    const anchor = index === 0 ? "start" : index === labels - 1 ? "end" : "middle";
    const x = LEFT + slot * step + (anchor === "start" ? 0 : anchor === "end" ? step : step / 2);
    return svg("text", { x, y: HEIGHT - 4, "text-anchor": anchor }, date(day));
  });
}

function firstOfMonth(day) {
  const date = new Date(day * 86400000);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1) / 86400000;
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
