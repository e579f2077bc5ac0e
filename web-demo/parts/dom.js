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

/** @type {Map<string, Promise<any>>} */
const scripts = new Map()

/**
 * What a classic script leaves in a global variable. Fetched once, when it is first wanted; one that the page names itself is waited for.
 * @param {string} url @param {string} name  of the variable
 * @returns {Promise<any>} rejected if the script does not come
 */
export function loadScript(url, name) {
  const variables = /** @type {any} */ (globalThis)
  if (variables[name]) return Promise.resolve(variables[name])
  let script = scripts.get(url)
  if (!script) {
    script = new Promise((resolve, reject) => {
      const named = document.querySelector(`script[src="${url}"]`)
      const tag = named ?? Object.assign(document.createElement('script'), { src: url })
      tag.addEventListener('load', () => resolve(variables[name]), { once: true })
      tag.addEventListener('error', () => (scripts.delete(url), reject(new Error(`${url} did not come`))), { once: true })
      if (!named) document.head.append(tag)
    })
    scripts.set(url, script)
  }
  return script
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
