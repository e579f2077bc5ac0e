/** What arrives and leaves, as plots and track by track. */

import { byId, element } from './dom.js'
import { Plot, rate } from './plot.js'
import { CODEC_NAMES } from './people.js'
import { t } from './words.js'

export class Numbers {
  #element = byId('numbers')
  #plots = {
    receive: new Plot(rate),
    send: new Plot(rate),
    loss: new Plot((share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`, 0.02),
    delay: new Plot((ms) => `${Math.max(ms > 0 ? 1 : 0, Math.round(ms))} ms`, 20),
  }
  #path = element('p', 'path')
  #tracks = element('ul', 'tracks')

  constructor() {
    this.draw()
  }

  /** Draws it again, in the language of now. */
  draw() {
    for (const [name, plot] of Object.entries(this.#plots)) plot.setLabel(t(`plot-${name}`))
    const plots = element('div', 'plots')
    plots.append(...Object.values(this.#plots).map((plot) => plot.element))
    this.#element.replaceChildren(plots, this.#path, this.#tracks)
  }

  /** @param {import('../sdk/figures.js').Figures} figures @param {(userID: string) => string} nameOf */
  show({ receiveBps, sendBps, lostShare, roundTripMs, path, tracks }, nameOf) {
    this.#plots.receive.add(receiveBps)
    this.#plots.send.add(sendBps)
    this.#plots.loss.add(lostShare)
    this.#plots.delay.add(roundTripMs ?? 0)
    if (this.#element.hidden) return
    this.#path.textContent = `${t('path')}: ${path || t('path-none')}`
    const rows = tracks.map(({ direction, userID, stream, kind, codec, bps, lostShare: lost, jitterMs, width, height, fps }) => {
      const row = element('li')
      const name = `${direction === 'up' ? '↑' : '↓'} ${nameOf(userID)}${stream === 'aux' ? ' (aux)' : ''}, ${t(kind === 'audio' ? 'sound' : 'video')}`
      const words = [CODEC_NAMES[codec] ?? codec, width > 0 ? `${width}×${height}` : '', kind === 'video' ? `${fps} fps` : '', rate(bps), t('lost', { percent: (100 * lost).toFixed(1) })]
      if (direction === 'down') words.push(t('buffered', { ms: Math.round(jitterMs) }))
      row.append(element('b', '', name), element('span', '', words.filter(Boolean).join(' · ')))
      return row
    })
    this.#tracks.replaceChildren(...rows)
  }

  clear() {
    for (const plot of Object.values(this.#plots)) plot.clear()
  }
}
