/** The few things that every part of the page does with elements. */

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id)

/**
 * A new element.
 * @param {string} tag @param {string} [className] @param {string} [text]
 */
export function element(tag, className = '', text = '') {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text) made.textContent = text
  return made
}

/** One of the page's drawings. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('aria-hidden', 'true')
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  use.setAttribute('href', `#icon-${name}`)
  svg.append(use)
  return svg
}

/** A copy of a template's only element. @param {string} id */
export function fromTemplate(id) {
  const { content } = /** @type {HTMLTemplateElement} */ (document.getElementById(id))
  return /** @type {HTMLElement} */ (content.firstElementChild?.cloneNode(true))
}

/** Keeps a choice of the person for next time, if the browser keeps anything. @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(`roomcast.${name}`, value)
  } catch {
    // a browser that keeps nothing is no reason to stop
  }
}

/** @param {string} name */
export function remembered(name) {
  try {
    return localStorage.getItem(`roomcast.${name}`)
  } catch {
    return null
  }
}
