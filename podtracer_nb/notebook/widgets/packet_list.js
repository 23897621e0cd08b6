// The packet list: rows come from Python a page at a time, and only those in sight are in the page.

const ROW = 22;
const PAGE = 200;
const TALLEST = 4_000_000; // browsers stop near 8e6 px; above, the scroll bar stands for a proportion
const KEPT = 40; // pages
const PATIENCE = 8000; // ms until a question that was not answered is asked again
const GLYPHS = { reset: "✖", repeated: "↻", error: "⚠" };
const MEANINGS = { reset: "reset", repeated: "retransmission", error: "damaged" };

class Channel {
  constructor(model, failed) {
    this.model = model;
    this.failed = failed;
    this.view = Math.random().toString(36).slice(2);
    this.seq = 0;
    this.waiting = new Map();
    this.receive = (message, buffers) => this.received(message, buffers);
    model.on("msg:custom", this.receive);
  }

  ask(kind, fields = {}) {
    const seq = ++this.seq;
    return new Promise((resolve, reject) => {
      this.waiting.set(seq, { resolve, reject });
      try {
        this.model.send({ kind, view: this.view, seq, ...fields });
      } catch {
        this.waiting.delete(seq);
        reject("The kernel of this list is gone: run the cell again.");
      }
    });
  }

  received(message, buffers) {
    if (message.view !== this.view) return; // another view's
    const { resolve, reject } = this.waiting.get(message.seq) ?? {};
    this.waiting.delete(message.seq);
    if (message.kind === "failed" || (message.kind === "error" && !reject)) this.failed(message.message);
    if (message.kind === "error" || message.kind === "failed") reject?.(message.message);
    else resolve?.({ ...message, bytes: buffers?.length ? bytesOf(buffers[0]) : new Uint8Array() });
  }

  close() {
    this.model.off("msg:custom", this.receive);
  }
}

const bytesOf = (buffer) =>
  buffer instanceof ArrayBuffer ? new Uint8Array(buffer) : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);

class PacketList {
  constructor(model, el) {
    this.model = model;
    this.id = `podtracer-${Math.random().toString(36).slice(2)}`;
    this.channel = new Channel(model, (text) => this.tell(text));
    this.fields = new Map(model.get("_fields").map(([name, numeric, nameable, meaning]) => [name, { name, numeric, nameable, meaning }]));
    this.pages = new Map();
    this.widths = new Map();
    this.top = 0;
    this.active = this.anchor = -1;
    this.column = 0;
    this.pool = [];
    this.build(el);
    this.changed = () => this.adopt();
    this.described = () => this.redescribe();
    this.elsewhere = () => this.selectedElsewhere();
    model.on("change:_state", this.changed);
    model.on("change:_fields", this.described);
    model.on("change:_selection", this.elsewhere);
    this.sized = new ResizeObserver(() => this.later());
    this.sized.observe(this.grid);
    this.adopt();
    this.selectedElsewhere();
  }

  remove() {
    this.channel.close();
    this.sized.disconnect();
    clearTimeout(this.timer);
    this.model.off("change:_state", this.changed);
    this.model.off("change:_fields", this.described);
    this.model.off("change:_selection", this.elsewhere);
  }

  // The parts ---------------------------------------------------------------------------------------------------------

  build(el) {
    this.box = make("input", {
      type: "text", class: "podtracer-query", spellcheck: "false", autocomplete: "off", role: "combobox",
      "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": `${this.id}-offers`,
      "aria-describedby": `${this.id}-error`, "aria-label": "Filter: a pandas query",
      placeholder: "filter, as pandas query: tcp_flags == 'S' and dport == 80",
    });
    this.offers = make("div", { class: "podtracer-offers", role: "listbox", id: `${this.id}-offers`, "aria-label": "Columns", hidden: true });
    this.error = make("div", { class: "podtracer-error", id: `${this.id}-error`, role: "alert", hidden: true });
    this.clear = make("button", { type: "button", "aria-label": "Show all rows", onclick: () => this.filter("") }, "✕");
    this.choose = make("button", { type: "button", "aria-expanded": "false", "aria-controls": `${this.id}-columns`, onclick: () => this.showColumns() }, "Columns");
    this.named = make("input", { type: "checkbox", onchange: () => this.name() });
    this.namedLabel = make("label", { hidden: true }, this.named, " names");
    this.status = make("span", { class: "podtracer-status", role: "status" });
    this.columns = make("div", { class: "podtracer-columns", id: `${this.id}-columns`, role: "group", "aria-label": "Columns", hidden: true });
    this.stale = make("div", { class: "podtracer-stale", role: "status", hidden: true },
      "The frame was changed after this list was made: this is how it was. ",
      make("button", { type: "button", onclick: () => this.ask("refresh") }, "Show it as it is now"));
    this.head = make("div", { class: "podtracer-row podtracer-head", role: "row", "aria-rowindex": "1" });
    this.rows = make("div", { class: "podtracer-rows", role: "rowgroup" });
    this.window = make("div", { class: "podtracer-window", role: "presentation" }, this.rows);
    this.canvas = make("div", { class: "podtracer-canvas", role: "presentation" },
      make("div", { class: "podtracer-sticky", role: "presentation" }, make("div", { role: "rowgroup" }, this.head), this.window));
    this.grid = make("div", { class: "podtracer-grid", role: "grid", tabindex: "0", "aria-label": "Packets", "aria-readonly": "true", "aria-multiselectable": "true" }, this.canvas);
    this.failure = make("div", { class: "podtracer-failure", role: "alert", hidden: true });
    this.menu = make("div", { class: "podtracer-menu", role: "menu", hidden: true });
    this.details = new PacketDetails(() => this.follow());
    this.details.closed = () => this.grid.focus({ preventScroll: true });
    // JupyterLab takes no keys from what bears this attribute, where "d d" would delete the cell.
    this.root = make("div", { class: "podtracer-widget podtracer-list", role: "group", "aria-label": "Packet list", "data-lm-suppress-shortcuts": "true" },
      make("div", { class: "podtracer-bar" }, make("div", { class: "podtracer-filter" }, this.box, this.offers), this.clear, this.choose, this.namedLabel, this.status),
      this.error, this.stale, this.columns, this.grid, this.details.element, this.failure, this.menu);
    el.append(this.root);
    this.listen();
  }

  listen() {
    this.root.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.escape();
    });
    this.root.addEventListener("focusout", (event) => {
      if (!this.menu.hidden && !this.menu.contains(event.relatedTarget)) this.closeMenu(false);
    });
    this.box.addEventListener("input", () => this.offer());
    this.box.addEventListener("keydown", (event) => this.typed(event));
    this.box.addEventListener("blur", () => this.closeOffers());
    this.grid.addEventListener("scroll", () => this.scrolled());
    this.grid.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    this.grid.addEventListener("keydown", (event) => this.steer(event));
    this.rows.addEventListener("mousedown", (event) => this.pressed(event));
    this.rows.addEventListener("contextmenu", (event) => {
      const cell = event.target.closest("[data-column]");
      if (!cell) return;
      event.preventDefault();
      event.stopPropagation();
      this.openMenu(event.clientX, event.clientY);
    });
  }

  // State that Python tells ---------------------------------------------------------------------------------------------

  redescribe() {
    this.fields = new Map(this.model.get("_fields").map(([name, numeric, nameable, meaning]) => [name, { name, numeric, nameable, meaning }]));
  }

  adopt() {
    const before = this.state;
    if (before) this.scrolled(); // what the browser has not told of yet is among the rows as they were
    this.state = this.model.get("_state");
    const { rows, total, query, sort, columns, named, packets, stale, generation } = this.state;
    if (!before || before.generation !== generation) this.pages.clear();
    if (!before || before.query !== query) this.top = 0;
    if (before?.query !== query && document.activeElement !== this.box) this.box.value = query;
    if (before?.query !== query) this.refuse("");
    this.clear.hidden = !query;
    this.namedLabel.hidden = named === null;
    if (!this.naming) this.named.checked = Boolean(named);
    this.stale.hidden = !stale;
    this.names = columns;
    this.column = Math.min(this.column, Math.max(0, columns.length - 1));
    this.grid.setAttribute("aria-rowcount", rows + 1);
    this.grid.setAttribute("aria-colcount", columns.length + 1);
    const what = packets ? "packets" : "rows";
    this.status.textContent = rows === total ? `${total.toLocaleString()} ${what}` : `${rows.toLocaleString()} of ${total.toLocaleString()} ${what}`;
    this.drawHead(sort);
    this.pool.forEach((line) => (line.shown = null));
    if (!packets) this.details.element.hidden = true;
    this.selectedElsewhere(); // it came before the rows that it is among
    this.place();
    this.later();
  }

  selectedElsewhere() {
    const { row, anchor, generation } = this.model.get("_selection");
    if (this.selecting || (generation !== undefined && generation !== this.state.generation)) return;
    this.active = row ?? -1;
    this.anchor = anchor ?? -1;
    if (row === undefined) this.details.element.hidden = true;
    this.later();
  }

  drawHead(sort) {
    const heads = this.names.map((name, number) => {
      const by = sort.replace(/^-/, "");
      const sorted = by === name || (name === "seconds" && by === "time");
      const field = this.fields.get(name);
      return make("div",
        {
          class: `podtracer-cell${field?.numeric ? " podtracer-numeric" : ""}`, role: "columnheader", "aria-colindex": number + 2,
          "aria-sort": sorted ? (sort.startsWith("-") ? "descending" : "ascending") : "none", title: field?.meaning ?? "",
          onclick: () => this.sort(name),
        },
        name === "frame" ? "No." : name, sorted ? make("span", { "aria-hidden": "true" }, sort.startsWith("-") ? " ▼" : " ▲") : "");
    });
    this.head.replaceChildren(make("div", { class: "podtracer-cell", role: "columnheader", "aria-colindex": "1", "aria-label": "Mark" }), ...heads);
  }

  // Scrolling -------------------------------------------------------------------------------------------------------------

  get visible() {
    return Math.max(1, (this.grid.clientHeight - ROW) / ROW);
  }

  get lowest() {
    return Math.max(0, this.state.rows - this.visible);
  }

  place() {
    this.canvas.style.height = `${Math.min(this.state.rows * ROW + ROW, TALLEST)}px`;
    this.window.style.height = `${Math.max(ROW, Math.min(this.grid.clientHeight - ROW, this.state.rows * ROW))}px`;
    const room = this.grid.scrollHeight - this.grid.clientHeight;
    const wanted = this.lowest ? (Math.min(this.top, this.lowest) / this.lowest) * room : 0;
    if (Math.abs(this.grid.scrollTop - wanted) > 1) {
      this.grid.scrollTop = wanted;
    }
    this.expected = this.grid.scrollTop;
  }

  scrolled() {
    if (Math.abs(this.grid.scrollTop - (this.expected ?? 0)) < 1.5) return; // our own
    const room = this.grid.scrollHeight - this.grid.clientHeight;
    this.top = room > 0 ? (this.grid.scrollTop / room) * this.lowest : 0;
    this.expected = this.grid.scrollTop;
    this.later();
  }

  wheeled(event) {
    if (event.ctrlKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const pixels = event.deltaMode === 1 ? event.deltaY * ROW : event.deltaMode === 2 ? event.deltaY * this.visible * ROW : event.deltaY;
    const to = Math.max(0, Math.min(this.lowest, this.top + pixels / ROW));
    if (to === this.top) return; // at an end: the notebook scrolls
    event.preventDefault();
    this.go(to);
  }

  go(top) {
    this.top = Math.max(0, Math.min(this.lowest, top));
    this.place();
    this.later();
  }

  reveal(row) {
    if (row < this.top) this.go(row);
    else if (row + 1 > this.top + this.visible) this.go(row + 1 - this.visible);
    else this.later();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  // Rows ------------------------------------------------------------------------------------------------------------------

  paint() {
    if (!this.grid.clientHeight) return; // not laid out yet, or hidden
    this.scrolled(); // what the browser has not told of yet: placing would undo it
    this.place();
    this.top = Math.max(0, Math.min(this.lowest, this.top));
    const first = Math.floor(this.top);
    const count = Math.min(Math.ceil(this.visible) + 1, this.state.rows - first);
    this.measure(first);
    while (this.pool.length < count) this.pool.push(this.line());
    this.pool.forEach((line, n) => this.fill(line, n < count ? first + n : -1));
    this.rows.style.transform = `translateY(${-(this.top - first) * ROW}px)`;
    this.root.classList.toggle("podtracer-empty", this.state.rows === 0);
    const marked = this.pool.find((line) => line.row === this.active)?.cells[this.column];
    marked ? this.grid.setAttribute("aria-activedescendant", marked.id) : this.grid.removeAttribute("aria-activedescendant");
    this.fetch(first, count);
  }

  line() {
    const element = make("div", { class: "podtracer-row", role: "row" });
    this.rows.append(element);
    return { element, cells: [], row: -1, shown: null };
  }

  fill(line, row) {
    const { element } = line;
    line.row = row;
    element.hidden = row < 0;
    if (row < 0) return;
    const low = Math.min(this.active, this.anchor);
    const selected = this.active >= 0 && row >= low && row <= Math.max(this.active, this.anchor);
    element.setAttribute("aria-selected", String(selected));
    const page = this.pages.get(Math.floor(row / PAGE));
    const shown = `${row} ${this.state.generation} ${Boolean(page)}`;
    if (line.shown !== shown) {
      line.shown = shown;
      this.write(line, row, page);
    }
    line.cells.forEach((cell, number) => cell.classList.toggle("podtracer-at", row === this.active && number === this.column));
  }

  write(line, row, page) {
    const { element } = line;
    element.setAttribute("aria-rowindex", row + 2);
    if (line.names !== this.names) {
      line.names = this.names;
      line.mark = make("div", { class: "podtracer-cell podtracer-mark", role: "gridcell", "aria-colindex": "1" });
      line.cells = this.names.map((name, number) =>
        make("div", {
          class: `podtracer-cell${this.fields.get(name)?.numeric ? " podtracer-numeric" : ""}`, role: "gridcell",
          "data-column": number, "aria-colindex": number + 2, id: `${this.id}-${Math.random().toString(36).slice(2)}`,
        }));
      element.replaceChildren(line.mark, ...line.cells);
    }
    const at = row % PAGE;
    const mark = page ? this.model.get("_marks")[page.marks[at]] : "none";
    element.dataset.mark = mark;
    line.mark.textContent = GLYPHS[mark] ?? "";
    MEANINGS[mark] ? line.mark.setAttribute("aria-label", MEANINGS[mark]) : line.mark.removeAttribute("aria-label");
    line.cells.forEach((cell, number) => {
      const text = page ? (page.columns[this.names[number]]?.[at] ?? "") : "…";
      cell.textContent = text;
      cell.title = text.length > 24 ? text : "";
    });
  }

  measure(first) {
    const page = this.pages.get(Math.floor(first / PAGE));
    for (const name of this.names) {
      if (this.widths.has(name) || !page) continue;
      const longest = page.columns[name]?.reduce((most, text) => Math.max(most, text.length), name.length + 2) ?? 8;
      this.widths.set(name, Math.min(48, Math.max(6, longest + 2)));
    }
    const template = this.names.map((name) => (name === "info" ? "minmax(40ch, 1fr)" : `${this.widths.get(name) ?? 12}ch`)).join(" ");
    if (template !== this.template) {
      this.template = template;
      this.root.style.setProperty("--podtracer-columns", `2.2ch ${template}`);
      const wide = this.names.reduce((sum, name) => sum + (name === "info" ? 40 : (this.widths.get(name) ?? 12)), 3);
      this.canvas.style.minWidth = `${wide}ch`;
    }
  }

  // One question at a time, and always the one of now: pages that were scrolled past are never asked for.
  fetch(first, count) {
    const pages = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor((first + count - 1) / PAGE); page++) pages.push(page);
    for (const page of pages) {
      const kept = this.pages.get(page);
      if (kept) {
        this.pages.delete(page); // the last one used is the last one forgotten
        this.pages.set(page, kept);
      }
    }
    const missing = pages.find((page) => page >= 0 && !this.pages.has(page));
    if (missing === undefined || (this.asked && performance.now() - this.asked < PATIENCE)) return;
    const mine = (this.asked = performance.now());
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (mine !== this.asked) return;
      this.tell("The kernel does not answer: it is busy, or was started again. In the latter case run the cell again.");
      this.later();
    }, PATIENCE + 50);
    this.channel.ask("page", { first: missing * PAGE, count: PAGE }).then(
      (page) => this.arrived(mine, page),
      (text) => this.arrived(mine, null, text),
    );
  }

  arrived(mine, page, text) {
    if (mine === this.asked) this.asked = 0;
    if (this.failure.textContent.startsWith("The kernel does not answer")) this.tell("");
    if (text) {
      this.tell(text);
      return;
    }
    if (page.generation === this.state.generation) {
      this.pages.set(page.first / PAGE, page);
      if (this.pages.size > KEPT) this.pages.delete(this.pages.keys().next().value);
    }
    this.later();
    if (!this.examining && this.state.packets && !this.state.examined) this.examine(0);
  }

  examine(block) {
    this.examining = true;
    this.channel.ask("examine", { block }).then(({ next }) => next !== null && this.examine(next), (text) => this.tell(text));
  }

  // Questions and refusals --------------------------------------------------------------------------------------------------

  ask(kind, fields = {}) {
    return this.channel.ask(kind, fields).then(
      (answer) => {
        this.tell("");
        return answer;
      },
      (text) => this.tell(text),
    );
  }

  tell(text) {
    this.failure.hidden = !text;
    this.failure.textContent = text;
  }

  refuse(text) {
    this.error.hidden = !text;
    this.error.textContent = text;
    this.box.setAttribute("aria-invalid", String(Boolean(text)));
  }

  filter(text) {
    this.box.value = text;
    this.channel.ask("filter", { query: text }).then(() => this.refuse(""), (why) => this.refuse(why));
  }

  sort(name) {
    const by = name === "seconds" ? "time" : name;
    const now = this.sorting ?? this.state.sort; // a second click may come before the answer to the first
    this.sorting = now === by ? `-${by}` : now === `-${by}` ? "" : by;
    this.ask("sort", { sort: this.sorting }).then(() => (this.sorting = undefined));
  }

  name() {
    const question = (this.naming = {}); // what Python tells before it has answered is of before the click
    this.ask("names", { on: this.named.checked }).then(() => {
      if (question !== this.naming) return;
      this.naming = undefined;
      this.named.checked = Boolean(this.state.named);
    });
  }

  follow() {
    this.ask("stream", { row: this.active, generation: this.state.generation }).then((answer) => answer && this.details.conversation(answer, answer.bytes));
  }

  // Selecting -----------------------------------------------------------------------------------------------------------------

  select(row, extend = false) {
    if (!this.state.rows) return;
    this.active = Math.max(0, Math.min(this.state.rows - 1, row));
    if (!extend || this.anchor < 0) this.anchor = this.active;
    this.reveal(this.active);
    this.selecting = true;
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.settled(), 60);
  }

  settled() {
    const { active, anchor } = this;
    const question = { row: active, anchor, generation: this.state.generation, details: true };
    this.ask("select", question).then((answer) => {
      if (active !== this.active) return;
      this.selecting = false;
      if (answer?.nodes) this.details.packet(`Packet ${this.text(active, "frame") ?? active + 1}`, answer.nodes, answer.bytes, answer.size);
      this.later();
    });
  }

  text(row, name) {
    return this.pages.get(Math.floor(row / PAGE))?.columns[name]?.[row % PAGE];
  }

  pressed(event) {
    const cell = event.target.closest("[data-column]");
    const line = this.pool.find((each) => each.element.contains(event.target));
    if (!line) return;
    if (cell) this.column = Number(cell.dataset.column);
    if (event.shiftKey) event.preventDefault(); // text is not what is selected here
    this.grid.focus({ preventScroll: true }); // JupyterLab takes a click with Shift for its cells
    if (event.button === 0 || line.row < Math.min(this.active, this.anchor) || line.row > Math.max(this.active, this.anchor)) this.select(line.row, event.shiftKey);
    else this.later();
  }

  steer(event) {
    const whole = Math.max(1, Math.floor(this.visible) - 1);
    const moves = {
      ArrowDown: this.active + 1, ArrowUp: this.active < 0 ? 0 : this.active - 1, PageDown: this.active + whole, PageUp: this.active - whole,
      Home: event.ctrlKey || event.metaKey ? 0 : undefined, End: event.ctrlKey || event.metaKey ? this.state.rows - 1 : undefined,
    };
    const aside = { ArrowLeft: this.column - 1, ArrowRight: this.column + 1, Home: 0, End: this.names.length - 1 };
    if (moves[event.key] !== undefined) this.select(moves[event.key], event.shiftKey);
    else if (aside[event.key] !== undefined) {
      this.column = Math.max(0, Math.min(this.names.length - 1, aside[event.key]));
      if (this.active < 0) this.select(Math.floor(this.top));
      this.later();
    } else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
      const cell = this.pool.find((line) => line.row === this.active)?.cells[this.column];
      const place = (cell ?? this.grid).getBoundingClientRect();
      this.openMenu(place.left + 8, place.bottom);
    } else if (event.key === "Enter") {
      if (this.active < 0) this.select(0);
      else if (!this.details.element.hidden) this.details.tree.focus({ preventScroll: true });
      else this.select(this.active);
    } else if (event.key === "/") this.box.focus({ preventScroll: true });
    else if (event.key === "s" && !event.ctrlKey && !event.metaKey) this.sort(this.names[this.column]);
    else return;
    event.preventDefault();
  }

  escape() {
    if (!this.menu.hidden) this.closeMenu();
    else if (!this.offers.hidden) this.closeOffers();
    else this.grid.focus({ preventScroll: true });
  }

  // The menu of a cell ------------------------------------------------------------------------------------------------------------

  openMenu(x, y) {
    if (this.active < 0) return;
    const name = this.names[this.column];
    const value = this.text(this.active, name) ?? "";
    const short = value.length > 30 ? `${value.slice(0, 30)}…` : value || "nothing";
    const quick = (how) => () => this.ask("quick", { how, row: this.active, column: name, generation: this.state.generation });
    const able = name === "seconds" || this.fields.get(name)?.nameable;
    const entries = [
      able && [`Only ${name} = ${short}`, quick("equal")],
      able && [`Not ${name} = ${short}`, quick("unequal")],
      this.state.packets && ["Only this conversation", quick("conversation")],
      this.state.packets && ["Follow stream", () => this.follow()],
      this.fields.get(name)?.name !== "info" && [`Sort by ${name}`, () => this.sort(name)],
      ["Copy the value", () => navigator.clipboard?.writeText(value).catch((why) => this.tell(String(why)))],
    ].filter(Boolean);
    this.menu.replaceChildren(...entries.map(([label, act]) =>
      make("button", { type: "button", role: "menuitem", tabindex: "-1", onclick: () => { this.closeMenu(); act(); } }, label)));
    this.menu.onkeydown = (event) => {
      const items = [...this.menu.children];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
    };
    this.menu.hidden = false;
    const outer = this.root.getBoundingClientRect();
    this.menu.style.left = `${Math.max(0, Math.min(x - outer.left, outer.width - this.menu.offsetWidth))}px`;
    this.menu.style.top = `${Math.max(0, Math.min(y - outer.top, outer.height - this.menu.offsetHeight))}px`;
    this.menu.firstChild.focus({ preventScroll: true });
  }

  closeMenu(back = true) {
    this.menu.hidden = true;
    if (back) this.grid.focus({ preventScroll: true });
  }

  showColumns() {
    const open = this.columns.hidden;
    this.columns.hidden = !open;
    this.choose.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.columns.replaceChildren(...[...this.fields.values()].map(({ name, meaning }) => {
      const box = make("input", { type: "checkbox", onchange: () => this.ask("columns", { columns: this.withColumn(name, box.checked) }) });
      box.checked = this.names.includes(name);
      return make("label", { title: meaning }, box, ` ${name}`);
    }));
    this.columns.querySelector("input").focus({ preventScroll: true });
  }

  withColumn(name, shown) {
    if (!shown) return this.names.filter((each) => each !== name);
    const info = this.names.indexOf("info"); // it takes the room that is left, so it stays last
    return info < 0 ? [...this.names, name] : [...this.names.slice(0, info), name, ...this.names.slice(info)];
  }

  // Completion in the filter's box -------------------------------------------------------------------------------------------------

  typedWord() {
    const before = this.box.value.slice(0, this.box.selectionStart);
    const quoted = (before.match(/'/g) ?? []).length % 2 || (before.match(/"/g) ?? []).length % 2;
    return quoted ? "" : (before.match(/[A-Za-z_]\w*$/)?.[0] ?? "");
  }

  offer() {
    const word = this.typedWord();
    const fits = word ? [...this.fields.values()].filter(({ name, nameable }) => nameable && name.startsWith(word) && name !== word).slice(0, 12) : [];
    this.offers.replaceChildren(...fits.map(({ name, meaning }, n) =>
      make("div", { role: "option", id: `${this.id}-offer${n}`, "data-name": name, "aria-selected": "false",
        onmousedown: (event) => { event.preventDefault(); this.take(name); } },
        make("b", {}, name), make("span", {}, ` ${meaning}`))));
    this.offers.hidden = fits.length === 0;
    this.box.setAttribute("aria-expanded", String(fits.length > 0));
    this.offered = -1;
    this.box.removeAttribute("aria-activedescendant");
  }

  closeOffers() {
    this.offers.hidden = true;
    this.box.setAttribute("aria-expanded", "false");
    this.box.removeAttribute("aria-activedescendant");
  }

  take(name) {
    const at = this.box.selectionStart;
    const start = at - this.typedWord().length;
    this.box.value = this.box.value.slice(0, start) + name + this.box.value.slice(at);
    this.box.setSelectionRange(start + name.length, start + name.length);
    this.closeOffers();
  }

  typed(event) {
    const options = this.offers.hidden ? [] : [...this.offers.children];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (options.length && step) {
      this.offered = (this.offered + step + options.length) % options.length;
      options.forEach((option, n) => option.setAttribute("aria-selected", String(n === this.offered)));
      this.box.setAttribute("aria-activedescendant", options[this.offered].id);
    } else if (options.length && (event.key === "Tab" || (event.key === "Enter" && this.offered >= 0))) {
      this.take(options[Math.max(0, this.offered)].dataset.name);
    } else if (event.key === "Enter") {
      this.closeOffers();
      this.filter(this.box.value);
    } else if (event.key === "ArrowDown") this.grid.focus({ preventScroll: true });
    else return;
    event.preventDefault();
  }
}

export default {
  render({ model, el }) {
    const list = new PacketList(model, el);
    return () => list.remove();
  },
};
