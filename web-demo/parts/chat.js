/** What is said in the room, and saying something. */

import { byId, element } from './dom.js'
import { hueOf } from './tile.js'
import { t } from './words.js'

/** Lines that are kept on the page; older ones leave at the top. */
const LINES_MAX = 300

export class Chat {
  #list = byId('said')
  #scroller = byId('said').parentElement
  #input = byId('say-text')
  #unread = 0
  #isOpen = false

  /** @param {(text: string) => Promise<void>} say  says it to everybody */
  constructor(say) {
    byId('say').addEventListener('submit', async (/** @type {Event} */ event) => {
      event.preventDefault()
      const text = this.#input.value.trim()
      if (!text) return
      this.#input.value = ''
      // What could not be said goes back where it can be sent again.
      await say(text).catch(() => (this.#input.value ||= text))
    })
    this.clear()
  }

  /** @param {{ name: string, text: string, time: number, isSelf: boolean }} line */
  add({ name, text, time, isSelf }) {
    const isAtEnd = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight < 40
    this.#list.querySelector('.nothing')?.remove()
    const row = element('li', isSelf ? 'own' : '')
    const head = element('p', 'said-by')
    const who = element('b', '', name)
    who.style.setProperty('--hue', String(hueOf(name)))
    head.append(who, element('time', '', new Date(time).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })))
    row.append(head, element('p', 'said-text', text))
    this.#list.append(row)
    while (this.#list.children.length > LINES_MAX) this.#list.firstElementChild.remove()
    if (isAtEnd || isSelf) this.#scroller.scrollTop = this.#scroller.scrollHeight
    if (!this.#isOpen && !isSelf) this.#setUnread(this.#unread + 1)
  }

  /** @param {boolean} isOpen  the person sees it now */
  setOpen(isOpen) {
    this.#isOpen = isOpen
    if (isOpen) this.#setUnread(0)
  }

  focus() {
    this.#input.focus()
  }

  clear() {
    const nothing = element('li', 'nothing', t('chat-empty'))
    nothing.dataset.t = 'chat-empty'
    this.#list.replaceChildren(nothing)
    this.#setUnread(0)
  }

  /** @param {number} count */
  #setUnread(count) {
    this.#unread = count
    const mark = byId('unread')
    mark.hidden = count === 0
    mark.textContent = String(count)
    byId('chat-toggle').toggleAttribute('data-unread', count > 0)
  }
}
