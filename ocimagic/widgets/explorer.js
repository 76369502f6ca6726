// The layer explorer: lines of the history beside the tree of files, each leading to the other.
// All data comes once, in columns; what is done with it is done here, also while the kernel works.

const MEANINGS = { A: "added", M: "changed", D: "deleted" };
const ROW_PX = 22;
const SHOWN_ROWS = 18;
const SPARE_ROWS = 6;

async function unpacked(buffer) {
  const bytes = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(bytes).json();
}

// The columns, and what follows from them.  Rows are in the order of a tree: each directory
// before what it holds, so that a subtree is a range.
class Files {
  constructor(data) {
    Object.assign(this, data);
    this.names = data.names === "" ? [] : data.names.split("/");
    const count = this.names.length;
    this.count = count;
    this.parent = new Int32Array(count);
    this.end = new Int32Array(count);
    this.wasted = new Float64Array(count);
    const open = [];
    for (let row = 0; row < count; row += 1) {
      const depth = this.depths[row];
      while (open.length > depth) this.end[open.pop()] = row;
      this.parent[row] = depth ? open[depth - 1] : -1;
      open.push(row);
    }
    while (open.length) this.end[open.pop()] = count;
    this.losses = new Map();
    for (const loss of this.waste) {
      const [row, size] = loss;
      this.wasted[row] += size;
      this.losses.set(row, [...(this.losses.get(row) ?? []), loss]);
    }
    const again = new Set(this.again);
    this.total = Float64Array.from(this.sizes);
    for (let row = count - 1; row > 0; row -= 1) {
      const above = this.parent[row];
      if (above < 0) continue;
      const counts = this.isThere(row) && !again.has(row);
      if (counts) this.total[above] += this.total[row];
      this.wasted[above] += this.wasted[row];
    }
  }

  isThere(row) {
    return this.touches[this.touched[row]].at(-1)[1] !== "D";
  }

  isDirectory(row) {
    return this.kinds[row] === "d";
  }

  path(row) {
    const parts = [];
    for (let at = row; at >= 0; at = this.parent[at]) parts.push(this.names[at]);
    return `/${parts.reverse().join("/")}`;
  }

  paths() {
    if (!this.known) {
      this.known = new Array(this.count);
      for (let row = 0; row < this.count; row += 1) {
        const above = this.parent[row];
        this.known[row] = `${above < 0 ? "" : this.known[above]}/${this.names[row]}`;
      }
    }
    return this.known;
  }

  // 2 for each row that fits, 1 for the directories it is in; null when all fit.
  fitting({ text, how, changed, wasted, layer, pair }) {
    const tests = [];
    if (text) {
      const fits = matcher(text, how);
      const paths = this.paths();
      tests.push((row) => fits(paths[row]));
    }
    const kinds = this.touches.map((each) => ({
      layers: new Set(each.map(([number]) => number)),
      changed: each.some(([, letter]) => letter !== "A"),
    }));
    if (changed) tests.push((row) => kinds[this.touched[row]].changed);
    if (wasted) tests.push((row) => this.losses.has(row));
    if (layer !== null) tests.push((row) => kinds[this.touched[row]].layers.has(layer));
    if (pair) {
      const [shipped, hidden] = pair;
      const is = ([, , by, hides]) => by === shipped && hides === hidden;
      tests.push((row) => (this.losses.get(row) ?? []).some(is));
    }
    if (!tests.length) return null;
    const kept = new Uint8Array(this.count);
    let hits = 0;
    for (let row = 0; row < this.count; row += 1) {
      if (!tests.every((test) => test(row))) continue;
      hits += 1;
      kept[row] = 2;
      for (let at = this.parent[row]; at >= 0 && !kept[at]; at = this.parent[at]) kept[at] = 1;
    }
    return { kept, hits };
  }
}

function matcher(text, how) {
  if (how === "regex") {
    const wanted = new RegExp(text);
    return (path) => wanted.test(path);
  }
  if (how === "glob") {
    const parts = text.split(/(\*\*|\*|\?)/).map((part) => {
      if (part === "**") return ".*";
      if (part === "*") return "[^/]*";
      return part === "?" ? "[^/]" : part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    });
    const wanted = new RegExp(`${text.startsWith("/") ? "^" : "/"}${parts.join("")}$`);
    return (path) => wanted.test(path);
  }
  const wanted = text.toLowerCase();
  return (path) => path.toLowerCase().includes(wanted);
}

function view(root, files) {
  const filter = { text: "", how: "text", changed: false, wasted: false, layer: null, pair: null };
  const state = { open: new Uint8Array(files.count), kept: null, rows: [], at: 0 };
  const lineOf = new Map();
  files.steps.forEach((step, number) => step.layer !== null && lineOf.set(step.layer, number));
  const named = (layer) => `layer ${layer}: ${files.steps[lineOf.get(layer)].text}`;

  // -- the lines ---------------------------------------------------------------
  const lines = element("div", { role: "listbox", tabindex: 0, class: "lines",
    "aria-label": "lines of the history; Enter shows what a line did" });
  const options = files.steps.map((step, number) => {
    const layer = step.layer === null ? null : files.layers[step.layer];
    const figures = layer === null ? "no files" : [
      ...[["A", layer.added], ["M", layer.changed], ["D", layer.deleted]]
        .filter(([, count]) => count)
        .map(([letter, count]) => `${letter} ${count.toLocaleString("en")}`),
      humanSize(layer.shipped), ...(layer.wasted ? [`${humanSize(layer.wasted)} wasted`] : []),
    ].join(" · ");
    const option = element("div", { role: "option", id: `line-${number}`, class: "line",
      "aria-selected": "false", "aria-disabled": layer === null ? "true" : null,
      onclick: () => { goToLine(number); chooseLine(number); } },
      element("span", { class: "number mono" }, step.layer === null ? "" : String(step.layer)),
      element("span", { class: "what" }, element("code", {}, step.text),
        element("span", { class: "quiet figures" }, figures)));
    lines.append(option);
    return option;
  });
  let line = 0;
  function goToLine(number) {
    options[line]?.classList.remove("active");
    line = Math.min(Math.max(number, 0), options.length - 1);
    options[line]?.classList.add("active");
    lines.setAttribute("aria-activedescendant", `line-${line}`);
    const [top, high] = [options[line].offsetTop - lines.offsetTop, options[line].offsetHeight];
    if (top < lines.scrollTop) lines.scrollTop = top;
    else if (top + high > lines.scrollTop + lines.clientHeight) {
      lines.scrollTop = top + high - lines.clientHeight;
    }
  }
  function chooseLine(number) {
    const layer = files.steps[number].layer;
    if (layer === null) return;
    filter.layer = filter.layer === layer ? null : layer;
    filter.pair = null;
    refilter();
  }
  function jump(layer) {
    goToLine(lineOf.get(layer));
    lines.focus({ preventScroll: true });
  }
  lines.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -options.length, End: options.length };
    if (event.key in steps) goToLine(line + steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") chooseLine(line);
    else if (event.key === "Escape" || event.key === "Backspace") grid.focus({ preventScroll: true });
    else return;
    event.preventDefault();
  });

  // -- the tree ----------------------------------------------------------------
  const space = element("div", { class: "space", role: "presentation" });
  const body = element("div", { class: "body", role: "rowgroup" }, space);
  const heads = ["layers", "size", "wasted", "path"].map((name) =>
    element("span", { role: "columnheader", class: name }, name));
  const grid = element("div", { role: "treegrid", tabindex: 0, class: "grid",
    "aria-label": `files of ${files.image}; Enter goes to the line that made a file`,
    "aria-colcount": 4 },
    element("div", { role: "rowgroup" }, element("div", { role: "row", class: "heads" }, ...heads)),
    body);
  const said = element("p", { class: "quiet", role: "status" });
  const about = element("div", { class: "about", "aria-live": "polite" });

  function list() {
    const { open, kept } = state;
    const rows = [];
    for (let row = 0; row < files.count; ) {
      if (kept && !kept[row]) { row = files.end[row]; continue; }
      rows.push(row);
      row = files.isDirectory(row) && !open[row] ? files.end[row] : row + 1;
    }
    state.rows = rows;
    space.style.height = `${rows.length * ROW_PX}px`;
    grid.setAttribute("aria-rowcount", String(rows.length + 1));
    go(Math.min(state.at, Math.max(rows.length - 1, 0)), false);
  }
  function go(at, scrolls = true) {
    state.at = Math.max(0, Math.min(at, state.rows.length - 1));
    const [top, high] = [state.at * ROW_PX, body.clientHeight];
    if (scrolls && top < body.scrollTop) body.scrollTop = top;
    else if (scrolls && top + ROW_PX > body.scrollTop + high) body.scrollTop = top + ROW_PX - high;
    paint();
    explain();
  }
  function paint() {
    const { rows, at } = state;
    const first = Math.max(0, Math.floor(body.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(rows.length, first + SHOWN_ROWS + 2 * SPARE_ROWS);
    const shown = [];
    for (let index = first; index < last; index += 1) shown.push(drawn(index));
    // The active row is what a screen reader reads: it is there wherever one has scrolled to.
    if (rows.length && (at < first || at >= last)) shown.push(drawn(at));
    space.replaceChildren(...shown);
    if (rows.length) grid.setAttribute("aria-activedescendant", `row-${rows[at]}`);
    else grid.removeAttribute("aria-activedescendant");
  }
  function drawn(index) {
    const row = state.rows[index];
    const folds = files.isDirectory(row) && files.end[row] > row + 1;
    const name = `${files.names[row]}${files.isDirectory(row) ? "/" : ""}`;
    const link = files.links[row];
    const wasted = files.wasted[row];
    const size = files.isDirectory(row) || files.kinds[row] === "f" ? files.total[row] : null;
    const letters = files.touches[files.touched[row]].map(([layer, letter]) =>
      element("button", { type: "button", tabindex: -1, class: `touch ${letter}`,
        title: `${MEANINGS[letter]} by ${named(layer)}`,
        "aria-label": `${letter}${layer}: ${MEANINGS[letter]} by layer ${layer}`,
        onclick: (event) => { event.stopPropagation(); go(index); jump(layer); } },
        `${letter}${layer}`));
    return element("div", { role: "row", id: `row-${row}`,
      class: `row${index === state.at ? " active" : ""}${state.kept?.[row] === 1 ? " way" : ""}`,
      style: `top:${index * ROW_PX}px`, "aria-rowindex": index + 2,
      "aria-level": files.depths[row] + 1, "aria-selected": String(index === state.at),
      "aria-expanded": folds ? String(Boolean(state.open[row])) : null,
      onclick: () => { state.at = index; if (folds) toggle(row); else go(index, false);
        grid.focus({ preventScroll: true }); } },
      element("span", { role: "gridcell", class: "layers mono" }, ...letters),
      element("span", { role: "gridcell", class: "size mono" }, size === null ? "" : humanSize(size)),
      element("span", { role: "gridcell", class: "wasted mono" }, wasted ? humanSize(wasted) : ""),
      element("span", { role: "gridcell", class: "path mono",
        style: `padding-left:${files.depths[row] * 14}px`, title: files.path(row) },
        element("span", { class: "fold", "aria-hidden": "true" },
          folds ? (state.open[row] ? "▾" : "▸") : ""),
        element(files.isThere(row) ? "span" : "del", {}, name),
        link === undefined ? "" : element("span", { class: "quiet" }, ` → ${link}`)));
  }
  function toggle(row, open = !state.open[row]) {
    state.open[row] = open ? 1 : 0;
    list();
  }
  function explain() {
    const row = state.rows[state.at];
    if (row === undefined) { about.replaceChildren(); return; }
    const [mode, uid, gid] = files.metas[files.meta[row]];
    const to = (layer) => element("button", { type: "button", onclick: () => jump(layer) },
      named(layer));
    const parts = [element("p", {}, element("code", {}, files.path(row)), ` · mode ` +
      `${mode.toString(8).padStart(4, "0")}, owner ${uid}:${gid}` +
      (files.isThere(row) ? "" : " · not in the image any more"))];
    for (const [layer, letter] of files.touches[files.touched[row]]) {
      parts.push(element("p", {}, `${letter} ${MEANINGS[letter]} by `, to(layer)));
    }
    for (const [, size, shipped, hidden] of files.losses.get(row) ?? []) {
      parts.push(element("p", {}, `${humanSize(size)} wasted: shipped by `, to(shipped),
        shipped === hidden ? ", which ships it twice" : " and hidden by ",
        shipped === hidden ? "" : to(hidden)));
    }
    about.replaceChildren(...parts);
  }
  const keys = {
    ArrowDown: () => go(state.at + 1),
    ArrowUp: () => go(state.at - 1),
    PageDown: () => go(state.at + SHOWN_ROWS - 1),
    PageUp: () => go(state.at - SHOWN_ROWS + 1),
    Home: () => go(0),
    End: () => go(state.rows.length - 1),
    ArrowRight: (row) => {
      if (!files.isDirectory(row) || files.end[row] === row + 1) return;
      if (state.open[row]) go(state.at + 1);
      else toggle(row, true);
    },
    ArrowLeft: (row) => {
      if (files.isDirectory(row) && state.open[row]) toggle(row, false);
      else if (files.parent[row] >= 0) go(state.rows.indexOf(files.parent[row]));
    },
    " ": (row) => files.isDirectory(row) && toggle(row),
    Enter: (row) => jump(files.touches[files.touched[row]].at(-1)[0]),
    "/": () => text.focus(),
    Escape: () => clear(),
  };
  grid.addEventListener("keydown", (event) => {
    const row = state.rows[state.at];
    const does = keys[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (row !== undefined || event.key === "Escape" || event.key === "/") does(row);
  });
  let painting = false;
  body.addEventListener("scroll", () => {
    if (painting) return;
    painting = true;
    requestAnimationFrame(() => { painting = false; paint(); });
  });

  // -- the filter --------------------------------------------------------------
  const text = element("input", { type: "search", placeholder: "filter paths",
    "aria-label": "filter paths", oninput: () => { filter.text = text.value; later(); },
    onkeydown: (event) => { if (event.key === "ArrowDown") { event.preventDefault(); grid.focus(); } } });
  const how = element("select", { "aria-label": "how the filter is read",
    onchange: () => { filter.how = how.value; refilter(); } },
    ...["text", "glob", "regex"].map((each) => element("option", {}, each)));
  const check = (name, label) => {
    const box = element("input", { type: "checkbox",
      onchange: () => { filter[name] = box.checked; refilter(); } });
    return [box, element("label", {}, box, label)];
  };
  const [changedBox, changed] = check("changed", "changed or deleted");
  const [wastedBox, wasted] = check("wasted", "wasted");
  const everything = element("button", { type: "button", onclick: () => clear() }, "Show all");
  let waiting;
  const later = () => { clearTimeout(waiting); waiting = setTimeout(refilter, 80); };
  function clear() {
    Object.assign(filter, { text: "", changed: false, wasted: false, layer: null, pair: null });
    text.value = "";
    changedBox.checked = wastedBox.checked = false;
    refilter();
  }
  function refilter() {
    clearTimeout(waiting);
    const row = state.rows[state.at];
    let found;
    try {
      found = files.fitting(filter);
      text.removeAttribute("aria-invalid");
    } catch (error) {
      text.setAttribute("aria-invalid", "true");
      said.textContent = error.message;
      return;
    }
    const wasFiltered = state.kept !== null;
    state.kept = found?.kept ?? null;
    if (found) state.open = found.kept.map((each, at) => (each && files.isDirectory(at) ? 1 : 0));
    else if (wasFiltered) unfold(row);
    options.forEach((option, number) => option.setAttribute("aria-selected",
      String(filter.layer !== null && files.steps[number].layer === filter.layer)));
    everything.disabled = !found;
    const of = filter.layer === null ? "" : `, of what layer ${filter.layer} did`;
    said.textContent = found ? `${found.hits.toLocaleString("en")} of ` +
      `${files.count.toLocaleString("en")} paths fit${of}` :
      `${files.count.toLocaleString("en")} paths`;
    state.at = 0;
    list();
    const at = row === undefined ? -1 : state.rows.indexOf(row);
    body.scrollTop = 0;
    go(Math.max(at, 0));
  }
  // What was found stays to be seen when all is shown again.
  function unfold(row = -1) {
    state.open = new Uint8Array(files.count);
    for (let at = files.parent[row] ?? -1; at >= 0; at = files.parent[at]) state.open[at] = 1;
  }

  // -- the waste ---------------------------------------------------------------
  const pairs = files.pairs.map(([shipped, hidden, count, size]) => element("tr", {},
    element("td", { class: "mono" }, humanSize(size)),
    element("td", {}, element("button", { type: "button", onclick: () => {
      Object.assign(filter, { pair: [shipped, hidden], layer: null });
      refilter();
      grid.focus({ preventScroll: true });
    } }, `${count.toLocaleString("en")} ${count === 1 ? "file" : "files"}`)),
    ...[shipped, hidden].map((layer) => element("td", {},
      element("button", { type: "button", onclick: () => jump(layer) }, named(layer))))));
  const waste = pairs.length ? element("details", { open: pairs.length < 6 },
    element("summary", {}, `${humanSize(files.wasted_bytes)} wasted, by the two lines that caused it`),
    element("table", {}, element("thead", {}, element("tr", {},
      ...["wasted", "files", "shipped by", "hidden by"].map((name) =>
        element("th", { scope: "col" }, name)))), element("tbody", {}, ...pairs))) : "";

  root.append(element("p", {}, files.sentence),
    element("div", { class: "bar" }, text, how, changed, wasted, everything, said),
    element("div", { class: "panes" },
      element("div", { class: "left", role: "group", "aria-label": "history" },
        element("h3", {}, "Lines of its history"), lines),
      element("div", { class: "right", role: "group", "aria-label": "files" }, grid)),
    about, waste);
  // What holds one directory and nothing else is open: there is nothing to choose.
  for (let row = 0; row < files.count && files.isDirectory(row); row += 1) {
    const above = files.parent[row];
    if (files.end[row] !== (above < 0 ? files.count : files.end[above])) break;
    state.open[row] = 1;
  }
  refilter();
  goToLine(0);
}

const STYLE = `${LIVE_STYLE}
.panes{display:flex;flex-wrap:wrap;gap:10px}
.left{flex:1 1 240px;min-width:0}
.right{flex:2 1 420px;min-width:0}
.live{container-type:inline-size}
@container (max-width:690px){.live .lines{max-height:${7 * ROW_PX}px}}
.lines{max-height:${(SHOWN_ROWS + 1) * ROW_PX - 21}px;overflow:auto;border:1px solid var(--jp-border-color1,#bdbdbd)}
.line{display:flex;gap:8px;padding:2px 6px;cursor:pointer;border-bottom:1px solid var(--jp-border-color2,#e0e0e0);
 border-left:4px solid transparent}
.line[aria-disabled]{cursor:default}
.line[aria-selected=true]{border-left-color:#0072b2;background:var(--jp-layout-color2,#eee)}
.lines:focus-visible .line.active,.grid:focus-visible .row.active{outline:2px solid var(--jp-brand-color1,#0072b2);outline-offset:-2px}
.line.active{background:var(--jp-layout-color2,#eee)}
.line .number{flex:0 0 1.8em;text-align:right}
.line .what{min-width:0;overflow-wrap:anywhere}
.line .what code{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden}
.line .figures{display:block;font-size:12px}
.grid{border:1px solid var(--jp-border-color1,#bdbdbd)}
.body{height:${SHOWN_ROWS * ROW_PX}px;overflow:auto;position:relative}
.space{position:relative}
.row,.heads{display:flex;gap:8px;height:${ROW_PX}px;line-height:${ROW_PX}px;padding:0 6px;white-space:nowrap}
.row{position:absolute;left:0;right:0;cursor:default}
.row.active{background:var(--jp-layout-color2,#eee)}
.row.way .path{font-style:italic}
.heads{font-weight:600;border-bottom:1px solid var(--jp-border-color1,#bdbdbd);padding-right:20px}
.layers{flex:0 0 92px;overflow:hidden}
.size,.wasted{flex:0 0 58px;text-align:right}
.path{flex:1;overflow:hidden;text-overflow:ellipsis;min-width:0}
.fold{display:inline-block;width:14px}
.live .touch{padding:0 3px;margin-right:3px;line-height:15px;border-width:1.5px;border-radius:3px}
.touch.A{border-color:#009e73}
.touch.M{border-color:#e69f00;border-style:dashed}
.live .touch.D{border-color:#d55e00;border-style:double;border-width:3px;line-height:12px}
.about{min-height:5em;margin:6px 0;overflow-wrap:anywhere}
.about button,td button{text-align:left;max-width:100%;overflow:hidden;text-overflow:ellipsis}
.live table{border-collapse:collapse}
.live th,.live td{text-align:left;vertical-align:top;padding:2px 12px 2px 0}
.live td:nth-child(2) button{white-space:nowrap}
.live summary{cursor:pointer}
[aria-invalid=true]{outline:2px solid #d55e00}
`;

function initialize({ model }) {
  let ungrow = () => {};
  const heard = async (content, buffers) => {
    if (content.type !== "files") return;
    model.off("msg:custom", heard);
    const files = new Files(await unpacked(buffers[0]));
    ungrow = grow(model, STYLE, (root) => view(root, files), { outlives: true });
  };
  model.on("msg:custom", heard);
  model.send({ type: "ready" });
  return () => {
    model.off("msg:custom", heard);
    ungrow();
  };
}

export default { initialize };
