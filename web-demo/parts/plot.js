/** A small live plot: the last minute of one number. */

import { element } from './dom.js'

/** Points that are kept; with two a second, a minute. */
const POINTS = 120
const WIDTH = 240
const HEIGHT = 56
const SVG = 'http://www.w3.org/2000/svg'

export class Plot {
  /** @type {number[]} */ #points = []
  #format
  #least
  #label = element('span', 'plot-label')
  #value = element('b', 'plot-value')
  #area = document.createElementNS(SVG, 'path')
  #line = document.createElementNS(SVG, 'path')

  /** @param {(value: number) => string} format @param {number} [least]  the scale never ends below this, so that noise stays small */
  constructor(format, least = 1) {
    this.#format = format
    this.#least = least
    this.element = element('figure', 'plot')
    const svg = document.createElementNS(SVG, 'svg')
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`)
    svg.setAttribute('preserveAspectRatio', 'none')
    svg.setAttribute('aria-hidden', 'true')
    this.#area.setAttribute('class', 'plot-area')
    this.#line.setAttribute('class', 'plot-line')
    svg.append(this.#area, this.#line)
    const caption = element('figcaption')
    caption.append(this.#label, this.#value)
    this.element.append(caption, svg)
  }

  /** @param {string} text */
  setLabel(text) {
    this.#label.textContent = text
  }

  /** @param {number} value */
  add(value) {
    this.#points.push(value)
    if (this.#points.length > POINTS) this.#points.shift()
    this.#value.textContent = this.#format(value)
    const top = Math.max(this.#least, ...this.#points) * 1.1
    const step = WIDTH / (POINTS - 1)
    const start = WIDTH - step * (this.#points.length - 1)
    const path = this.#points.map((point, index) => `${index === 0 ? 'M' : 'L'}${(start + step * index).toFixed(1)} ${(HEIGHT - 2 - (point / top) * (HEIGHT - 6)).toFixed(1)}`).join('')
    this.#line.setAttribute('d', path)
    this.#area.setAttribute('d', `${path}V${HEIGHT}H${start.toFixed(1)}Z`)
  }

  clear() {
    this.#points = []
    this.#value.textContent = ''
    for (const path of [this.#line, this.#area]) path.removeAttribute('d')
  }
}

/** @param {number} bitsPerSecond */
export const rate = (bitsPerSecond) => (bitsPerSecond >= 1e6 ? `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bitsPerSecond / 1000)} kbit/s`)
