/**
 * Measures by how much one video shows the same pictures later than another.
 *
 * The two come by different protocols and share no clock, so the pictures themselves are compared: every picture shown is shrunk
 * to a few grey dots and remembered with the time at which it was shown. The shift at which the two rows of dots agree best is
 * the lag. A scene in which nothing moves agrees at every shift; then there is no answer.
 */

const WIDTH = 32
const HEIGHT = 18
/** How many seconds of pictures are remembered; also the largest lag that can be found. */
const MEMORY_MS = 5000
/** The lag is looked for in steps of this: about one picture. */
const STEP_MS = 20
/** How many of the newest pictures of the later video are compared at each step. */
const SAMPLES = 16
/** How often the lag is computed. */
const INTERVAL_MS = 1000
/** The best shift must be this much better than an ordinary one, or the scene is too still to tell. */
const CLEARLY_BETTER = 0.6
/** Shifts this close to the best, as a part of the way to an ordinary one, count as equally good. */
const EQUALLY_GOOD = 0.2
/** Around a good shift the others are good too; the best of them is the lag. */
const NEIGHBOURHOOD_MS = 250

/** @typedef {{ at: number, dots: Float32Array }} Shown */

/** Compares two videos until stopped. */
export class LagMeter {
  #isStopped = false
  #timer

  /**
   * @param {HTMLVideoElement} first
   * @param {HTMLVideoElement} later
   * @param {(lagMs: number | null) => void} onLag  null when the pictures do not tell
   */
  constructor(first, later, onLag) {
    const seenFirst = this.#watch(first)
    const seenLater = this.#watch(later)
    this.#timer = setInterval(() => onLag(lagBetween(seenFirst, seenLater)), INTERVAL_MS)
  }

  stop() {
    this.#isStopped = true
    clearInterval(this.#timer)
  }

  /** @param {HTMLVideoElement} video @returns {Shown[]} grows and forgets by itself */
  #watch(video) {
    /** @type {Shown[]} */
    const shown = []
    const canvas = new OffscreenCanvas(WIDTH, HEIGHT)
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }))
    const onPicture = (/** @type {number} */ _now, /** @type {VideoFrameCallbackMetadata} */ { expectedDisplayTime }) => {
      if (this.#isStopped) return
      context.drawImage(video, 0, 0, WIDTH, HEIGHT)
      const { data } = context.getImageData(0, 0, WIDTH, HEIGHT)
      const dots = new Float32Array(WIDTH * HEIGHT)
      for (let i = 0; i < dots.length; i++) dots[i] = data[4 * i] + data[4 * i + 1] + data[4 * i + 2]
      shown.push({ at: expectedDisplayTime, dots })
      while (shown.length > 0 && expectedDisplayTime - shown[0].at > MEMORY_MS) shown.shift()
      video.requestVideoFrameCallback(onPicture)
    }
    video.requestVideoFrameCallback(onPicture)
    return shown
  }
}

/**
 * @param {Shown[]} first @param {Shown[]} later  both in order of time
 * @returns {number | null} milliseconds; negative when the second is ahead
 */
export function lagBetween(first, later) {
  const samples = later.slice(-SAMPLES)
  if (samples.length < SAMPLES || first.length < SAMPLES) return null
  const costs = []
  const longest = samples[0].at - first[0].at
  const shortest = samples[SAMPLES - 1].at - first[first.length - 1].at
  for (let lag = Math.max(shortest, -MEMORY_MS / 5); lag < longest; lag += STEP_MS) {
    let cost = 0
    for (const { at, dots } of samples) cost += difference(dots, nearest(first, at - lag).dots)
    costs.push({ lag, cost })
  }
  if (costs.length < SAMPLES) return null
  const sorted = costs.map(({ cost }) => cost).sort((a, b) => a - b)
  const [least, ordinary] = [sorted[0], sorted[sorted.length >> 1]]
  if (least >= ordinary * CLEARLY_BETTER) return null
  // What moves to and fro agrees again one period later, so of the shifts that agree about equally well the smallest is meant.
  const good = costs.filter(({ cost }) => cost <= least + (ordinary - least) * EQUALLY_GOOD)
  const about = good.reduce((a, b) => (Math.abs(b.lag) < Math.abs(a.lag) ? b : a)).lag
  return good.filter(({ lag }) => Math.abs(lag - about) < NEIGHBOURHOOD_MS).reduce((a, b) => (b.cost < a.cost ? b : a)).lag
}

/** @param {Float32Array} a @param {Float32Array} b */
function difference(a, b) {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i])
  return sum
}

/** The picture shown closest to a time. @param {Shown[]} shown  not empty @param {number} at */
function nearest(shown, at) {
  let low = 0
  let high = shown.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (shown[middle].at < at) low = middle + 1
    else high = middle
  }
  const before = shown[Math.max(low - 1, 0)]
  return Math.abs(before.at - at) < Math.abs(shown[low].at - at) ? before : shown[low]
}
