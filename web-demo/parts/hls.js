/** Plays low-latency HLS in a video element: by the browser itself where it can, else through hls.js. */

import { loadScript } from './dom.js'

/** How much faster it may play to catch up with the live edge; more is heard. */
const CATCH_UP_RATE = 1.1
/** How much is kept behind the place where it plays, in seconds; nobody goes back here. */
const BEHIND_S = 5
/** How long until a stream that ended or failed is asked for again, in milliseconds. */
const RETRY_MS = 1500

/** One stream in one video element, until stopped. A stream that ends is asked for again: its publisher may come back. */
export class HlsPlayer {
  /** @type {any} */ #hls = null
  #isStopped = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry
  #video
  #url
  #onError

  /**
   * @param {HTMLVideoElement} video
   * @param {string} url  ends in .m3u8
   * @param {(message: string) => void} [onError]  called for every failure; the player goes on trying
   */
  constructor(video, url, onError = () => {}) {
    this.#video = video
    this.#url = url
    this.#onError = onError
    this.#start()
  }

  stop() {
    this.#isStopped = true
    clearTimeout(this.#retry)
    this.#hls?.destroy()
    this.#hls = null
    this.#video.removeAttribute('src')
  }

  async #start() {
    const Hls = await loadScript('/vendor/hls.js', 'Hls').catch(() => null)
    if (this.#isStopped) return
    if (!Hls?.isSupported()) return void (this.#video.src = this.#url)
    const hls = new Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: CATCH_UP_RATE, backBufferLength: BEHIND_S })
    this.#hls = hls
    hls.on(Hls.Events.ERROR, (/** @type {string} */ _event, /** @type {{ fatal: boolean, details: string }} */ { fatal, details }) => fatal && this.#again(details))
    hls.loadSource(this.#url)
    hls.attachMedia(this.#video)
  }

  /** @param {string} message */
  #again(message) {
    this.#onError(message)
    this.#hls?.destroy()
    this.#hls = null
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.#start(), RETRY_MS)
  }
}
