/** Finds a tone in samples. Works in node and in browsers. */

/**
 * Which part of the sound's energy lies at one frequency (the Goertzel algorithm), 0 to 1. A pure tone gives nearly 1, another tone
 * or noise nearly 0. The window should hold at least 20 periods.
 * @param {ArrayLike<number>} samples
 * @param {number} frequencyHz
 * @param {number} sampleRateHz
 * @returns {number} 0 for silence
 */
export function toneShare(samples, frequencyHz, sampleRateHz) {
  const turn = 2 * Math.cos((2 * Math.PI * frequencyHz) / sampleRateHz)
  let [last, beforeLast, energy] = [0, 0, 0]
  for (let n = 0; n < samples.length; n++) {
    const current = samples[n] + turn * last - beforeLast
    beforeLast = last
    last = current
    energy += samples[n] * samples[n]
  }
  if (energy === 0) return 0
  const power = last * last + beforeLast * beforeLast - turn * last * beforeLast
  return Math.min(1, (2 * power) / (samples.length * energy))
}
