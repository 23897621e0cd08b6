// The dashboard of a live capture. Python counts, and tells the steps of time that changed; here they are drawn.

// Of an element, not by its name: no address of a network stands in this file.
const SVG = (() => {
  const page = document.createElement("template");
  page.innerHTML = "<svg></svg>";
  return page.content.firstChild.namespaceURI;
})();
const WIDTH = 1000; // of the chart, in units of its own: it is stretched to the page
const HEIGHT = 190;
const LEFT = 56;
const FLOOR = HEIGHT - 18;
const SIGN = 2000; // ms between two signs that this page is there
const SILENT = 12000; // ms without a word, after which something is wrong: even a page unseen is told every 5 s
const SPOKEN = 3000; // ms between two changes of what is read out

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  fill(made, attributes, children);
  return made;
}

function draw(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
}

const count = (number) => Math.round(number).toLocaleString("en");

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 999.95 && unit < units.length - 1; unit += 1) bytes /= 1000;
  return `${unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

const delay = (nanoseconds) => (nanoseconds === null ? "-" : `${(nanoseconds / 1e6).toFixed(1)} ms`);

// What was told so far: one for all views of a model.
class Told {
  constructor(model) {
    this.model = model;
    this.steps = [];
    this.first = 0;
    this.number = 0;
    this.signed = 0;
    this.last = null;
    this.lags = [];
    this.drops = [];
    this.views = new Set();
    model.on("msg:custom", (message) => this.take(message));
  }

  take(message) {
    if (message.kind !== "whole" && message.kind !== "tick") return;
    if (message.kind === "tick") {
      if (!this.last || message.number !== this.number + 1 || message.first > this.first + this.steps.length) {
        if (message.number > this.number) this.ask(); // one was lost on its way
        return;
      }
      this.steps.length = message.first - this.first > 0 ? message.first - this.first : 0;
      this.steps.push(...message.steps);
      const gone = this.steps.length - 240;
      if (gone > 0) {
        this.steps.splice(0, gone);
        this.first += gone;
      }
    } else {
      this.steps = message.steps;
      this.first = message.first;
    }
    this.number = message.number;
    this.last = message;
    this.heard = performance.now();
    this.remember(this.lags, (message.stats.lag ?? 0) * 1e3);
    this.remember(this.drops, (message.stats.dropped_by_kernel ?? 0) + message.stats.dropped_by_us);
    for (const view of this.views) view.draw();
    if (this.views.size && performance.now() - this.signed > SIGN) this.send({ kind: "here" });
  }

  remember(values, value) {
    values.push(value);
    if (values.length > 240) values.shift();
  }

  ask() {
    if (this.asked && performance.now() - this.asked < 1000) return;
    this.asked = performance.now();
    this.send({ kind: "whole" });
  }

  send(message) {
    this.signed = performance.now();
    this.model.send(message);
  }
}

const all = new WeakMap();

class Dashboard {
  constructor(model, el) {
    this.model = model;
    if (!all.has(model)) all.set(model, new Told(model));
    this.told = all.get(model);
    const button = (order, label) => make("button", { type: "button", onclick: () => this.told.send({ kind: order }) }, label);
    this.start = button("start", "Start");
    this.pause = button("pause", "Pause");
    this.stop = button("stop", "Stop");
    this.state = make("span", { class: "podtracer-state", role: "status" });
    this.now = make("span", { class: "podtracer-now" });
    this.legend = make("div", { class: "podtracer-legend" });
    this.areas = draw("g");
    this.brush = draw("rect", { class: "podtracer-brush", y: 0, height: FLOOR, visibility: "hidden" });
    this.most = draw("text", { x: 0, y: 10 });
    this.begin = draw("text", { x: LEFT, y: HEIGHT - 3 });
    // The text keeps its shape: only what is drawn is stretched.
    this.svg = draw("svg", { "aria-hidden": "true" }, draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", x: 0, y: 0, width: "100%", height: "100%" }, this.areas, this.brush, draw("line", { x1: LEFT, x2: WIDTH, y1: FLOOR, y2: FLOOR })), this.most, this.begin);
    this.chart = make("div", {
      class: "podtracer-chart", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": "Packets a second by protocol",
      title: "draw over a part to choose its packets; arrow keys, with Shift for its end; Escape for none",
    }, this.svg);
    this.note = make("div", { class: "podtracer-note", role: "status" });
    this.failure = make("div", { class: "podtracer-failure", role: "alert" });
    this.panels = {};
    const panel = (name, spark) => {
      const body = make("tbody");
      const line = spark && draw("path");
      this.panels[name] = { body, line };
      const drawn = spark ? [draw("svg", { class: "podtracer-spark", viewBox: "0 0 240 26", preserveAspectRatio: "none", "aria-hidden": "true" }, line)] : [];
      return make("section", { "aria-label": name }, make("h4", {}, name), make("table", {}, body), ...drawn);
    };
    this.talkers = panel("Top talkers", false);
    this.more = make("div", { class: "podtracer-soft" });
    this.talkers.append(this.more);
    this.root = make("div", { class: "podtracer-widget podtracer-dashboard", role: "region", "aria-label": "Live capture", "data-lm-suppress-shortcuts": "true" },
      make("div", { class: "podtracer-head" }, this.start, this.pause, this.stop, this.state, this.now),
      this.chart, this.legend, this.note, this.failure,
      make("div", { class: "podtracer-panels" }, this.talkers, panel("TCP trouble", true), panel("DNS", true), panel("Capture", true)));
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.brushed();
    el.append(this.root);
    this.traits = [["_fixed", () => this.fixed()], ["_brush", () => this.drawBrush()], ["_note", () => this.words()], ["_failure", () => this.words()]];
    this.traits.forEach(([name, act]) => model.on(`change:${name}`, act));
    this.told.views.add(this);
    this.timer = setInterval(() => this.words(), SIGN);
    this.fixed();
    this.words();
    if (this.told.last) this.draw();
    this.told.asked = 0;
    this.told.ask();
  }

  remove() {
    clearInterval(this.timer);
    this.told.views.delete(this);
    this.traits.forEach(([name, act]) => this.model.off(`change:${name}`, act));
  }

  fixed() {
    this.settings = this.model.get("_fixed");
    const { kinds, colours } = this.settings;
    this.paths = kinds.map((kind) => draw("path", { fill: colours[kind] }));
    this.areas.replaceChildren(...this.paths);
    this.rates = kinds.map(() => make("span", {}, ""));
    this.legend.replaceChildren(...kinds.map((kind, n) => make("span", {}, make("i", { style: `background:${colours[kind]}` }), `${kind} `, this.rates[n])));
  }

  words() {
    const { last, heard } = this.told;
    const silent = last && last.stats.state !== "ended" && performance.now() - heard > SILENT;
    set(this.note, this.model.get("_note"));
    set(this.failure, silent ? "Nothing comes from the kernel any more: if it was restarted, run the cell again." : this.model.get("_failure"));
  }

  draw() {
    const { stats, targets, why, span } = this.told.last;
    const running = stats.state !== "ended";
    const who = targets.length > 3 ? `${targets.slice(0, 3).join(", ")} and ${targets.length - 3} more` : targets.join(", ");
    set(this.state, `${who}: ${why || stats.state}`);
    set(this.now, `${stats.seconds.toFixed(0)} s · ${count(stats.packets)} packets · ${size(stats.bytes)}${running ? ` · ${count(stats.rate)} packets/s · ${size(stats.byte_rate)}/s` : ""}`);
    set(this.start, stats.state === "paused" ? "Resume" : running ? "Start" : "Start again");
    this.start.disabled = stats.state === "running";
    this.pause.disabled = stats.state !== "running";
    this.stop.disabled = !running;
    this.drawRates(span, running);
    this.drawBrush();
    this.drawPanels();
  }

  drawRates(span, running) {
    const { kinds, width } = this.settings;
    const { steps } = this.told;
    const tops = steps.map((step) => {
      let sum = 0;
      return kinds.map((_, n) => (sum += step[n]) / width);
    });
    const most = Math.max(1, ...tops.map((top) => top.at(-1)));
    const x = (n) => this.at(this.told.first + n);
    const y = (rate) => FLOOR - (rate / most) * (FLOOR - 8);
    kinds.forEach((_, kind) => {
      const over = tops.map((top, n) => `${x(n).toFixed(1)} ${y(top[kind]).toFixed(1)}`);
      const under = tops.map((top, n) => `${x(n).toFixed(1)} ${y(kind ? top[kind - 1] : 0).toFixed(1)}`).reverse();
      this.paths[kind].setAttribute("d", tops.length ? `M${over.join("L")}L${under.join("L")}z` : "");
      // Of the last second that is over: the last step is still being counted.
      const some = Math.max(1, Math.round(1 / width));
      const recent = steps.slice(-1 - some, -1).reduce((sum, step) => sum + step[kind], 0) / (some * width);
      set(this.rates[kind], running ? `${count(recent)}/s` : count(steps.reduce((sum, step) => sum + step[kind], 0)));
    });
    set(this.most, `${count(most)}/s`);
    set(this.begin, `${count(span)} s ago`);
    if (!(performance.now() - this.spoken < SPOKEN)) {
      this.spoken = performance.now();
      this.chart.setAttribute("aria-label", `Packets a second by protocol: ${kinds.map((kind, n) => `${kind} ${this.rates[n].textContent}`).join(", ")}; at most ${count(most)} a second`);
    }
  }

  drawPanels() {
    const { talkers, pairs, trouble, dns, stats, span } = this.told.last;
    const { columns, trouble: names } = this.settings;
    rows(this.panels["Top talkers"].body, talkers.map(([from, to, packets, bytes]) => [`${from} → ${to}`, size(bytes), `${count(packets)} packets`]), true);
    const left = pairs[0] - talkers.length;
    set(this.more, `in ${count(span)} s${left > 0 ? `; ${count(left)} more pairs` : ""}${pairs[1] ? `; ${count(pairs[1])} packets of pairs too many to count` : ""}`);
    rows(this.panels["TCP trouble"].body, Object.entries(trouble).map(([name, number]) => [name, count(number)]), false, (row) => row[1] !== "0");
    const where = names.map((name) => columns.indexOf(name));
    this.spark("TCP trouble", this.told.steps.map((step) => where.reduce((sum, n) => sum + step[n], 0)));
    const codes = Object.entries(dns.codes).filter(([code]) => code !== "NOERROR").sort((a, b) => b[1] - a[1]).slice(0, 3);
    rows(this.panels.DNS.body, [
      ["median delay", delay(dns.median)], ["95 % within", delay(dns.p95)], ["longest", delay(dns.longest)],
      ["queries, answers", `${count(dns.queries)}, ${count(dns.answers)}`], ["unanswered", count(dns.unanswered)],
      ...codes.map(([code, number]) => [code, count(number)]),
    ], false, (row) => row[0] === "unanswered" && row[1] !== "0");
    this.spark("DNS", this.told.steps.map((step) => step[columns.length - 1]));
    rows(this.panels.Capture.body, [
      ["dropped by the kernel", stats.dropped_by_kernel === null ? "not known" : count(stats.dropped_by_kernel)],
      ["missed by callbacks", count(stats.dropped_by_us)],
      ["lag", stats.lag === null ? "-" : `${(stats.lag * 1e3).toFixed(0)} ms`],
      ["in the window", count(stats.window)], ["skipped while paused", count(stats.skipped)],
    ], false, (row) => (row[0].startsWith("dropped") || row[0].startsWith("missed")) && /[1-9]/.test(row[1]));
    this.spark("Capture", this.told.lags);
  }

  spark(name, values) {
    const most = Math.max(...values, 1e-9);
    const last = values.length - 1;
    this.panels[name].line.setAttribute("d", values.map((value, n) => `${n ? "L" : "M"}${((n / Math.max(1, last)) * 240).toFixed(1)} ${(25 - (value / most) * 24).toFixed(1)}`).join(""));
  }

  // The interval: from a step to before another, by their numbers.

  at(number) {
    return LEFT + ((number - this.told.first) / Math.max(1, this.told.steps.length - 1)) * (WIDTH - LEFT);
  }

  step(event) {
    const box = this.svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width) * WIDTH;
    const last = Math.max(1, this.told.steps.length - 1);
    return this.told.first + Math.max(0, Math.min(last, Math.round(((share - LEFT) / (WIDTH - LEFT)) * last)));
  }

  drawBrush() {
    const [low, high] = this.drawn ?? this.model.get("_brush");
    const left = low === undefined ? 0 : Math.max(LEFT, this.at(low));
    const right = low === undefined ? 0 : Math.min(WIDTH, this.at(high));
    this.brush.setAttribute("visibility", right > left ? "visible" : "hidden");
    this.brush.setAttribute("x", left);
    this.brush.setAttribute("width", Math.max(0, right - left));
  }

  brushed() {
    let from = null;
    this.chart.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.told.last) return;
      from = this.step(event);
      this.chart.setPointerCapture(event.pointerId);
    });
    this.chart.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const to = this.step(event);
      this.drawn = [Math.min(from, to), Math.max(from, to)];
      this.drawBrush();
    });
    const end = (event) => {
      if (from === null) return;
      const to = event.type === "pointerup" ? this.step(event) : from;
      this.drawn = undefined;
      this.choose(from === to ? [] : [Math.min(from, to), Math.max(from, to)]);
      from = null;
    };
    this.chart.addEventListener("pointerup", end);
    this.chart.addEventListener("pointercancel", end);
  }

  choose(steps) {
    this.told.send({ kind: "choose", steps });
  }

  key(event) {
    event.stopPropagation();
    if (event.target !== this.chart || !this.told.last) return;
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (move === undefined && event.key !== "Escape") return;
    event.preventDefault();
    if (event.key === "Escape") {
      this.choose([]);
      return;
    }
    const last = this.told.first + this.told.steps.length - 1;
    const chosen = this.model.get("_brush");
    const [low, high] = chosen.length ? chosen : [last - 10, last];
    if (!chosen.length) this.choose([low, high]);
    else if (event.shiftKey) this.choose([low, Math.max(low + 1, Math.min(last, high + move))]);
    else this.choose([low + move, high + move]);
  }
}

// Only what is other is written: a page that is read out, or in which text is marked, stays as it is.
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function rows(body, wanted, names, loud = () => false) {
  while (body.rows.length > wanted.length) body.deleteRow(-1);
  wanted.forEach((cells, n) => {
    const row = body.rows[n] ?? body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((text, place) => {
      const cell = row.cells[place] ?? row.appendChild(place ? make("td") : make("th", { scope: "row", class: names ? "podtracer-who" : "" }));
      set(cell, text);
    });
    row.classList.toggle("podtracer-many", loud(cells));
  });
}

export default {
  render({ model, el }) {
    const view = new Dashboard(model, el);
    return () => view.remove();
  },
};
