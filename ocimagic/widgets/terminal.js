// The browser's side of a container's terminal: keys out, bytes in.  xterm.js comes from the
// kernel at the first terminal of a page, so that a saved notebook does not carry it.

const SHARED = (globalThis.__ocimagic_terminal ??= {});

function asModule(text) {
  return import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
}

// Each terminal asks for itself until one was answered: its kernel may be gone before it answers.
function library(model) {
  if (SHARED.found) return Promise.resolve(SHARED.found);
  return new Promise((resolve) => {
    const heard = async (content, buffers) => {
      if (content.type !== "library") return;
      model.off("msg:custom", heard);
      const [xterm, fit, style] = buffers.map((each) => new TextDecoder().decode(each));
      const [{ Terminal }, { FitAddon }] = await Promise.all([asModule(xterm), asModule(fit)]);
      SHARED.found ??= { Terminal, FitAddon, style };
      resolve(SHARED.found);
    };
    model.on("msg:custom", heard);
    model.send({ type: "library" });
  });
}

function pick(element, name, other) {
  return getComputedStyle(element).getPropertyValue(name).trim() || other;
}

function colours(element) {
  const ink = pick(element, "--jp-content-font-color1", "#1f1f1f");
  return {
    background: pick(element, "--jp-layout-color1", "#ffffff"),
    foreground: ink,
    cursor: ink,
    selectionBackground: pick(element, "--jp-editor-selected-focused-background", "#a8c7fa"),
  };
}

function transcript(terminal) {
  const buffer = terminal.buffer.normal;
  const lines = [];
  for (let row = 0; row < buffer.length; row += 1) {
    const line = buffer.getLine(row);
    const text = line.translateToString(true);
    if (line.isWrapped && lines.length) lines[lines.length - 1] += text;
    else lines.push(text);
  }
  return lines.join("\n").trimEnd();
}

function view(model, el, { Terminal, FitAddon }) {
  const place = element("div", { role: "group",
    "aria-label": `terminal of container ${model.get("name")}`,
    style: `height:${model.get("rows") * 1.25}em` });
  const caption = element("p", { class: "quiet" }, model.get("caption"));
  el.append(place, caption);

  const terminal = new Terminal({
    rows: model.get("rows"),
    fontFamily: pick(el, "--jp-code-font-family", "monospace"),
    fontSize: 13,
    scrollback: 5000,
    screenReaderMode: true,
    theme: colours(el),
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(place);

  const bytes = new TextEncoder();
  terminal.onData((data) => model.send({ type: "input" }, undefined, [bytes.encode(data)]));
  terminal.onBinary((data) =>
    model.send({ type: "input" }, undefined, [Uint8Array.from(data, (c) => c.charCodeAt(0))]),
  );
  terminal.onResize(({ rows, cols }) => model.send({ type: "resize", rows, columns: cols }));

  const heard = (content, buffers) => {
    if (content.type === "output") {
      if (content.again) terminal.reset();
      for (const each of buffers) {
        const view = new Uint8Array(each.buffer, each.byteOffset, each.byteLength);
        terminal.write(view);
      }
    } else if (content.type === "end") {
      terminal.write("", () => {
        terminal.options.disableStdin = true;
        model.send({ type: "transcript", text: transcript(terminal) });
      });
    }
  };
  const captioned = () => (caption.textContent = model.get("caption"));
  model.on("msg:custom", heard);
  model.on("change:caption", captioned);
  const watcher = new ResizeObserver(() => place.isConnected && fit.fit());
  watcher.observe(place);
  fit.fit();
  model.send({ type: "ready", rows: terminal.rows, columns: terminal.cols });
  terminal.focus();

  return () => {
    model.off("msg:custom", heard);
    model.off("change:caption", captioned);
    watcher.disconnect();
    terminal.dispose();
  };
}

const STYLE = ".live .xterm *{box-sizing:content-box}";

function initialize({ model }) {
  let ungrow = () => {};
  let isOver = false;
  library(model).then((found) => {
    if (isOver) return;
    ungrow = grow(model, `${LIVE_STYLE}${found.style}${STYLE}`, (root) => view(model, root, found));
  });
  return () => {
    isOver = true;
    ungrow();
  };
}

export default { initialize };
