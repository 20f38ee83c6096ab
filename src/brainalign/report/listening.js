// Sounds play from buttons and from the marks of figures. Without this script each sound has the controls of the browser.
{
  const element = (name, className, parent) => {
    const made = document.createElement(name);
    made.className = className;
    parent.append(made);
    return made;
  };
  const player = new Audio(), uris = new Map(), buttons = new Map();
  const spoken = element("p", "sound-spoken", document.body), tip = element("p", "sound-tip", document.body);
  spoken.setAttribute("role", "status");
  tip.setAttribute("aria-hidden", "true");
  tip.hidden = true;
  let queue = [], now = null;

  const mark = (button) => {
    now?.setAttribute("aria-pressed", "false");
    now = button;
    now?.setAttribute("aria-pressed", "true");
  };
  const next = () => {
    mark(queue.shift() ?? null);
    if (!now) return;
    player.src = uris.get(now);
    player.play().catch((why) => {
      if (why.name === "AbortError") return;
      spoken.textContent = `This browser cannot play ${now?.textContent}: ${why.message}`;
      stop();
    });
  };
  const stop = () => {
    queue = [];
    player.pause();
    mark(null);
  };
  const play = (list) => {
    stop();
    queue = list;
    next();
  };
  player.addEventListener("ended", next);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
  });

  for (const sound of document.querySelectorAll(".sound")) {
    const button = document.createElement("button"), audio = sound.querySelector("audio");
    button.type = "button";
    button.textContent = sound.querySelector("span").textContent;
    button.title = button.textContent;
    button.setAttribute("aria-pressed", "false");
    uris.set(button, audio.getAttribute("src"));
    if (sound.dataset.sound) buttons.set(sound.dataset.sound, button);
    button.addEventListener("click", () => (button === now ? stop() : play([button])));
    sound.replaceChildren(button);
  }

  // One stop of the Tab key for all sounds of a grid; arrow keys go on from there.
  for (const grid of document.querySelectorAll(".sounds")) {
    const all = [...grid.querySelectorAll("button")];
    all.forEach((button, i) => (button.tabIndex = i ? -1 : 0));
    const beside = (from, way) => {
      const a = from.getBoundingClientRect(), middle = (box) => box.left + box.width / 2;
      let best = null, least = Infinity;
      for (const button of all) {
        const b = button.getBoundingClientRect(), rows = way * (b.top - a.top);
        const far = 1000 * rows + Math.abs(middle(b) - middle(a));
        if (rows > 1 && far < least) [best, least] = [button, far];
      }
      return best;
    };
    grid.addEventListener("focusin", (event) => {
      for (const button of all) button.tabIndex = button === event.target ? 0 : -1;
    });
    grid.addEventListener("keydown", (event) => {
      const i = all.indexOf(document.activeElement);
      const to = { ArrowRight: () => all[i + 1], ArrowLeft: () => all[i - 1], Home: () => all[0], End: () => all.at(-1),
        ArrowDown: () => beside(all[i], 1), ArrowUp: () => beside(all[i], -1) }[event.key];
      if (i < 0 || !to) return;
      event.preventDefault();
      to()?.focus();
    });
  }

  // Places of a figure that stand for sounds. Boxes are fractions of the drawing, so that they hold at any size.
  const named = (title) => {
    for (let end = title.lastIndexOf(" ("); end > 0; end = title.lastIndexOf(" (", end - 1))
      if (buttons.has(title.slice(0, end))) return [title.slice(0, end)];
    return [];
  };
  const boxIn = (svg) => {
    const whole = svg.getBoundingClientRect();
    return (part) => {
      const box = part.getBoundingClientRect();
      return { left: (box.left - whole.left) / whole.width, right: (box.right - whole.left) / whole.width,
        top: (box.top - whole.top) / whole.height, bottom: (box.bottom - whole.top) / whole.height };
    };
  };
  const barsOf = (svg) => {
    const axes = new Map();
    for (const { mark, text } of svg.marks) {
      if (!axes.has(mark.parentNode)) axes.set(mark.parentNode, []);
      axes.get(mark.parentNode).push({ mark, text, ids: named(text) });
    }
    const box = boxIn(svg);
    return [...axes.values()].map((bars) => {
      for (const bar of bars) bar.box = box(bar.mark);
      const top = Math.min(...bars.map((bar) => bar.box.top)), bottom = Math.max(...bars.map((bar) => bar.box.bottom));
      const left = bars[0].box.left, right = bars.at(-1).box.right;
      const at = (column) => {
        const bar = bars[column];
        return { ids: bar.ids, text: bar.text, box: { ...bar.box, top, bottom } };
      };
      return { left, right, top, bottom, columns: bars.length, rows: 1, at };
    });
  };
  const matricesOf = (svg, ids) => {
    const box = boxIn(svg), n = ids.length;
    // The bar of the colours is an image too, and a narrow one.
    const square = (b) => Math.abs(b.width / b.height - 1) < 0.2;
    return [...svg.querySelectorAll("image")].filter((image) => square(image.getBoundingClientRect())).map((image) => {
      const whole = box(image), w = (whole.right - whole.left) / n, h = (whole.bottom - whole.top) / n;
      const at = (column, row) => ({
        ids: [ids[row], ids[column]].filter((id) => buttons.has(id)), text: `${ids[row]} × ${ids[column]}`,
        box: { left: whole.left + column * w, right: whole.left + (column + 1) * w, top: whole.top + row * h,
          bottom: whole.top + (row + 1) * h },
      });
      return { ...whole, columns: n, rows: n, at };
    });
  };

  for (const canvas of document.querySelectorAll(".canvas")) {
    const svg = canvas.querySelector("svg"), pairs = canvas.dataset.sounds && JSON.parse(canvas.dataset.sounds);
    if (!svg || !buttons.size) continue;
    const titles = [...svg.querySelectorAll("g > title")];
    if (!titles.some((title) => named(title.textContent).length) && !pairs) continue;
    svg.marks = titles.map((title) => ({ mark: title.parentNode, text: title.textContent }));
    // The page shows the name at once; the browser's own label would come over it.
    for (const title of titles) title.remove();
    canvas.classList.add("playable");
    document.querySelector(`[data-help=${pairs ? "pairs" : "bars"}]`).hidden = false;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "group");
    canvas.setAttribute("aria-label",
      `Sounds of this figure: arrow keys go from ${pairs ? "pair to pair" : "sound to sound"}, Enter plays, Escape stops`);
    const cursor = element("span", "sound-cursor", canvas);
    cursor.hidden = true;
    // A figure behind a tab has no size until it is shown.
    let kept = null;
    const areas = () => (kept ??= pairs ? matricesOf(svg, pairs) : barsOf(svg));
    const place = { area: 0, column: 0, row: 0 };
    const here = () => areas()[place.area].at(place.column, place.row);
    const show = (one) => {
      const whole = svg.getBoundingClientRect();
      Object.assign(cursor.style, {
        left: `${one.box.left * whole.width}px`, top: `${one.box.top * whole.height}px`,
        width: `${(one.box.right - one.box.left) * whole.width}px`,
        height: `${(one.box.bottom - one.box.top) * whole.height}px`,
      });
      cursor.hidden = tip.hidden = false;
      tip.textContent = one.ids.length ? one.text : `${one.text} (cannot be heard here)`;
      const x = whole.left + one.box.right * whole.width + 12, y = whole.top + one.box.top * whole.height;
      tip.style.left = `${Math.max(0, Math.min(x, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(0, y - tip.offsetHeight - 4)}px`;
    };
    const hide = () => (cursor.hidden = tip.hidden = true);
    const hear = (one) => play([...new Set(one.ids)].map((id) => buttons.get(id)));
    const find = (event) => {
      const whole = svg.getBoundingClientRect();
      const x = (event.clientX - whole.left) / whole.width, y = (event.clientY - whole.top) / whole.height;
      const i = areas().findIndex((a) => x >= a.left && x < a.right && y >= a.top && y < a.bottom);
      if (i < 0) return null;
      const a = areas()[i], cell = (part, size, n) => Math.min(n - 1, Math.floor((part / size) * n));
      Object.assign(place, { area: i, column: cell(x - a.left, a.right - a.left, a.columns),
        row: cell(y - a.top, a.bottom - a.top, a.rows) });
      return here();
    };
    svg.addEventListener("pointermove", (event) => {
      const one = find(event);
      if (one) show(one);
      else hide();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("click", (event) => {
      const one = find(event);
      if (one) hear(one);
    });
    canvas.addEventListener("blur", hide);
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      if (!areas().length || !(step || ["Enter", " ", "Home", "End"].includes(event.key))) return;
      event.preventDefault();
      const a = areas()[place.area];
      if (step) {
        const row = place.row + step[1], other = areas()[place.area + step[1]];
        place.column = Math.max(0, Math.min(a.columns - 1, place.column + step[0]));
        if (row >= 0 && row < a.rows) place.row = row;
        else if (other) {
          place.area += step[1];
          place.column = Math.min(place.column, other.columns - 1);
          place.row = step[1] > 0 ? 0 : other.rows - 1;
        }
      } else if (event.key === "Home") place.column = 0;
      else if (event.key === "End") place.column = a.columns - 1;
      else hear(here());
      show(here());
      spoken.textContent = here().text;
    });
  }
}
