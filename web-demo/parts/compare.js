/**
 * The same stream once more by HTTP-FLV and by HLS, beside its WebRTC picture, with how old each picture is and how far its sound is from
 * it. Of the stamped test stream both are read off picture and sound; of any other stream the pictures are compared, which says how much
 * later they come than by WebRTC.
 */

import { fromTemplate } from './dom.js'
import { FlvPlayer } from './flv.js'
import { HlsPlayer } from './hls.js'
import { LagMeter } from './lag.js'
import { SyncMeter } from './sync.js'
import { t, translate } from './words.js'

/** How often what was measured is shown, in milliseconds. */
const SHOW_MS = 500

/** The others, in the order in which they stand beside the first. */
const OTHERS = /** @type {const} */ ([
  { by: 'flv', name: 'HTTP-FLV', Player: FlvPlayer },
  { by: 'hls', name: 'HLS', Player: HlsPlayer },
])

/** @typedef {{ flv: string, hls: string }} Urls */

/** All pictures of one stream, until stopped. */
export class Comparison {
  #audio = new AudioContext()
  /** @type {{ stop: () => void }[]} */ #running = []
  /** @type {HTMLElement[]} */ #added = []

  /**
   * @param {HTMLElement} screens  has the WebRTC picture; the others are put behind it
   * @param {Urls} urls
   * @param {number} clockOffsetMs  by how much the server's clock is ahead of this machine's
   */
  constructor(screens, urls, clockOffsetMs) {
    this.#audio.resume().catch(() => {}) // without a click on the page there is no sound to measure
    const own = /** @type {HTMLElement} */ (screens.querySelector('.screen'))
    const first = videoIn(own)
    this.#measure(own, new SyncMeter(first, this.#soundOf(first), clockOffsetMs), () => null)
    for (const { by, name, Player } of OTHERS) {
      const figure = fromTemplate('screen-template')
      translate(figure)
      figure.dataset.by = by
      part(figure, '.by').textContent = name
      screens.append(figure)
      this.#added.push(figure)
      const video = videoIn(figure)
      /** @type {number | null} */ let lagMs = null
      const lag = new LagMeter(first, video, (it) => (lagMs = it))
      // The sound is listened to and not heard: it would be an echo.
      const sync = new SyncMeter(video, this.#audio.createMediaElementSource(video), clockOffsetMs)
      const player = new Player(video, urls[by], (problem) => (figure.title = problem))
      this.#running.push(lag, player)
      this.#measure(figure, sync, () => lagMs)
    }
  }

  stop() {
    for (const one of this.#running) one.stop()
    for (const figure of this.#added) figure.remove()
    this.#audio.close()
  }

  /** Shows what is measured, as long as it runs. @param {HTMLElement} figure @param {SyncMeter} sync @param {() => number | null} lag */
  #measure(figure, sync, lag) {
    const [delay, lips] = [part(figure, '.delay'), part(figure, '.lips')]
    const show = () => {
      const { delayMs, lipSyncMs } = sync.read()
      const lagMs = lag()
      delay.textContent = delayMs !== null ? t('seconds', { s: (delayMs / 1000).toFixed(2) }) : lagMs !== null ? t('than-webrtc', { s: signed(lagMs / 1000, 2) }) : '…'
      lips.textContent = lipSyncMs !== null ? t('milliseconds', { ms: signed(lipSyncMs, 0) }) : '…'
      if (videoIn(figure).videoWidth > 0) figure.dataset.playing = ''
    }
    show()
    const timer = setInterval(show, SHOW_MS)
    this.#running.push(sync, { stop: () => clearInterval(timer) })
  }

  /** What is heard with the WebRTC picture; null for one's own. @param {HTMLVideoElement} video */
  #soundOf({ srcObject, muted }) {
    const tracks = /** @type {MediaStream | null} */ (srcObject)?.getAudioTracks() ?? []
    return muted || tracks.length === 0 ? null : this.#audio.createMediaStreamSource(new MediaStream(tracks))
  }
}

/** @param {HTMLElement} figure */
const videoIn = (figure) => /** @type {HTMLVideoElement} */ (figure.querySelector('video'))

/** @param {HTMLElement} figure @param {string} selector */
const part = (figure, selector) => /** @type {HTMLElement} */ (figure.querySelector(selector))

/** @param {number} value @param {number} digits */
function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits)
  return value >= 0 ? `+${text}` : `−${text}`
}
