// The ladder diagram: Python draws it; here a part of its time is chosen.

export default {
  render({ model, el }) {
    const make = (tag, attributes = {}, ...children) => {
      const made = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) {
        name.startsWith("on") ? made.addEventListener(name.slice(2), value) : made.setAttribute(name, value);
      }
      made.append(...children);
      return made;
    };
    const look = (low, high) => model.send({ kind: "look", low, high });
    const ways = [
      ["+", "Closer", () => look(0.25, 0.75)],
      ["-", "Farther", () => look(-0.5, 1.5)],
      ["ArrowUp", "Earlier", () => look(-0.5, 0.5)],
      ["ArrowDown", "Later", () => look(0.5, 1.5)],
      ["0", "All", () => model.send({ kind: "whole" })],
    ];
    const style = "padding:2px 8px;color:inherit;background:var(--jp-layout-color1,Canvas);border:1px solid var(--jp-border-color2,#bdbdbd);cursor:pointer";
    const buttons = ways.map(([key, label, act]) =>
      make("button", { type: "button", style, onclick: act, "aria-keyshortcuts": key }, label));
    const hint = make("span", { style: "color:var(--jp-ui-font-color2,GrayText)" }, "draw over a part to see it closer");
    const drawing = make("div", { tabindex: "0", role: "group", "aria-label": "Ladder diagram; plus, minus and arrow keys choose the time", style: "overflow:auto;max-height:640px;position:relative;outline-offset:-2px" });
    const brush = make("div", { hidden: "", style: "position:absolute;left:0;right:0;pointer-events:none;background:color-mix(in srgb, var(--jp-brand-color1,#1976d2) 25%, transparent);border-block:1px solid var(--jp-brand-color1,#1976d2)" });
    const root = make("div", { class: "podtracer-ladder", "data-lm-suppress-shortcuts": "true", style: "color:var(--jp-ui-font-color0,CanvasText);background:var(--jp-layout-color0,Canvas)" },
      make("div", { style: "display:flex;gap:4px;align-items:center;padding:4px", role: "toolbar", "aria-label": "Time" }, ...buttons, hint), drawing);
    el.append(root);

    // Arrows have all the same distance, whatever the time between them: a place stands for the arrow there.
    const draw = () => {
      const { svg, whole } = model.get("_drawing");
      drawing.innerHTML = svg; // made and escaped in Python
      drawing.append(brush);
      buttons.at(-1).disabled = buttons[1].disabled = whole;
    };
    const at = (event) => {
      const box = drawing.querySelector("svg").getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientY - box.top) / box.height));
    };
    let begun = null;
    drawing.addEventListener("pointerdown", (event) => {
      if (event.button === 0) begun = { share: at(event), y: event.clientY };
    });
    drawing.addEventListener("pointermove", (event) => {
      if (!begun) return;
      const top = drawing.getBoundingClientRect().top - drawing.scrollTop;
      const [low, high] = [begun.y, event.clientY].sort((a, b) => a - b);
      brush.hidden = high - low < 6;
      brush.style.top = `${low - top}px`;
      brush.style.height = `${high - low}px`;
    });
    drawing.addEventListener("pointerup", (event) => {
      const shares = begun && [begun.share, at(event)].sort((a, b) => a - b);
      begun = null;
      if (!brush.hidden && shares) model.send({ kind: "rows", low: shares[0], high: shares[1] });
      brush.hidden = true;
    });
    root.addEventListener("keydown", (event) => {
      event.stopPropagation();
      const way = event.target === drawing && ways.find(([key]) => key === event.key);
      if (!way) return;
      event.preventDefault();
      way[2]();
    });
    model.on("change:_drawing", draw);
    draw();
    return () => model.off("change:_drawing", draw);
  },
};
