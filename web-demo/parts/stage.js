/** The tiles: who is on the stage, and where. */

import { chosenDevice } from './devices.js'
import { CODEC_NAMES } from './people.js'
import { rate } from './plot.js'
import { Tile } from './tile.js'

/** @typedef {'grid' | 'bigsmall' | 'float'} Layout */

const GAP_PX = 10
const RATIO = 16 / 9

/** All tiles, by key. */
export class Stage {
  /** @type {Map<string, Tile>} */ #tiles = new Map()
  /** The tile that somebody asked to be large. */ #wanted = ''
  #element

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element
    new ResizeObserver(() => this.#layOut()).observe(element)
    element.addEventListener('comparing', () => this.#layOut())
    element.addEventListener('wants-big', ({ target }) => {
      this.#wanted = /** @type {HTMLElement} */ (target).dataset.key ?? ''
      element.dispatchEvent(new CustomEvent('big', { bubbles: true }))
      this.#layOut()
    })
  }

  /** @param {string} key @param {ConstructorParameters<typeof Tile>[0]} options  used only if the tile is new @returns {Tile} */
  tile(key, options) {
    const existing = this.#tiles.get(key)
    if (existing) return existing
    const tile = new Tile(options)
    tile.element.dataset.key = key
    const speaker = chosenDevice('audiooutput')
    if (speaker) tile.setSpeaker(speaker).catch(() => {}) // it was unplugged: the system's choice will do
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
  }

  /** Puts what was measured onto the tiles. @param {import('../sdk/figures.js').Figures} figures @param {(track: import('../sdk/figures.js').TrackFigures) => string} keyOf */
  measure({ tracks }, keyOf) {
    for (const [key, tile] of this.#tiles) {
      const video = tracks.find((track) => track.kind === 'video' && keyOf(track) === key)
      tile.measure(video ? describe(video) : '')
    }
  }

  /** Shows who speaks. @param {string[]} keys */
  highlight(keys) {
    for (const [key, tile] of this.#tiles) tile.highlight(keys.includes(key))
  }

  /** @param {string} deviceId  of a speaker */
  async setSpeaker(deviceId) {
    await Promise.all([...this.#tiles.values()].map((tile) => tile.setSpeaker(deviceId)))
  }

  /** @param {Layout} layout */
  setLayout(layout) {
    this.#element.dataset.layout = layout
    this.#layOut()
  }

  /** The tile that is large where one is: the one that was asked for, else a screen, else the first of the others. */
  #bigKey() {
    if (this.#tiles.has(this.#wanted)) return this.#wanted
    const keys = this.keys()
    return keys.find((key) => key.startsWith('aux/')) ?? keys.find((key) => !key.startsWith('own/')) ?? keys[0]
  }

  #layOut() {
    // Asking for sizes makes the browser lay out the whole page, in the lobby for nothing.
    if (this.#tiles.size === 0) return
    const big = this.#element.dataset.layout === 'grid' ? null : this.#bigKey()
    for (const [key, { element }] of this.#tiles) {
      element.toggleAttribute('data-big', key === big)
      element.querySelector('.big')?.setAttribute('aria-pressed', String(key === big))
    }
    this.#element.style.setProperty('--stage-height', `${this.#element.clientHeight}px`)
    if (!big) this.#layOutGrid()
  }

  /** Tries every number of columns and takes the one with the largest tiles. */
  #layOutGrid() {
    const { clientWidth: width, clientHeight: height } = this.#element
    // A tile that compares shows three pictures.
    const count = this.#tiles.size + 2 * this.#element.querySelectorAll('[data-comparing]').length
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

/** @param {import('../sdk/figures.js').TrackFigures} video */
function describe({ codec, width, height, fps, bps }) {
  if (!width) return ''
  return [CODEC_NAMES[codec] ?? codec, `${width}×${height}`, `${fps} fps`, bps > 0 ? rate(bps) : ''].filter(Boolean).join(' · ')
}
