/** The side panel's tabs. */

import { byId } from './dom.js'

export class Panel {
  /** @type {HTMLElement[]} */ #tabs
  #onShow

  /** @param {(name: string | null) => void} onShow  called with the page that is seen now; null when the panel is closed */
  constructor(onShow) {
    this.#onShow = onShow
    this.#tabs = [...byId('panel').querySelectorAll('[role="tab"]')]
    for (const tab of this.#tabs) tab.addEventListener('click', () => this.select(tab.id.slice(4)))
    byId('panel')
      .querySelector('[role="tablist"]')
      .addEventListener('keydown', (/** @type {KeyboardEvent} */ { key }) => {
        const at = this.#tabs.indexOf(/** @type {HTMLElement} */ (document.activeElement))
        const step = { ArrowRight: 1, ArrowLeft: -1 }[key]
        if (at < 0 || !step) return
        const next = this.#tabs[(at + step + this.#tabs.length) % this.#tabs.length]
        this.select(next.id.slice(4))
        next.focus()
      })
  }

  get isOpen() {
    return document.body.dataset.panel !== 'closed'
  }

  /** The page that is chosen, seen or not. */
  get selected() {
    return this.#tabs.find((tab) => tab.getAttribute('aria-selected') === 'true')?.id.slice(4) ?? ''
  }

  /** @param {boolean} isOpen */
  open(isOpen) {
    document.body.dataset.panel = isOpen ? 'open' : 'closed'
    byId('panel-toggle').setAttribute('aria-pressed', String(isOpen))
    this.#onShow(isOpen ? this.selected : null)
  }

  /** @param {string} name */
  select(name) {
    for (const tab of this.#tabs) {
      const isChosen = tab.id === `tab-${name}`
      tab.setAttribute('aria-selected', String(isChosen))
      tab.tabIndex = isChosen ? 0 : -1
      byId(tab.getAttribute('aria-controls') ?? '').hidden = !isChosen
    }
    this.#onShow(this.isOpen ? name : null)
  }
}
