// Two inflated hemispheres that turn as mirror images, drawn by a depth buffer on a plain canvas: no WebGL, nothing to load.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const holder = document.getElementById("surface-mesh");
  if (!holder) return;
  const mesh = JSON.parse(holder.textContent);
  const faces = new Uint16Array(bytes(mesh.faces).buffer);
  const sides = ["left", "right"];
  const points = sides.map((side) => Float32Array.from(new Int16Array(bytes(mesh[side].coordinates).buffer), (v) => v / mesh.per_mm));
  const depths = sides.map((side) => bytes(mesh[side].sulcal_depth));
  const n = points[0].length / 3, reach = 112;
  const VIEWS = { lateral: [0, 0], medial: [Math.PI, 0], ventral: [0, -Math.PI / 2], dorsal: [0, Math.PI / 2], anterior: [Math.PI / 2, 0], posterior: [-Math.PI / 2, 0] };
  const short = (v) => String(Number(v.toPrecision(3))).replace("-", "−");

  for (const viewer of document.querySelectorAll(".surface")) {
    const data = JSON.parse(viewer.querySelector("script").textContent);
    const canvas = viewer.querySelector("canvas"), context = canvas.getContext("2d");
    const select = viewer.querySelector("select"), readout = viewer.querySelector("output"), bar = viewer.querySelector(".surface-bar");
    let yaw = 0, pitch = 0, zoom = 1, map = null, width = 0, height = 0, vertexAt = null, light = null;

    const choose = () => {
      const chosen = data.maps[select.value];
      map = { ...chosen, values: sides.map((side) => {
        const all = new Float32Array(n).fill(NaN), at = new Uint16Array(bytes(chosen[side].vertices).buffer);
        new Float32Array(bytes(chosen[side].values).buffer).forEach((v, i) => { all[at[i]] = v; });
        return all;
      }), colours: bytes(data.colours[chosen.colours]) };
      const stops = Array.from({ length: 17 }, (_, i) => `rgb(${map.colours.slice(48 * i - 3 * (i === 16), 48 * i - 3 * (i === 16) + 3).join()})`);
      bar.querySelector("i").style.background = `linear-gradient(to right, ${stops})`;
      const [low, high] = bar.querySelectorAll("b");
      low.textContent = (map.extend === "min" || map.extend === "both" ? "≤ " : "") + short(map.low);
      high.textContent = (map.extend === "max" || map.extend === "both" ? "≥ " : "") + short(map.high);
      bar.querySelector("span").textContent = map.label;
      paint();
    };

    // Which vertex each pixel shows, numbered left 0 to n - 1, right n to 2 n - 1; -1 beside the brain.
    const project = () => {
      width = Math.min(1400, Math.round(canvas.clientWidth * Math.min(devicePixelRatio || 1, 2)));
      if (!width) return;
      height = Math.round(width * 0.36);
      canvas.width = width;
      canvas.height = height;
      vertexAt = new Int32Array(width * height).fill(-1);
      light = new Float32Array(width * height);
      const buffer = new Float32Array(width * height).fill(-Infinity);
      const scale = zoom * Math.min(width / 4, height / 1.5) / reach, half = width / 2;
      sides.forEach((side, h) => {
        const p = points[h], sign = side === "left" ? -1 : 1, a = side === "left" ? yaw : -yaw;
        const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(pitch), Math.sin(pitch)];
        const x = new Float32Array(n), y = new Float32Array(n), z = new Float32Array(n);
        for (let v = 0; v < n; v++) {
          const right = sign * p[3 * v + 1], up = p[3 * v + 2], near = sign * p[3 * v];
          const turned = near * ca - right * sa;
          x[v] = half * (h + 0.5) + scale * (right * ca + near * sa);
          y[v] = height / 2 - scale * (up * cb - turned * sb);
          z[v] = scale * (up * sb + turned * cb);
        }
        const first = h ? Math.ceil(half) : 0, last = h ? width - 1 : Math.ceil(half) - 1;
        for (let f = 0; f < faces.length; f += 3) {
          const i = faces[f], j = faces[f + 1], k = faces[f + 2];
          const ax = x[j] - x[i], ay = y[j] - y[i], bx = x[k] - x[i], by = y[k] - y[i];
          const area = bx * ay - ax * by; // y points down: positive for faces that are seen from outside
          if (area <= 0) continue;
          const az = z[j] - z[i], bz = z[k] - z[i];
          const shade = 0.55 + 0.45 * area / Math.hypot(area, ay * bz - az * by, az * bx - ax * bz);
          const left = Math.max(first, Math.ceil(Math.min(x[i], x[j], x[k]))), stop = Math.min(last, Math.floor(Math.max(x[i], x[j], x[k])));
          const top = Math.max(0, Math.ceil(Math.min(y[i], y[j], y[k]))), bottom = Math.min(height - 1, Math.floor(Math.max(y[i], y[j], y[k])));
          for (let row = top; row <= bottom; row++) {
            for (let column = left; column <= stop; column++) {
              const dx = column - x[i], dy = row - y[i];
              const s = (bx * dy - dx * by) / area, t = (dx * ay - ax * dy) / area;
              if (s < 0 || t < 0 || s + t > 1) continue;
              const depth = z[i] + s * az + t * bz, pixel = row * width + column;
              if (depth <= buffer[pixel]) continue;
              buffer[pixel] = depth;
              light[pixel] = shade;
              const r = 1 - s - t;
              vertexAt[pixel] = h * n + (r >= s && r >= t ? i : s >= t ? j : k);
            }
          }
        }
      });
    };

    const paint = () => {
      if (!vertexAt || !map) return;
      const image = context.createImageData(width, height);
      for (let pixel = 0; pixel < vertexAt.length; pixel++) {
        const vertex = vertexAt[pixel];
        if (vertex < 0) continue;
        const h = vertex < n ? 0 : 1, value = map.values[h][vertex - h * n], to = 4 * pixel;
        if (Number.isNaN(value)) {
          const grey = (depths[h][vertex - h * n] > 127 ? 182 : 212) * light[pixel];
          image.data[to] = image.data[to + 1] = image.data[to + 2] = grey;
        } else {
          const step = Math.max(0, Math.min(255, Math.floor(256 * (value - map.low) / (map.high - map.low))));
          for (let c = 0; c < 3; c++) image.data[to + c] = map.colours[3 * step + c];
        }
        image.data[to + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    };

    let waiting = false;
    const draw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; project(); paint(); });
    };
    const turn = (dyaw, dpitch) => {
      yaw += dyaw;
      pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, pitch + dpitch));
      draw();
    };
    const tell = (event) => {
      if (!vertexAt) return;
      const column = Math.floor(event.offsetX * width / canvas.clientWidth), row = Math.floor(event.offsetY * height / canvas.clientHeight);
      const vertex = vertexAt[row * width + column] ?? -1;
      if (vertex < 0) { readout.textContent = ""; return; }
      const h = vertex < n ? 0 : 1, value = map.values[h][vertex - h * n];
      readout.textContent = `${sides[h]} hemisphere, vertex ${vertex - h * n}: ${Number.isNaN(value) ? "no value" : short(value)}`;
    };

    for (const [i, entry] of data.maps.entries()) select.add(new Option(entry.name, i));
    select.addEventListener("change", choose);
    for (const button of viewer.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        if (button.value in VIEWS) [yaw, pitch] = VIEWS[button.value];
        else zoom = Math.max(0.5, Math.min(6, zoom * Number(button.value)));
        draw();
      });
    }
    let held = null;
    canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) { tell(event); return; }
      const mirror = event.offsetX < canvas.clientWidth / 2 ? 1 : -1;
      turn(mirror * (event.clientX - held[0]) / 120, (event.clientY - held[1]) / 120);
      held = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
    canvas.addEventListener("pointerleave", () => { readout.textContent = ""; });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
      if (step) turn(...step);
      else if (event.key === "+" || event.key === "=") { zoom = Math.min(6, zoom * 1.25); draw(); }
      else if (event.key === "-") { zoom = Math.max(0.5, zoom / 1.25); draw(); }
      else return;
      event.preventDefault();
    });
    viewer.hidden = false;
    new ResizeObserver(draw).observe(canvas);
    choose();
  }
})();
