// One packet: its fields as a tree, its bytes, and the TCP stream that it is part of.

const MOST_BYTES_SHOWN = 4096;

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const hexadecimal = (value, digits) => value.toString(16).padStart(digits, "0");
const printable = (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".");

class PacketDetails {
  constructor(followed) {
    this.tree = make("div", { class: "podtracer-tree", role: "tree", tabindex: "0", "aria-label": "Fields of the packet" });
    this.hex = make("div", { class: "podtracer-hex", tabindex: "0", role: "group", "aria-label": "Bytes of the packet" });
    this.split = make("div", { class: "podtracer-split" }, this.tree, this.hex);
    this.stream = make("div", { class: "podtracer-stream", tabindex: "0", hidden: true });
    this.title = make("span", { class: "podtracer-title" });
    this.follow = make("button", { type: "button", onclick: followed }, "Follow stream");
    this.back = make("button", { type: "button", hidden: true, onclick: () => this.showPacket() }, "Back to the packet");
    this.shut = make("button", { type: "button", "aria-label": "Close the packet", onclick: () => this.close() }, "✕");
    const bar = make("div", { class: "podtracer-detailbar" }, this.title, this.follow, this.back, this.shut);
    this.element = make("section", { class: "podtracer-details", "aria-label": "Packet", hidden: true }, bar, this.split, this.stream);
    this.tree.addEventListener("keydown", (event) => this.steer(event));
    this.tree.addEventListener("click", (event) => this.clicked(event));
    this.hex.addEventListener("click", (event) => {
      const at = event.target.dataset?.at;
      if (at !== undefined) this.choose(this.fieldOf(Number(at)), true);
    });
  }

  close() {
    this.element.hidden = true;
    this.closed?.();
  }

  showPacket() {
    this.split.hidden = false;
    this.stream.hidden = this.back.hidden = true;
    this.follow.hidden = !this.hasStream;
  }

  packet(title, nodes, bytes, size) {
    this.title.textContent = title;
    this.hasStream = nodes.some((node) => node[0] === 0 && node[1] === "TCP");
    this.nodes = nodes;
    this.folded = new Set();
    this.chosen = -1;
    this.items = nodes.map(([depth, label, value], number) => {
      const inner = nodes[number + 1]?.[0] > depth;
      return make(
        "div",
        {
          class: "podtracer-node", role: "treeitem", "data-number": number, "aria-level": depth + 1,
          "aria-expanded": inner ? "true" : null, "aria-selected": "false", style: `padding-left:${depth * 14 + 4}px`,
          id: `podtracer-node-${Math.random().toString(36).slice(2)}`,
        },
        make("span", { class: "podtracer-twist", "aria-hidden": "true" }, inner ? "▾" : ""),
        make("span", { class: depth === 0 ? "podtracer-layer" : "podtracer-label" }, label),
        value ? make("span", { class: "podtracer-value" }, ` ${value}`) : "",
      );
    });
    this.tree.replaceChildren(...this.items);
    this.bytes(bytes, size);
    this.showPacket();
    this.element.hidden = false;
  }

  bytes(bytes, size) {
    const shown = bytes.subarray(0, MOST_BYTES_SHOWN);
    this.spans = [];
    const lines = [];
    for (let at = 0; at < shown.length; at += 16) {
      const codes = make("span", { class: "podtracer-codes" });
      const letters = make("span", { class: "podtracer-letters", "aria-hidden": "true" });
      shown.subarray(at, at + 16).forEach((byte, n) => {
        const code = make("span", { "data-at": at + n }, hexadecimal(byte, 2));
        const letter = make("span", { "data-at": at + n }, printable(byte));
        this.spans.push([code, letter]);
        codes.append(code, n === 7 ? "  " : " ");
        letters.append(letter);
      });
      lines.push(make("div", { class: "podtracer-hexline" }, make("span", { class: "podtracer-offset" }, hexadecimal(at, 4)), codes, letters));
    }
    if (size > shown.length) lines.push(make("div", { class: "podtracer-left" }, `${(size - shown.length).toLocaleString()} more bytes`));
    this.hex.replaceChildren(...lines);
  }

  fieldOf(at) {
    let best = -1;
    this.nodes.forEach(([depth, , , start, stop], number) => {
      if (start <= at && at < stop && (best < 0 || depth >= this.nodes[best][0])) {
        if (best < 0 || depth > this.nodes[best][0]) best = number;
      }
    });
    return best;
  }

  choose(number, scroll = false) {
    if (number < 0) return;
    this.items[this.chosen]?.setAttribute("aria-selected", "false");
    for (const pair of this.spans) for (const span of pair) span.classList.remove("podtracer-marked");
    this.chosen = number;
    const item = this.items[number];
    item.setAttribute("aria-selected", "true");
    this.tree.setAttribute("aria-activedescendant", item.id);
    const [, , , start, stop] = this.nodes[number];
    for (const pair of this.spans.slice(start, stop)) for (const span of pair) span.classList.add("podtracer-marked");
    if (scroll) {
      for (let above = number, depth = this.nodes[number][0]; above >= 0 && depth >= 0; above--) {
        if (this.nodes[above][0] < depth) {
          depth = this.nodes[above][0];
          if (this.folded.has(above)) this.fold(above, false);
        }
      }
      within(this.tree, item);
    }
    if (start < this.spans.length && stop > start) within(this.hex, this.spans[start][0]);
  }

  fold(number, shut) {
    if (!this.items[number].hasAttribute("aria-expanded")) return;
    shut ? this.folded.add(number) : this.folded.delete(number);
    this.items[number].setAttribute("aria-expanded", String(!shut));
    this.items[number].firstChild.textContent = shut ? "▸" : "▾";
    let hiddenBelow = Infinity;
    this.nodes.forEach(([depth], n) => {
      this.items[n].hidden = depth > hiddenBelow;
      if (depth <= hiddenBelow) hiddenBelow = this.folded.has(n) ? depth : Infinity;
    });
  }

  clicked(event) {
    const item = event.target.closest?.("[data-number]");
    if (!item) return;
    const number = Number(item.dataset.number);
    if (event.target.classList.contains("podtracer-twist")) this.fold(number, !this.folded.has(number));
    this.choose(number);
  }

  steer(event) {
    const seen = this.items.map((_, number) => number).filter((number) => !this.items[number].hidden);
    const place = seen.indexOf(this.chosen);
    const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: seen.length - 1 }[event.key];
    if (to !== undefined) this.choose(seen[Math.max(0, Math.min(seen.length - 1, to))], true);
    else if (event.key === "ArrowLeft") {
      if (this.chosen >= 0 && this.items[this.chosen].getAttribute("aria-expanded") === "true") this.fold(this.chosen, true);
      else this.choose(seen.slice(0, Math.max(0, place)).findLast((n) => this.nodes[n][0] < this.nodes[this.chosen][0]) ?? -1, true);
    } else if (event.key === "ArrowRight") this.chosen >= 0 && this.fold(this.chosen, false);
    else return;
    event.preventDefault();
  }

  conversation({ ends, turns, left_out: leftOut }, bytes) {
    const decoder = new TextDecoder("utf-8");
    const parts = [];
    let at = 0;
    for (const [end, size, frame, missing] of turns) {
      const text = decoder.decode(bytes.subarray(at, at + size)).replace(/[^\t\n\r\x20-\x7e\u00a0-\uffff]/g, "·");
      at += size;
      if (missing) parts.push(make("div", { class: "podtracer-left" }, `${missing.toLocaleString()} bytes were not captured`));
      parts.push(
        make(
          "div",
          { class: `podtracer-said podtracer-end${end}` },
          make("span", { class: "podtracer-who" }, `${end ? "◀" : "▶"} ${ends[end]}, packet ${frame}`),
          make("pre", {}, text),
        ),
      );
    }
    if (!parts.length) parts.push(make("div", { class: "podtracer-left" }, "No data was sent in this conversation."));
    if (leftOut) parts.push(make("div", { class: "podtracer-left" }, `Shown: ${leftOut}.`));
    this.stream.setAttribute("aria-label", `Stream between ${ends[0]} and ${ends[1]}`);
    this.stream.replaceChildren(...parts);
    this.split.hidden = this.follow.hidden = true;
    this.stream.hidden = this.back.hidden = this.element.hidden = false;
    this.stream.focus({ preventScroll: true });
  }
}

// Scrolls one box only: scrollIntoView would move the whole notebook.
function within(box, item) {
  const outer = box.getBoundingClientRect();
  const inner = item.getBoundingClientRect();
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top;
  else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom;
}

