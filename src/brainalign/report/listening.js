// Sounds play from buttons. Without this script each sound has the controls of the browser.
{
  const player = new Audio(), uris = new Map(), { buttons, spoken } = sounds;
  let queue = [], now = null;

  const mark = (button) => {
    now?.setAttribute("aria-pressed", "false");
    now = button;
    now?.setAttribute("aria-pressed", "true");
  };
  const next = () => {
    mark(queue.shift() ?? null);
    if (!now) return;
    spoken.classList.remove("seen");
    player.src = uris.get(now);
    player.play().catch((why) => {
      if (why.name === "AbortError") return;
      spoken.textContent = `This browser cannot play ${now?.textContent}: ${why.message}`;
      spoken.classList.add("seen");
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
  sounds.play = (ids) => play([...new Set(ids)].map((id) => buttons.get(id)));
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
}
