/** The grid of tiles: who is on it, and how large each can be. */

import { Tile } from './tile.js'

const GAP_PX = 10
const RATIO = 16 / 9
/** A level above this counts as speaking, on the scale of 0 to 1 of WebRTC's statistics; about -40 dB. */
const SPEAKING_LEVEL = 0.01

/** All tiles, by key. */
export class Stage {
  /** @type {Map<string, Tile>} */ #tiles = new Map()
  /** Bytes received and when, by track, for the bitrate. @type {Map<string, { bytes: number, at: number }>} */ #counted = new Map()
  #element

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element
    new ResizeObserver(() => this.#layOut()).observe(element)
    element.addEventListener('comparing', () => this.#layOut())
  }

  /** @param {string} key @param {ConstructorParameters<typeof Tile>[0]} options  used only if the tile is new @returns {Tile} */
  tile(key, options) {
    const existing = this.#tiles.get(key)
    if (existing) return existing
    const tile = new Tile(options)
    tile.element.dataset.key = key
    this.#tiles.set(key, tile)
    this.#element.append(tile.element)
    this.#layOut()
    return tile
  }

  /** The keys of all tiles there are. */
  keys() {
    return [...this.#tiles.keys()]
  }

  /** @param {string} key */
  remove(key) {
    this.#tiles.get(key)?.remove()
    this.#tiles.delete(key)
    this.#layOut()
  }

  clear() {
    for (const key of this.keys()) this.remove(key)
    this.#counted.clear()
  }

  /** Puts what the browser measured onto the tiles. @param {RTCStatsReport | null} report */
  measure(report) {
    if (!report) return
    /** @type {Map<string, any>} */
    const byTrack = new Map()
    for (const stat of report.values()) if (stat.type === 'inbound-rtp' || stat.type === 'media-source') byTrack.set(stat.trackIdentifier, stat)
    for (const tile of this.#tiles.values()) {
      const stats = tile.trackIds.map((id) => byTrack.get(id)).filter(Boolean)
      if (stats.length === 0) continue
      const isSpeaking = stats.some((stat) => stat.kind === 'audio' && stat.audioLevel > SPEAKING_LEVEL)
      const video = stats.find((stat) => stat.kind === 'video')
      tile.measure({ isSpeaking, text: video ? this.#describe(video, report) : '' })
    }
  }

  /** @param {any} video @param {RTCStatsReport} report */
  #describe(video, report) {
    const width = video.frameWidth ?? video.width
    const height = video.frameHeight ?? video.height
    if (!width) return ''
    const codec = report.get(video.codecId)?.mimeType?.split('/')[1]
    const words = [codec === 'H264' ? 'H.264' : codec, `${width}×${height}`, `${Math.round(video.framesPerSecond ?? 0)} fps`]
    const before = this.#counted.get(video.id)
    if (video.bytesReceived !== undefined) {
      this.#counted.set(video.id, { bytes: video.bytesReceived, at: video.timestamp })
      if (before && video.timestamp > before.at) words.push(rate((8000 * (video.bytesReceived - before.bytes)) / (video.timestamp - before.at)))
    }
    return words.filter(Boolean).join(' · ')
  }

  /** Tries every number of columns and takes the one with the largest tiles. */
  #layOut() {
    const { clientWidth: width, clientHeight: height } = this.#element
    // A tile that compares shows two pictures.
    const count = this.#tiles.size + this.#element.querySelectorAll('[data-comparing]').length
    let best = 0
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns)
      const byWidth = (width - GAP_PX * (columns - 1)) / columns
      const byHeight = ((height - GAP_PX * (rows - 1)) / rows) * RATIO
      best = Math.max(best, Math.min(byWidth, byHeight))
    }
    // Below this a face cannot be recognised: rather let the stage scroll.
    const least = Math.min(width, 220)
    this.#element.style.setProperty('--tile-width', `${Math.floor(Math.max(best, least))}px`)
  }
}

/** @param {number} bitsPerSecond */
const rate = (bitsPerSecond) => (bitsPerSecond >= 1e6 ? `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bitsPerSecond / 1000)} kbit/s`)
