// A live view that grows on its static twin.  The saved output is HTML with a mark on it; while
// its kernel lives, the element that holds it gets a shadow tree, and that is what one sees.
// The HTML below may be renewed at any time: it is not touched, and comes back at the end.

//
// One that does not outlive its kernel withers when that is gone, and grows when it is back.

function grow(model, sheet, make, { outlives = false } = {}) {
  const key = model.get("key");
  const grown = new Map();
  let isLive = true;
  const look = () => {
    if (!isLive) return;
    for (const mark of document.querySelectorAll(`[data-ocimagic="${key}"]`)) {
      const host = mark.parentElement;
      if (!host || grown.has(host)) continue;
      const shadow = host.shadowRoot ?? host.attachShadow({ mode: "open" });
      const root = element("div", { class: "live" });
      shadow.replaceChildren(element("style", {}, sheet), root);
      // Jupyter has shortcuts of its own for bare keys: what is typed here is ours.
      for (const kind of ["keydown", "keyup", "keypress"]) {
        root.addEventListener(kind, (event) => event.stopPropagation());
      }
      host.dataset.lmSuppressShortcuts = "true";
      grown.set(host, make(root));
    }
  };
  let planned = 0;
  const observer = new MutationObserver(() => {
    planned ||= setTimeout(() => {
      planned = 0;
      look();
    }, 20);
  });
  const wither = () => {
    for (const [host, end] of grown) {
      end?.();
      delete host.dataset.lmSuppressShortcuts;
      host.shadowRoot.replaceChildren(document.createElement("slot"));
    }
    grown.clear();
  };
  const pulse = async () => {
    const whole = await model.widget_manager.get_model(key);
    isLive = outlives || whole.comm_live !== false;
    if (isLive) look();
    else wither();
  };
  model.on("comm_live_update", pulse);
  observer.observe(document.body, { childList: true, subtree: true });
  look();
  return () => {
    isLive = false; // what was planned does not grow again
    model.off("comm_live_update", pulse);
    observer.disconnect();
    clearTimeout(planned);
    wither();
  };
}

function element(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside.filter((each) => each !== null));
  return made;
}

// As ocimagic.render.units writes sizes.
function inUnits(bytes, step, units, digits) {
  let size = bytes;
  let unit = 0;
  while (size >= (step === 1000 ? 999.5 : 1024) && unit < units.length - 1) {
    size /= step;
    unit += 1;
  }
  return `${Number(size.toPrecision(digits))}${units[unit]}`;
}
const humanSize = (bytes) => inUnits(bytes, 1000, ["B", "kB", "MB", "GB", "TB", "PB"], 3);
const binarySize = (bytes) => inUnits(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4);

const LIVE_STYLE = `
.live{font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-content-font-color1,#1f1f1f);
 background:var(--jp-layout-color0,#fff);padding:4px 2px}
.live *{box-sizing:border-box}
.live code,.live pre,.mono{font-family:var(--jp-code-font-family,monospace);font-size:12px}
.live button,.live input,.live select{font:inherit;color:inherit;background:var(--jp-layout-color1,#fff);
 border:1px solid var(--jp-border-color0,#8a8a8a);border-radius:3px;padding:1px 7px}
.live button{cursor:pointer}
.live button:disabled{opacity:.5;cursor:default}
.live :focus-visible{outline:2px solid var(--jp-brand-color1,#0072b2);outline-offset:1px}
.live h3{font-size:13px;margin:0 0 3px;font-weight:600}
.live p{margin:2px 0}
.bar{display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center;margin:5px 0}
.bar label{display:inline-flex;gap:4px;align-items:center}
.quiet{color:color-mix(in srgb,var(--jp-content-font-color1,#1f1f1f) 74%,var(--jp-layout-color1,#fff))}
`;
