"""Synthesised animals, textures, machines and signals: one function a sound, each two seconds."""

from __future__ import annotations

import numpy as np

from brainalign.stimuli._parts import (
    N_SAMPLES,
    RATE,
    Draws,
    Signal,
    harmonics,
    in_room,
    mix,
    noise,
    partials,
    ramped,
    resonate,
    scatter,
    smooth,
    times,
    track,
)
from brainalign.stimuli._voices import vocal_formants, voice


def _ring(*modes: tuple[float, float, float]) -> Signal:
    """Return what a click makes of resonances: (gain, frequency in Hz, decay in s) of each."""
    gains, frequencies, decays_s = zip(*modes, strict=True)
    return partials(frequencies, gains, decays_s, 6 * max(decays_s))


def _pulse_train(rate_hz: Signal, kernel: Signal) -> Signal:
    """Repeat a kernel at a rate that may change."""
    turns = np.floor(np.cumsum(rate_hz) / RATE)
    onsets = np.flatnonzero(np.diff(turns, prepend=-1)) / RATE
    return mix([(onset, kernel) for onset in onsets])


def bird_chirps(draws: Draws) -> Signal:
    """Short falling whistles, in pairs."""
    events = []
    for onset in (0.1, 0.24, 0.7, 0.84, 1.3, 1.44, 1.58):
        t = times(0.09)
        sweep = draws.one(4600, 5200) - 18_000 * t + 300 * np.sin(2 * np.pi * 40 * t)
        events.append((onset, ramped(harmonics(sweep, [1, 0.1]), 0.01, 0.03)))
    return mix(events)


def bird_song(draws: Draws) -> Signal:
    """Phrases of whistles that rise, fall and warble."""
    events, onset = [], 0.05
    while onset < 1.7:
        length, middle = draws.one(0.08, 0.28), draws.one(2000, 3600)
        t = times(length)
        warble = draws.one(0, 0.12) * np.sin(2 * np.pi * draws.one(18, 32) * t)
        slide = draws.one(-0.3, 0.3) * (t / length - 0.5)
        events.append((onset, ramped(harmonics(middle * (1 + warble + slide), [1, 0.15]), 0.02)))
        onset += length + draws.one(0.02, 0.08)
    return mix(events)


def dog_barks(draws: Draws) -> Signal:
    """Four barks: a rough voice that jumps up and falls."""
    f0, loudness = np.full(N_SAMPLES, 300.0), np.zeros(N_SAMPLES)
    for onset in (0.1, 0.48, 1.1, 1.48):
        t = times(0.17)
        at = slice(round(onset * RATE), round(onset * RATE) + len(t))
        f0[at] = 280 + draws.one(200, 260) * np.sin(np.pi * t / 0.17) ** 0.7
        loudness[at] = ramped(np.exp(-t / 0.08), 0.012, 0.05)
    return in_room(voice(draws, f0, loudness, np.array([750.0, 1350, 2700, 3900]), 0.3), draws)


def wolf_howl(draws: Draws) -> Signal:
    """One long howl that rises, holds and sinks."""
    f0 = track([(0, 330), (0.35, 560), (1.2, 590), (2, 400)])
    loudness = track([(0, 0), (0.3, 1), (1.4, 0.9), (1.95, 0)])
    vowels = [(0, "u"), (0.3, "o"), (1.5, "o"), (2, "u")]
    return voice(draws, f0, loudness, vocal_formants(vowels, 1.0), 0.02)


def crickets(draws: Draws) -> Signal:
    """Chirps of three pulses, three a second, of two insects."""
    pulse = ramped(np.ones(round(0.018 * RATE)), 0.006, 0.01)
    total = np.zeros(N_SAMPLES)
    for carrier, start, gain in ((4300, 0.05, 1.0), (4750, 0.21, 0.5)):
        chirps = [(start + 0.33 * i + 0.03 * j, pulse) for i in range(6) for j in range(3)]
        total += gain * mix(chirps) * harmonics(carrier, [1, 0.05])
    return total + 0.01 * noise(draws, 2000, 8000)


def frog_croaks(draws: Draws) -> Signal:
    """Three croaks: a slow train of pulses in two resonances."""
    gate = mix([(at, ramped(np.ones(round(0.38 * RATE)), 0.06, 0.1)) for at in (0.1, 0.75, 1.4)])
    train = _pulse_train(track([(0, 58), (2, 52)]), _ring((1, 620, 0.004), (0.6, 1500, 0.003)))
    return gate * train + 0.01 * noise(draws, 200, 3000)


def cat_meow(draws: Draws) -> Signal:
    """One meow, from a closed mouth to an open one and back."""
    f0 = track([(0, 480), (0.5, 720), (1.1, 660), (1.7, 430), (2, 420)])
    loudness = track([(0, 0), (0.15, 0), (0.35, 0.8), (0.9, 1), (1.6, 0.3), (1.75, 0), (2, 0)])
    vowels = [(0.1, "i"), (0.5, "e"), (0.9, "a"), (1.7, "u")]
    return voice(draws, f0, loudness, vocal_formants(vowels, 1.4), 0.05)


def cow_moo(draws: Draws) -> Signal:
    """One long moo."""
    f0 = track([(0, 105), (0.4, 135), (1.4, 140), (2, 100)])
    loudness = track([(0, 0), (0.25, 0.5), (0.8, 1), (1.6, 0.9), (1.95, 0)])
    vowels = [(0, "u"), (0.5, "u"), (0.9, "o"), (1.6, "uh"), (2, "u")]
    return voice(draws, f0, loudness, vocal_formants(vowels, 0.75), 0.05)


def owl_hoots(draws: Draws) -> Signal:
    """Hoo, hoo-hoo, hooo: nearly pure tones."""
    events = []
    for onset, length in ((0.1, 0.3), (0.6, 0.14), (0.8, 0.16), (1.15, 0.6)):
        t = times(length)
        hoot = harmonics(380 * (1 - 0.05 * t / length), [1, 0.08, 0.03])
        events.append((onset, ramped(hoot, 0.05, 0.08)))
    return mix(events) + 0.015 * noise(draws, 200, 1500)


def rain(draws: Draws) -> Signal:
    """Rain: many drops over a hiss."""
    drops = [_ring((1, draws.one(1500, 6500), draws.one(0.001, 0.004))) for _ in range(12)]
    return 0.6 * noise(draws, 1500, 9000) + 0.9 * scatter(draws, 350, drops)


def wind(draws: Draws) -> Signal:
    """Gusts that whistle higher as they blow harder."""
    gust = smooth(track([(0, 0.1), (0.5, 0.8), (0.9, 0.4), (1.4, 1), (2, 0.2)]), 0.3)
    out = np.zeros(N_SAMPLES)
    for i, low in enumerate((150, 300, 500, 800)):
        out += np.exp(-0.5 * ((gust * 3 - i) / 0.8) ** 2) * noise(draws, low, low * 1.5)
    return (0.2 + gust) * (out + 0.4 * noise(draws, 40, 250))


def fire(draws: Draws) -> Signal:
    """Burn: a low roar and sparse crackles."""
    cracks = [
        ramped(noise(draws, draws.one(800, 2500), 9000, 0.03), 0.0005) * np.exp(-times(0.03) / tau)
        for tau in (0.002, 0.003, 0.005, 0.008)
    ]
    return 0.25 * noise(draws, 60, 350) + 0.05 * noise(draws, 350, 4000) + 0.2 * scatter(draws, 40, cracks)


def stream(draws: Draws) -> Signal:
    """Run as water: bubbles, each a short tone that rises."""
    bubbles = []
    for _ in range(30):
        t, start = times(0.06), draws.one(400, 2400)
        tone = harmonics(start * (1 + draws.one(1, 5) * t), [1]) * np.exp(-t / draws.one(0.008, 0.02))
        bubbles.append(ramped(tone, 0.001))
    return scatter(draws, 160, bubbles) + 0.25 * noise(draws, 500, 5000)


def applause(draws: Draws) -> Signal:
    """Many hands."""
    claps = [
        noise(draws, middle * 0.7, middle * 1.5, 0.04) * np.exp(-times(0.04) / 0.007)
        for middle in draws.uniform(900, 2600, 16)
    ]
    return scatter(draws, 250, claps) + 0.3 * noise(draws, 500, 5000)


def ocean_wave(draws: Draws) -> Signal:
    """Roll in and break, as a wave."""
    swell = track([(0, 0.15), (0.7, 0.5), (1.0, 1), (2, 0.25)])
    crest = track([(0, 0), (0.75, 0), (1.0, 1), (2, 0.2)])
    return swell * noise(draws, 80, 900) + 0.7 * crest * noise(draws, 900, 7000)


def thunder(draws: Draws) -> Signal:
    """Crack, then rumble long."""
    roll = track([(0, 0), (0.2, 1), (0.5, 0.4), (0.8, 0.9), (1.1, 0.3), (1.4, 0.6), (2, 0.1)])
    crack = track([(0, 0), (0.18, 0), (0.2, 1), (0.4, 0.2), (0.8, 0), (2, 0)])
    return roll * noise(draws, 35, 180) + 0.5 * crack * noise(draws, 200, 3000)


def gravel_steps(draws: Draws) -> Signal:
    """Footsteps on gravel: two a second, each a crunch of grains."""
    grains = [_ring((1, draws.one(1200, 6000), draws.one(0.001, 0.003))) for _ in range(16)]
    step = ramped(np.ones(round(0.26 * RATE)), 0.05, 0.16)
    gate = mix([(at, step) for at in (0.1, 0.58, 1.06, 1.54)])
    return gate * (scatter(draws, 700, grains) + 0.4 * noise(draws, 800, 7000))


def steam(draws: Draws) -> Signal:
    """Steam that escapes in two puffs."""
    gate = track([(0, 0.05), (0.1, 1), (0.8, 0.5), (1.0, 0.05), (1.1, 1), (2, 0.3)])
    return gate * noise(draws, 3000, None)


def engine_idle(draws: Draws) -> Signal:
    """Idle: 26 firings a second, not quite even."""
    rate = 26 * (1 + 0.03 * smooth(draws.normal(N_SAMPLES), 0.05) * 10)
    beat = _pulse_train(rate, _ring((1, 95, 0.02), (0.5, 240, 0.01)))
    valves = 0.3 * _pulse_train(2 * rate, 0.3 * ramped(noise(draws, 800, 5000, 0.015), 0.001, 0.012))
    return beat + valves + 0.2 * (0.3 + np.abs(beat)) * noise(draws, 80, 1500)


def motorcycle(draws: Draws) -> Signal:
    """Rev up and down, as a motorcycle."""
    f0 = track([(0, 45), (0.3, 50), (0.9, 130), (1.2, 120), (2, 50)])
    firing = _pulse_train(f0, ramped(noise(draws, 60, 2500, 0.012), 0.001, 0.01))
    rough = (firing + 0.1 * draws.normal(N_SAMPLES)) * (0.4 + f0 / 130)
    return resonate(rough, np.array([180.0, 700, 1900])) + 0.3 * rough


def clock(draws: Draws) -> Signal:
    """Tick, tock."""
    tick = _ring((1, 3100, 0.006), (0.7, 4700, 0.004), (0.5, 900, 0.012))
    tock = _ring((1, 2300, 0.007), (0.7, 3900, 0.004), (0.6, 700, 0.014))
    ticking = mix([(0.08 + 0.25 * i, tock if i % 2 else tick) for i in range(8)])
    return ticking + 0.012 * noise(draws, 100, 3000)


def hand_saw(draws: Draws) -> Signal:
    """Strokes of a saw, to and fro; the teeth make a rough pitch."""
    t = times()
    stroke = np.sin(2 * np.pi * 1.5 * t)
    speed = np.abs(stroke) ** 0.7
    teeth = 1 + 0.9 * np.sin(2 * np.pi * np.cumsum(60 + 140 * speed) / RATE)
    colour = np.where(stroke > 0, noise(draws, 1200, 5000), 0.8 * noise(draws, 700, 3500))
    return speed * teeth * colour


def printer(draws: Draws) -> Signal:
    """Print with needles, line by line; the motor runs on."""
    strokes = _pulse_train(np.full(N_SAMPLES, 175.0), _ring((1, 2600, 0.002), (0.6, 1300, 0.002)))
    gate = np.zeros(N_SAMPLES)
    for line in (0.05, 0.58, 1.11, 1.64):
        onset = line
        while onset < line + 0.36:
            length = draws.one(0.03, 0.1)
            here = slice(round(onset * RATE), round((onset + length) * RATE))
            gate[here] = 1
            onset += length + draws.one(0.008, 0.03)
    paper = (0.3 + gate) * noise(draws, 1500, 8000)
    return smooth(gate, 0.004) * strokes + 0.12 * paper + 0.06 * harmonics(110, [1, 0.5, 0.3, 0.2])


def fan(draws: Draws) -> Signal:
    """Blow steady air; the blades hum."""
    t = times()
    air = (1 + 0.25 * np.sin(2 * np.pi * 23 * t)) * noise(draws, 100, 1800)
    return 0.6 * air + harmonics(92, [1, 0.6, 0.25, 0.15])


def helicopter(draws: Draws) -> Signal:
    """Eleven thumps of the rotor a second over the whine of a turbine."""
    thump = 2 * ramped(noise(draws, 40, 400, 0.08) * np.exp(-times(0.08) / 0.025), 0.008)
    rotor = _pulse_train(np.full(N_SAMPLES, 11.0), thump)
    return rotor + 0.06 * noise(draws, 300, 2500) + 0.06 * harmonics(820, [1, 0.3])


def typewriter(draws: Draws) -> Signal:
    """Keys, about seven a second, and the bell at the end of the line."""
    events, onset = [], 0.06
    while onset < 1.5:
        key = 0.7 * noise(draws, 900, 9000, 0.05) * np.exp(-times(0.05) / 0.006)
        body = _ring((0.5, draws.one(300, 420), 0.008))
        events.append((onset, draws.one(0.6, 1) * (ramped(key, 0.0005) + mix([(0, body)], len(key)))))
        onset += draws.one(0.1, 0.19)
    events.append((1.55, partials([2350, 4720, 6900], [0.5, 0.3, 0.1], [0.3, 0.2, 0.1], 0.45)))
    return mix(events) + 0.01 * noise(draws, 100, 3000)


def tone(f0: float) -> Signal:
    """Return a pure tone."""
    return ramped(harmonics(f0, [1]), 0.05, 0.05)


def rising_sweep() -> Signal:
    """Rise from 150 to 4,800 Hz, five octaves at constant speed."""
    return ramped(harmonics(150 * 32 ** (times() / 2), [1]), 0.05, 0.05)


def siren() -> Signal:
    """Wail up and down, with overtones."""
    return harmonics(900 - 350 * np.cos(2 * np.pi * times()), [1, 0.3, 0.4, 0.1, 0.2])


def alarm_clock() -> Signal:
    """Beep four times, pause, and again."""
    beep = ramped(harmonics(2050, [1, 0, 0.3], 0.075), 0.004, 0.004)
    return mix([(start + 0.13 * i, beep) for start in (0.1, 0.95) for i in range(4)])


def phone_ring(draws: Draws) -> Signal:
    """Ring twice as a telephone with two bells and one clapper."""
    struck = [partials([low, 2.76 * low, 5.4 * low], [1, 0.5, 0.15], [0.12, 0.06, 0.03], 0.4) for low in (1060, 1330)]
    strokes = [start + i / 22 for start in (0.05, 1.1) for i in range(15)]
    return mix([(at, draws.one(0.8, 1) * struck[i % 2]) for i, at in enumerate(strokes)])


def dialling() -> Signal:
    """Dial seven digits with the two-tone code of push-button telephones (ITU-T Q.23)."""
    keys = [(770, 1336), (697, 1477), (852, 1209), (941, 1336), (697, 1209), (770, 1477), (852, 1336)]
    events = []
    for i, (low, high) in enumerate(keys):
        both = harmonics(low, [1], 0.17) + harmonics(high, [1], 0.17)
        events.append((0.08 + 0.27 * i, ramped(both, 0.005, 0.005)))
    return mix(events)
