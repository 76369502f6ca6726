// The dashboard: rows that the kernel's threads push, and buttons whose messages wait for it.

const HEARD_MS = 400; // so long a free kernel takes at most to answer
const KEPT_LINES = 2000;
const MOST_SAMPLES = 60;
const LABELS = { start: "Start", stop: "Stop", restart: "Restart", pause: "Pause",
  unpause: "Unpause", remove: "Remove" };
const DOING = { start: "starting", stop: "stopping, up to ten seconds", restart: "restarting",
  pause: "pausing", unpause: "going on", remove: "removing" };
const ASKS = { stop: "Stop", restart: "Restart", remove: "Remove, with its files and log," };
const SHAPES = { running: "●", paused: "◐", restarting: "↻", created: "○", exited: "■",
  removing: "×", dead: "×" };

// What is known, whichever pages show it.
class Known {
  constructor(model) {
    this.model = model;
    this.state = null;
    this.samples = new Map();
    this.seen = new Set();
    this.showAll = null;
    this.logs = new Map();
    this.notes = new Map();
    this.asked = new Map();
    this.asks = 0;
    this.at = 0;
    this.over = "";
    this.painters = new Set();
    this.heard = (content) => this.hear(content);
    model.on("msg:custom", this.heard);
    model.send({ type: "ready" });
    this.clock = setInterval(() => this.paint(), 1000);
  }

  hear(content) {
    if (content.type === "state") this.take(content);
    else if (content.type === "samples") {
      this.showAll ??= content.all;
      for (const [id, samples] of Object.entries(content.samples)) this.samples.set(id, samples);
      for (const id of content.followed) if (!this.logs.has(id)) this.follow(id, true);
    } else if (content.type === "heard") {
      const asked = this.asked.get(content.ask);
      if (asked) {
        clearTimeout(asked.timer);
        this.note(asked.id, asked.works ? asked.doing : "");
        if (!asked.works) this.asked.delete(content.ask);
      }
    } else if (content.type === "done") {
      this.asked.delete(content.ask);
      this.note(content.id, content.error, Boolean(content.error));
    } else if (content.type === "log") this.lines(content);
    else if (content.type === "over") this.over = content.text;
    this.paint();
  }

  take(state) {
    this.state = state;
    this.at = Date.now();
    const ids = new Set(state.rows.map((row) => row.id));
    for (const known of [this.samples, this.logs, this.notes]) {
      for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
    }
    for (const row of state.rows) {
      if (["running", "paused", "restarting"].includes(row.status)) this.seen.add(row.id);
      if (row.sampled === null) continue;
      const kept = this.samples.get(row.id) ?? [];
      if (kept.at(-1)?.[0] !== row.sampled) kept.push([row.sampled, row.cpu, row.memory]);
      this.samples.set(row.id, kept.slice(-MOST_SAMPLES));
    }
  }

  rows() {
    return (this.state?.rows ?? []).filter((row) => this.showAll || this.seen.has(row.id));
  }

  ask(id, content, doing) {
    const ask = (this.asks += 1);
    const timer = setTimeout(() => {
      this.note(id, `${doing}: waits for the running cell`);
      this.paint();
    }, HEARD_MS);
    this.asked.set(ask, { id, doing, timer, works: content.type === "do" });
    this.model.send({ ...content, id, ask });
    return ask;
  }

  do(id, verb) {
    this.ask(id, { type: "do", verb }, DOING[verb]);
    this.paint();
  }

  works(id) {
    return [...this.asked.values()].some((asked) => asked.id === id && asked.works);
  }

  follow(id, follows) {
    if (follows) this.logs.set(id, { lines: [], leftOut: 0, version: 0 });
    else this.logs.delete(id);
    this.ask(id, { type: "logs", follow: follows }, follows ? "asked for its log" : "");
    this.paint();
  }

  lines({ id, lines, left_out: leftOut, is_first: isFirst }) {
    const log = this.logs.get(id);
    if (!log) return;
    if (isFirst) {
      log.lines = [];
      this.note(id, "");
    }
    log.lines.push(...lines);
    log.leftOut += leftOut + Math.max(log.lines.length - KEPT_LINES, 0);
    log.lines.splice(0, log.lines.length - KEPT_LINES);
    log.version += 1;
  }

  note(id, text, isError = false) {
    if (text) this.notes.set(id, { text, isError });
    else this.notes.delete(id);
  }

  paint() {
    for (const each of this.painters) each();
  }

  end() {
    clearInterval(this.clock);
    for (const { timer } of this.asked.values()) clearTimeout(timer);
    this.model.off("msg:custom", this.heard);
  }
}

function plot(label) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  const line = document.createElementNS(ns, "polyline");
  svg.setAttribute("viewBox", "0 0 120 26");
  svg.setAttribute("role", "img");
  svg.setAttribute("class", "plot");
  svg.append(line);
  const draw = (values, least, words) => {
    const most = Math.max(least, ...values);
    const at = (value, index) =>
      `${(119 - (values.length - 1 - index) * (118 / (MOST_SAMPLES - 1))).toFixed(1)},` +
      `${(25 - (24 * value) / most).toFixed(1)}`;
    line.setAttribute("points", values.map(at).join(" "));
    svg.setAttribute("aria-label", `${label}, the last ${values.length} samples, now ${words}`);
  };
  return { svg, draw };
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// One container: cells that are made once, so that what has the focus keeps it.
function container(known, first) {
  const { id } = first;
  const cells = {};
  for (const name of ["state", "cpuText", "memoryText", "note"]) cells[name] = element("span");
  const cpu = plot("CPU");
  const memory = plot("memory");
  const ports = element("td", { class: "ports mono" });
  let portsAre = null;
  const question = element("span", { class: "question", role: "alertdialog", hidden: true,
    "aria-label": "confirm" });
  const buttons = element("span", { class: "buttons" });
  const made = new Map();
  for (const [verb, label] of Object.entries(LABELS)) {
    const press = () => (ASKS[verb] ? confirm(verb) : known.do(id, verb));
    made.set(verb, element("button", { type: "button", hidden: true, onclick: press,
      "aria-label": `${label} ${first.name}` }, label));
  }
  const logs = element("button", { type: "button", "aria-expanded": "false",
    "aria-label": `Logs of ${first.name}`,
    onclick: () => known.follow(id, !known.logs.has(id)) }, "Logs");
  buttons.append(...made.values(), logs);
  function confirm(verb) {
    const close = (back) => {
      question.hidden = true;
      buttons.hidden = false;
      (back.hidden ? logs : back).focus();
    };
    const yes = element("button", { type: "button", class: "yes", onclick: () => {
      known.do(id, verb);
      close(logs);
    } }, `Yes, ${verb}`);
    question.replaceChildren(`${ASKS[verb]} ${name.textContent}? `, yes, " ",
      element("button", { type: "button", onclick: () => close(made.get(verb)) }, "No"));
    question.onkeydown = (event) => event.key === "Escape" && close(made.get(verb));
    question.hidden = false;
    buttons.hidden = true;
    yes.focus();
  }
  const name = element("strong", {}, first.name);
  const image = element("span", { class: "quiet" }, first.image);
  const log = element("pre", { class: "log", tabindex: 0, role: "log",
    "aria-label": `log of ${first.name}` });
  const leftOut = element("p", { class: "quiet" });
  const logCell = element("td", { colspan: 6 }, leftOut, log);
  const logRow = element("tr", { class: "logrow", hidden: true }, logCell);
  const row = element("tr", { "data-name": first.name },
    element("th", { scope: "row" }, name, element("br"), image),
    element("td", {}, cells.state, cells.note), ports,
    element("td", { class: "used mono" }, cpu.svg, cells.cpuText),
    element("td", { class: "used mono" }, memory.svg, cells.memoryText),
    element("td", {}, buttons, question));
  let version = -1;
  function paint(now) {
    write(name, now.name);
    row.dataset.name = now.name;
    row.dataset.status = now.status;
    write(cells.state, `${SHAPES[now.status] ?? ""} ${now.words}`);
    if (portsAre !== now.ports) ports.innerHTML = portsAre = now.ports;
    const samples = known.samples.get(id) ?? [];
    const runs = now.cpu !== null;
    write(cells.cpuText, runs ? `${now.cpu.toFixed(1)} %` : "");
    const share = runs && now.limit ? ` · ${((100 * now.memory) / now.limit).toFixed(1)} %` : "";
    write(cells.memoryText, runs ? `${binarySize(now.memory)}${share}` : "");
    cpu.draw(samples.map((each) => each[1]), 100, cells.cpuText.textContent);
    memory.draw(samples.map((each) => each[2]), 1, cells.memoryText.textContent);
    const works = known.works(id);
    for (const [verb, button] of made) {
      button.hidden = !now.verbs.includes(verb);
      button.disabled = works;
    }
    const note = known.notes.get(id);
    write(cells.note, note ? ` ${note.isError ? "⚠ " : ""}${note.text}` : "");
    cells.note.className = note?.isError ? "note error" : "note";
    cells.note.setAttribute("role", note?.isError ? "alert" : "status");
    const lines = known.logs.get(id);
    logRow.hidden = !lines;
    logs.setAttribute("aria-expanded", String(Boolean(lines)));
    if (lines && lines.version !== version) {
      const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
      log.textContent = lines.lines.join("\n");
      write(leftOut, lines.leftOut ? `${lines.leftOut} older lines are left out` : "");
      if (isAtEnd) log.scrollTop = log.scrollHeight;
      version = lines.version;
    }
  }
  return { rows: [row, logRow], paint };
}

function view(root, known) {
  const said = element("p", { role: "status" });
  const all = element("input", { type: "checkbox", onchange: () => {
    known.showAll = all.checked;
    known.paint();
  } });
  const stop = element("button", { type: "button", onclick: () =>
    known.ask("", { type: "close" }, "") }, "End dashboard");
  const body = element("tbody");
  const heads = ["Container", "State", "Ports", "CPU", "Memory", "Actions"].map((head) =>
    element("th", { scope: "col" }, head));
  const none = element("p", { class: "quiet", hidden: true }, "No container runs.");
  root.append(said, element("div", { class: "bar" },
    element("label", {}, all, "also those that do not run"), stop),
    element("div", { class: "wide" }, element("table", {},
      element("caption", { class: "hidden" }, "Containers and what they use"),
      element("thead", {}, element("tr", {}, ...heads)), body)), none);
  const shown = new Map();
  function paint() {
    const { state } = known;
    if (!state) {
      write(said, "waits for the running cell");
      return;
    }
    const age = (Date.now() - known.at) / 1000;
    const old = age > 3 * state.every + 3 ? ` · no news for ${Math.round(age)} s` : "";
    write(said, known.over ? `over: ${known.over}` : `${state.said}${old}`);
    said.className = old || known.over ? "error" : "quiet";
    all.checked = Boolean(known.showAll);
    const rows = known.rows();
    none.hidden = rows.length > 0;
    const ids = new Set(rows.map((row) => row.id));
    for (const [id, made] of shown) {
      if (ids.has(id)) continue;
      made.rows.forEach((each) => each.remove());
      shown.delete(id);
    }
    rows.forEach((row, index) => {
      if (!shown.has(row.id)) {
        const made = container(known, row);
        const before = rows.slice(index + 1).find((each) => shown.has(each.id));
        const place = before ? shown.get(before.id).rows[0] : null;
        made.rows.forEach((each) => body.insertBefore(each, place));
        shown.set(row.id, made);
      }
      shown.get(row.id).paint(row);
    });
  }
  known.painters.add(paint);
  paint();
  return () => known.painters.delete(paint);
}

const STYLE = `${LIVE_STYLE}
.wide{overflow-x:auto}
.live table{border-collapse:collapse}
.live th,.live td{text-align:left;vertical-align:top;padding:4px 12px 4px 0;font-weight:inherit;
 border-bottom:1px solid var(--jp-border-color2,#e0e0e0)}
.live thead th{font-weight:600}
.hidden{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.ports{overflow-wrap:anywhere;max-width:15em}
.ports a{color:var(--jp-content-link-color,#0b57a4)}
.used{white-space:nowrap}
.plot{display:block;width:120px;height:26px;border-bottom:1px solid var(--jp-border-color1,#bdbdbd)}
.plot polyline{fill:none;stroke:#0072b2;stroke-width:1.5;vector-effect:non-scaling-stroke}
.used+.used .plot polyline{stroke:#d55e00;stroke-dasharray:4 2}
.buttons{display:flex;flex-wrap:wrap;gap:4px}
.buttons[hidden],.live [hidden]{display:none}
.note{display:block}
.error{font-weight:600}
.note.error{border-left:4px solid #d55e00;padding-left:5px;max-width:24em}
.log{max-height:16em;overflow:auto;margin:0;padding:4px 6px;white-space:pre-wrap;overflow-wrap:anywhere;
 border:1px solid var(--jp-border-color1,#bdbdbd)}
`;

function initialize({ model }) {
  const known = new Known(model);
  const ungrow = grow(model, STYLE, (root) => view(root, known));
  return () => {
    known.end();
    ungrow();
  };
}

export default { initialize };
