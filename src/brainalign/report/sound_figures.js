// Places of a figure that stand for sounds: bars, points of a map, cells of a matrix. They are named under the pointer and
// by arrow keys, and play. Boxes are fractions of the drawing, so that they hold at any size.
{
  const { buttons, spoken } = sounds;
  const element = (name, className, parent) => {
    const made = document.createElement(name);
    made.className = className;
    made.hidden = true;
    parent.append(made);
    return made;
  };
  const tip = element("p", "sound-tip", document.body);
  tip.setAttribute("aria-hidden", "true");

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
  const around = (boxes) => ({
    left: Math.min(...boxes.map((b) => b.left)), right: Math.max(...boxes.map((b) => b.right)),
    top: Math.min(...boxes.map((b) => b.top)), bottom: Math.max(...boxes.map((b) => b.bottom)),
  });
  // The marks of each axes, with their boxes.
  const marksOf = (svg) => {
    const axes = new Map(), box = boxIn(svg);
    for (const { mark, text } of svg.marks) {
      if (!axes.has(mark.parentNode)) axes.set(mark.parentNode, []);
      axes.get(mark.parentNode).push({ text, ids: named(text), box: box(mark) });
    }
    return [...axes.values()];
  };
  const cell = (part, size, n) => Math.min(n - 1, Math.floor((part / size) * n));
  const cells = (area) => ({
    ...area,
    pick: (x, y) => {
      const { left, right, top, bottom, columns, rows } = area;
      if (x < left || x >= right || y < top || y >= bottom) return null;
      return { column: cell(x - left, right - left, columns), row: cell(y - top, bottom - top, rows) };
    },
  });
  const barsOf = (svg) => marksOf(svg).map((bars) => {
    const { top, bottom } = around(bars.map((bar) => bar.box));
    const at = (column) => ({ ...bars[column], box: { ...bars[column].box, top, bottom } });
    return cells({ left: bars[0].box.left, right: bars.at(-1).box.right, top, bottom, columns: bars.length, rows: 1, at });
  });
  const pointsOf = (svg) => marksOf(svg).map((points) => {
    const pick = (x, y) => {
      const { width, height } = svg.getBoundingClientRect();
      let best = null, least = 16; // pixels
      points.forEach(({ box }, column) => {
        const far = Math.hypot((x - (box.left + box.right) / 2) * width, (y - (box.top + box.bottom) / 2) * height);
        if (far < least) [best, least] = [{ column, row: 0 }, far];
      });
      return best;
    };
    return { columns: points.length, rows: 1, at: (column) => points[column], pick };
  });
  // Dissimilarities above the diagonal, row by row, as 16-bit steps of their range.
  const valuesOf = ({ low, step, packed }, n) => {
    const steps = new Uint16Array(Uint8Array.from(atob(packed), (c) => c.charCodeAt(0)).buffer);
    return (i, j) => {
      if (i === j) return ": the same sound";
      const [first, second] = i < j ? [i, j] : [j, i];
      const own = steps[first * n - (first * (first + 1)) / 2 + second - first - 1];
      if (own === 65535) return ": not defined";
      let below = 0, equal = 0, all = 0;
      for (const other of steps) {
        all += other < 65535;
        below += other < own;
        equal += other === own;
      }
      const rank = Math.round((100 * (below + (equal + 1) / 2)) / all);
      return `: ${String(Number((low + step * own).toPrecision(3))).replace("-", "−")} (percentile ${rank})`;
    };
  };
  const matricesOf = (svg, ids, packed) => {
    const box = boxIn(svg), n = ids.length;
    // The bar of the colours is an image too, and a narrow one.
    const square = (b) => Math.abs(b.width / b.height - 1) < 0.2;
    return [...svg.querySelectorAll("image")].filter((image) => square(image.getBoundingClientRect())).map((image, k) => {
      const whole = box(image), w = (whole.right - whole.left) / n, h = (whole.bottom - whole.top) / n;
      const value = packed?.[k] ? valuesOf(packed[k], n) : () => "";
      const at = (column, row) => ({
        ids: [ids[row], ids[column]].filter((id) => buttons.has(id)),
        text: `${ids[row]} × ${ids[column]}${value(row, column)}`,
        box: { left: whole.left + column * w, right: whole.left + (column + 1) * w, top: whole.top + row * h,
          bottom: whole.top + (row + 1) * h },
      });
      return cells({ ...whole, columns: n, rows: n, at });
    });
  };

  const KINDS = {
    bars: { areas: barsOf, keys: "left and right go from sound to sound, up and down from profile to profile" },
    points: { areas: pointsOf, keys: "left and right go from sound to sound, up and down from map to map" },
    pairs: { areas: matricesOf, keys: "arrow keys go from pair to pair" },
  };
  for (const canvas of document.querySelectorAll(".canvas")) {
    const svg = canvas.querySelector("svg"), pairs = canvas.dataset.sounds && JSON.parse(canvas.dataset.sounds);
    const titles = svg ? [...svg.querySelectorAll("g > title")] : [];
    if (!titles.length && !(svg && pairs)) continue;
    const kind = pairs ? "pairs" : "map" in canvas.dataset ? "points" : "bars", { keys } = KINDS[kind];
    const data = canvas.querySelector("script"), packed = data && JSON.parse(data.textContent);
    svg.marks = titles.map((title) => ({ mark: title.parentNode, text: title.textContent }));
    // The page shows the name at once; the browser's own label would come over it.
    for (const title of titles) title.remove();
    canvas.classList.add("playable");
    document.querySelector(`[data-help=${kind}]`)?.removeAttribute("hidden");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "group");
    canvas.setAttribute("aria-label", `Sounds of this figure: ${keys}${buttons.size ? ", Enter plays, Escape stops" : ""}`);
    const cursor = element("span", "sound-cursor", canvas), twins = element("span", "sound-twins", canvas);
    // A figure behind a tab has no size until it is shown.
    let kept = null;
    const areas = () => (kept ??= KINDS[kind].areas(svg, pairs, packed));
    const place = { area: 0, column: 0, row: 0 };
    const here = () => areas()[place.area].at(place.column, place.row);
    const put = (frame, box) => {
      const { width, height } = svg.getBoundingClientRect();
      Object.assign(frame.style, { left: `${box.left * width}px`, top: `${box.top * height}px`,
        width: `${(box.right - box.left) * width}px`, height: `${(box.bottom - box.top) * height}px` });
      frame.hidden = false;
    };
    const show = (one) => {
      const whole = svg.getBoundingClientRect();
      put(cursor, one.box);
      // The same sound in the other maps.
      twins.replaceChildren();
      twins.hidden = kind !== "points";
      if (kind === "points")
        areas().forEach((area, k) => {
          if (k !== place.area) put(element("span", "sound-cursor", twins), area.at(place.column).box);
        });
      tip.hidden = false;
      tip.textContent = one.ids.length || !buttons.size ? one.text : `${one.text} (cannot be heard here)`;
      const x = whole.left + one.box.right * whole.width + 12, y = whole.top + one.box.top * whole.height;
      tip.style.left = `${Math.max(0, Math.min(x, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${Math.max(0, y - tip.offsetHeight - 4)}px`;
    };
    const hide = () => (cursor.hidden = twins.hidden = tip.hidden = true);
    const find = (event) => {
      const whole = svg.getBoundingClientRect();
      const x = (event.clientX - whole.left) / whole.width, y = (event.clientY - whole.top) / whole.height;
      for (const [area, { pick }] of areas().entries()) {
        const found = pick(x, y);
        if (found) return Object.assign(place, { area, ...found }) && here();
      }
      return null;
    };
    svg.addEventListener("pointermove", (event) => {
      const one = find(event);
      if (one) show(one);
      else hide();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("click", (event) => {
      const one = find(event);
      if (one) sounds.play(one.ids);
    });
    canvas.addEventListener("blur", hide);
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
      if (event.key === "Escape") hide();
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
      else sounds.play(here().ids);
      show(here());
      spoken.textContent = here().text;
    });
  }

  // What is wider than the window is scrolled by keyboard too.
  const watch = new ResizeObserver((seen) => {
    for (const { target } of seen) {
      const scrolls = target.scrollWidth > target.clientWidth;
      for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", "A figure that scrolls sideways"]])
        if (scrolls) target.setAttribute(name, value);
        else target.removeAttribute(name);
    }
  });
  for (const canvas of document.querySelectorAll(".canvas:not(.playable)")) watch.observe(canvas);
}
