// Colours for cells that are not Python: %%dockerfile as a Dockerfile, %%compose as YAML, and
// cells of nothing but docker's lines as a shell's.
//
// JupyterLab 4 and Notebook 7 load this file as it is; nothing builds it.  It is what a bundler
// would make of an extension: a "container" with init() and get(), as webpack's module
// federation defines them.  It only sets the media type of the models of such cells, for which
// both bring a mode, and back; it registers no language and touches no other editor.

(() => {
  // What a cell begins with, and the media type of what follows.
  const KINDS = [
    [/^\s*%%(?:dockerfile|image_build)(?!\w)/, "text/x-dockerfile"],
    [/^\s*%%docker\s+(?:(?:image|builder|buildx)\s+)?build(?!\S)/, "text/x-dockerfile"],
    [/^\s*%%compose(?!\w)/, "text/x-yaml"],
  ];

  // A line of docker's, but no sentence of Python's about a variable of that name.
  const DOCKER = /^docker\s+(?!(?:is|in|and|or|not|if|for)\s)[\w-]/;
  // What may stand beside it: line magics, comments, nothing.
  const BESIDE = /^(?:%\w|#|\s*$)/;

  function kindOf(source) {
    const found = KINDS.find(([beginning]) => beginning.test(source));
    if (found) return found[1];
    const lines = source.replace(/\\\n/g, " ").split("\n");
    const isDockers = lines.some((line) => DOCKER.test(line)) &&
      lines.every((line) => DOCKER.test(line) || BESIDE.test(line));
    return isDockers ? "text/x-sh" : undefined;
  }

  // Keeps the media type of one cell right for as long as the cell lives.
  function watchCell(cell, notebook, languages) {
    if (cell.type !== "code") return;
    let ours = false;
    let queued = false;

    async function settle() {
      queued = false;
      const wanted = kindOf(cell.sharedModel.getSource()) ?? (ours ? notebook.codeMimetype : null);
      if (cell.isDisposed || wanted === null || cell.mimeType === wanted) return;
      // The notebook has just said "Python", and the editor may be loading that mode: whichever
      // mode comes last stays, so ours is asked for when that one is there.
      await languages.getLanguage(cell.mimeType).catch(() => null);
      await new Promise((resolve) => setTimeout(resolve));
      const still = kindOf(cell.sharedModel.getSource());
      if (cell.isDisposed || (still ?? notebook.codeMimetype) !== wanted) return;
      ours = still !== undefined;
      cell.mimeType = wanted;
    }

    function changed() {
      if (queued) return;
      queued = true;
      queueMicrotask(settle);
    }

    cell.contentChanged.connect(changed);
    cell.mimeTypeChanged.connect(changed);
    changed();
  }

  function watchNotebook(notebook, languages) {
    const seen = new WeakSet();

    function look() {
      for (const cell of notebook.model?.cells ?? []) {
        if (seen.has(cell)) continue;
        seen.add(cell);
        watchCell(cell, notebook, languages);
      }
    }

    function modelChanged() {
      notebook.model?.cells.changed.connect(look);
      look();
    }

    notebook.modelChanged.connect(modelChanged);
    modelChanged();
  }

  function plugin({ INotebookTracker }, { IEditorLanguageRegistry }) {
    return {
      id: "ocimagic:colours",
      description: "Colours cells of Dockerfiles, compose files and docker's lines as what they are.",
      autoStart: true,
      requires: [INotebookTracker, IEditorLanguageRegistry],
      activate: (_app, tracker, languages) => {
        tracker.forEach((panel) => watchNotebook(panel.content, languages));
        tracker.widgetAdded.connect((_, panel) => watchNotebook(panel.content, languages));
      },
    };
  }

  let shared = {};

  // Returns a package of the application itself, in the version that runs.
  async function own(name) {
    const versions = Object.values(shared[name] ?? {});
    const entry = versions.find((each) => each.loaded) ?? versions[0];
    if (entry === undefined) throw new Error(`ocimagic needs ${name}`);
    return (await entry.get())();
  }

  globalThis._JUPYTERLAB ??= {};
  globalThis._JUPYTERLAB.ocimagic = {
    init(scope) {
      shared = scope;
    },
    async get(_module) {
      const [notebook, codemirror] = await Promise.all([
        own("@jupyterlab/notebook"),
        own("@jupyterlab/codemirror"),
      ]);
      return () => ({ __esModule: true, default: plugin(notebook, codemirror) });
    },
  };
})();
