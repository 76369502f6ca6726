// The search box over a document.  The tree below it is the static twin itself: its slot shows it.
// The kernel searches; where a hit is comes as the way there, one number for each level.

const TYPED_MS = 80;
const WAITS_MS = 400; // so long a free kernel takes at most to answer

// Unfolds all on the way to a place, as far as the tree goes; returns what is there.
function unfold(twin, steps) {
  let place = null;
  let list = twin.querySelector("[data-ocimagic] ul");
  for (const step of steps) {
    const item = list?.children[step];
    if (!item) break;
    place = item;
    const fold = item.querySelector("details");
    if (fold) fold.open = true;
    list = fold?.querySelector(":scope > ul");
  }
  return place;
}

function view(root, model) {
  const twin = root.getRootNode().host;
  const said = element("p", { class: "quiet", role: "status" });
  const body = element("tbody");
  const hits = element("div", { class: "hits", hidden: true }, element("table", {},
    element("caption", { class: "hidden" }, "where it was found; a path opens its place below"),
    element("thead", {}, element("tr", {},
      ...["Path", "Value"].map((head) => element("th", { scope: "col" }, head)))), body));
  const box = element("input", { type: "search", placeholder: "search keys and values",
    "aria-label": "search keys and values", title: "every word must be in the path or the value",
    oninput: () => { clearTimeout(typed); typed = setTimeout(ask, TYPED_MS); } });
  root.append(element("div", { class: "bar" }, box, said), hits, element("slot"));

  let typed;
  let waits;
  let marked = null;
  const words = () => box.value.trim();
  function show(text, rows) {
    clearTimeout(waits);
    said.textContent = text;
    hits.hidden = !rows.length;
    body.replaceChildren(...rows.map(([path, value, steps]) => element("tr", {},
      element("th", { scope: "row" }, element("button", { type: "button", class: "mono",
        onclick: () => go(steps) }, path)),
      element("td", {}, element("div", { class: "value mono" }, value)))));
    hits.scrollTop = 0;
  }
  function ask() {
    if (!words()) {
      mark(null);
      show("", []);
      return;
    }
    clearTimeout(waits);
    waits = setTimeout(() => { said.textContent = "waits for the running cell"; }, WAITS_MS);
    model.send({ type: "search", text: words() });
  }
  function mark(place) {
    marked?.style.removeProperty("outline");
    place?.style.setProperty("outline", "2px solid var(--jp-brand-color1,#0072b2)");
    marked = place;
  }
  function go(steps) {
    const place = unfold(twin, steps);
    mark(place);
    if (!place) return;
    const target = place.querySelector("summary") ?? place;
    if (target === place) place.tabIndex = -1;
    target.focus();
  }
  const heard = (content) => {
    if (content.type === "hits" && content.text === words()) show(content.said, content.rows);
  };
  model.on("msg:custom", heard);
  return () => {
    model.off("msg:custom", heard);
    clearTimeout(typed);
    clearTimeout(waits);
    mark(null);
  };
}

const STYLE = `${LIVE_STYLE}
.live [hidden]{display:none}
.hidden{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.bar input{width:20em;max-width:100%}
.hits{position:relative;max-height:14em;overflow:auto;margin-bottom:6px;border:1px solid var(--jp-border-color1,#bdbdbd)}
.hits table{border-collapse:collapse}
.hits th,.hits td{text-align:left;vertical-align:top;padding:2px 12px 2px 6px;overflow-wrap:anywhere}
.hits thead th{font-weight:600}
.hits button{text-align:left;max-width:26em;overflow-wrap:break-word}
.value{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;overflow:hidden}
slot{display:block;font-size:var(--jp-content-font-size1,14px);line-height:var(--jp-content-line-height,1.6)}
`;

function initialize({ model }) {
  return grow(model, STYLE, (root) => view(root, model));
}

export default { initialize };
