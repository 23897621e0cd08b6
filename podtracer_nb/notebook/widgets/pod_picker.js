// The picker: a form. Python says what can be chosen, reads the form as a typed line, and runs it.

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const SETTLE = 250; // ms after the last key

class PodPicker {
  constructor(model, el) {
    this.model = model;
    const changed = () => this.send();
    const typed = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(changed, SETTLE);
    };
    this.fields = {
      namespace: make("select", { onchange: changed }),
      container: make("select", { onchange: changed }),
      tool: make("select", { onchange: changed }),
      interface: make("input", { type: "text", size: 8, list: `${(this.id = `podtracer-${Math.random().toString(36).slice(2)}`)}-interfaces`, oninput: typed }),
      filter: make("input", { type: "text", size: 24, placeholder: "tcp port 80", oninput: typed }),
      count: make("input", { type: "text", inputmode: "numeric", size: 6, oninput: typed }),
      timer: make("input", { type: "text", size: 6, placeholder: "30s", oninput: typed }),
      arguments: make("input", { type: "text", size: 24, placeholder: "the tool's own words", oninput: typed }),
    };
    this.interfaces = make("datalist", { id: `${this.id}-interfaces` });
    this.pods = make("fieldset", { class: "podtracer-pods" });
    this.trouble = make("div", { class: "podtracer-trouble", role: "alert" });
    this.line = make("code", { class: "podtracer-line", tabindex: "0", "aria-label": "The line" });
    this.problem = make("div", { class: "podtracer-trouble", role: "alert" });
    this.copy = make("button", { type: "button", onclick: () => this.copied() }, "Copy");
    this.go = make("button", { type: "button", onclick: () => model.send({ kind: "run" }) }, "Run");
    this.halt = make("button", { type: "button", onclick: () => model.send({ kind: "stop" }) }, "Stop");
    this.state = make("div", { class: "podtracer-state", role: "status" });
    this.table = make("div", { class: "podtracer-result" });
    const label = (text, name) => (this.labels[name] = make("label", {}, `${text} `, this.fields[name]));
    this.labels = {};
    this.root = make("div", { class: "podtracer-widget podtracer-picker", role: "form", "aria-label": "Pick pods and a tool", "data-lm-suppress-shortcuts": "true" },
      make("div", { class: "podtracer-fields" }, label("Namespace", "namespace"),
        make("button", { type: "button", onclick: () => model.send({ kind: "refresh" }) }, "Ask again")),
      this.trouble, this.pods,
      make("div", { class: "podtracer-fields" }, label("Container", "container"), label("Tool", "tool"), label("Interface", "interface"),
        label("Filter", "filter"), label("Count", "count"), label("Stop after", "timer"), label("Arguments", "arguments")),
      this.interfaces,
      make("div", { class: "podtracer-fields" }, this.line, this.copy, this.go, this.halt), this.problem, this.state, this.table);
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
    el.append(this.root);
    this.fields.tool.replaceChildren(...model.get("_tools").map(([tool, purpose, here, pack]) =>
      make("option", { value: tool, disabled: !here, title: here ? purpose : `not installed: ${pack}` }, here ? tool : `${tool} (not installed: ${pack})`)));
    this.names = ["_namespaces", "_pods", "_choice", "_told", "_run"];
    this.adopt = () => this.draw();
    this.names.forEach((name) => model.on(`change:${name}`, this.adopt));
    this.draw();
  }

  remove() {
    clearTimeout(this.timer);
    this.names.forEach((name) => this.model.off(`change:${name}`, this.adopt));
  }

  send() {
    clearTimeout(this.timer);
    const choice = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.disabled || this.labels[name].hidden ? "" : field.value]));
    choice.pods = [...this.pods.querySelectorAll("input:checked")].map((box) => box.value);
    this.model.send({ kind: "choose", choice });
  }

  copied() {
    getSelection().selectAllChildren(this.line); // where a page may not write the clipboard, Ctrl+C does
    navigator.clipboard?.writeText(this.line.textContent).catch(() => {});
  }

  draw() {
    const get = (name) => this.model.get(name);
    const choice = get("_choice");
    const told = get("_told");
    const run = get("_run");
    const option = (value, text = value) => make("option", { value }, text);
    options(this.fields.namespace, get("_namespaces").map(([name, count]) => option(name, `${name} (${count})`)));
    this.drawPods(get("_pods"), choice.pods ?? []);
    const picked = get("_pods").filter(({ pod }) => (choice.pods ?? []).includes(pod));
    const common = (kind) => [...new Set(picked.flatMap((pod) => pod[kind]))];
    options(this.fields.container, [option("", "its first"), ...common("containers").map((name) => option(name))]);
    this.interfaces.replaceChildren(...["any", ...common("interfaces")].map((name) => option(name)));
    const packets = choice.tool === "tcpdump";
    for (const name of ["interface", "filter", "count"]) this.labels[name].hidden = !packets;
    for (const [name, field] of Object.entries(this.fields)) {
      if (field !== document.activeElement || field.tagName === "SELECT") field.value = choice[name] ?? "";
    }
    this.trouble.textContent = told.trouble ?? "";
    this.line.textContent = told.line || "%podtrace …";
    this.problem.textContent = told.problem ?? "";
    this.copy.disabled = !told.line;
    this.go.disabled = !told.line || run.state === "running";
    this.halt.disabled = run.state !== "running";
    this.state.textContent = run.text ?? "";
    this.state.classList.toggle("podtracer-trouble", run.state === "failed");
    this.table.innerHTML = run.table ?? ""; // made and escaped in Python
  }

  // Drawn again only where the pods are others: the box that has the focus stays.
  drawPods(pods, chosen) {
    const shown = JSON.stringify(pods);
    if (this.shownPods !== shown) {
      this.shownPods = shown;
      this.pods.replaceChildren(make("legend", {}, "Pods"), ...pods.map(({ pod, node, phase, traceable, reason }) =>
        make("label", { class: traceable ? "" : "podtracer-shut" },
          make("input", { type: "checkbox", value: pod, disabled: !traceable, onchange: () => this.send() }),
          make("span", {}, ` ${pod} `), make("span", { class: "podtracer-soft" }, traceable ? `${node} ${phase}` : `${node} ${phase}: ${reason}`))));
    }
    for (const box of this.pods.querySelectorAll("input")) box.checked = chosen.includes(box.value);
  }
}

function options(select, wanted) {
  const same = select.options.length === wanted.length && wanted.every((each, n) => select.options[n].value === each.value && select.options[n].text === each.text);
  if (!same) select.replaceChildren(...wanted);
}

export default {
  render({ model, el }) {
    const form = new PodPicker(model, el);
    return () => form.remove();
  },
};
